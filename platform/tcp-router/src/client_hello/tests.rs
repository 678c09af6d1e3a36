use proptest::prelude::*;

use super::*;

fn short(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("short").to_be_bytes()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &short(body.len()), body].concat()
}

fn server_name(name: &str) -> Vec<u8> {
    let entry = [&[HOST_NAME][..], &short(name.len()), name.as_bytes()].concat();
    extension(SERVER_NAME, &[&short(entry.len())[..], &entry].concat())
}

/// The message of a hello with these extensions.
fn hello(session: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = extensions.concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[u8::try_from(session.len()).expect("short")],
        session,
        &[0, 4, 0x13, 1, 0x13, 2],
        &[1, 0],
        &short(extensions.len()),
        &extensions,
    ]
    .concat();
    let [_, length @ ..] = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[CLIENT_HELLO][..], &length, &body].concat()
}

/// `message` in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &short(part.len()), part].concat();
    message.chunks(size).flat_map(record).collect()
}

fn read(bytes: &[u8]) -> Hello<'_> {
    parse(bytes)
}

proptest! {
    /// The name is found wherever it stands, in one record or several, whatever comes behind; each part of the hello is
    /// incomplete.
    #[test]
    fn names_are_found(
        name in "[a-z0-9.-]{1,80}",
        session in proptest::collection::vec(any::<u8>(), 0..=32),
        before in proptest::collection::vec(any::<u8>(), 0..600),
        size in 1_usize..700,
        behind in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        let message = hello(&session, &[extension(51, &before), server_name(&name), extension(0x002b, &[2, 3, 4])]);
        let bytes = records(&message, size);
        let all = [&bytes[..], &behind].concat();
        prop_assert_eq!(read(&all), Hello::Name(Some(name.as_str().into())));
        for count in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..count]), Hello::Incomplete);
        }
    }

    /// No bytes make the parser panic, and those that begin otherwise are no hello at once.
    #[test]
    fn garbage_is_none(mut bytes in proptest::collection::vec(any::<u8>(), 1..400), known in any::<bool>()) {
        if known {
            for (byte, head) in bytes.iter_mut().zip([HANDSHAKE, 3, 1, 0, 200, CLIENT_HELLO]) {
                *byte = head;
            }
            read(&bytes);
        } else if bytes[0] != HANDSHAKE {
            prop_assert_eq!(read(&bytes), Hello::None);
        }
    }

    /// A hello with a changed byte is read or refused, and never more than its own bytes.
    #[test]
    fn damage_is_survived(at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = records(&hello(&[1; 32], &[server_name("a.example")]), 16_000);
        let index = at.index(bytes.len());
        bytes[index] = value;
        read(&bytes);
        read(&bytes[..cut.index(bytes.len())]);
    }
}

/// A hello without a name, without extensions, with an empty list, and one whose lengths lie.
#[test]
fn hellos_without_a_name() {
    let of = |extensions: &[Vec<u8>]| records(&hello(&[], extensions), 16_000);
    for extensions in [vec![], vec![extension(51, &[1])], vec![extension(SERVER_NAME, &[0, 0])]] {
        assert_eq!(read(&of(&extensions)), Hello::Name(None));
    }
    for body in [
        &[0, 9, HOST_NAME][..],
        &[0, 3, HOST_NAME, 0, 9],
        &[1],
        &[0, 4, HOST_NAME, 0, 1, 0xff],
    ] {
        assert_eq!(read(&of(&[extension(SERVER_NAME, body)])), Hello::None);
    }
}

/// What servers see that is no hello: another message, another record, a record without bytes, HTTP, SSH.
#[test]
fn other_protocols() {
    let other: [&[u8]; 6] = [
        &[HANDSHAKE, 3, 1, 0, 4, 2, 0, 0, 0],
        &[23, 3, 3, 0, 1, 0],
        &[HANDSHAKE, 3, 1, 0, 0],
        &[HANDSHAKE, 2],
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for bytes in other {
        assert_eq!(read(bytes), Hello::None, "{bytes:?}");
    }
    assert_eq!(read(&[]), Hello::Incomplete);
}
