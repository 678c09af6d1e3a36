use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    control_line: 4096,
    payload: 1 << 20,
};

/// All operations of the input, and what is left of it.
fn all(mut input: &[u8]) -> Result<(Vec<Operation<'_>>, usize), Refused> {
    let mut operations = Vec::new();
    loop {
        match parse(input, LIMITS)? {
            Step::Operation(operation, length) => {
                operations.push(operation);
                input = &input[length..];
            }
            Step::Needs(bytes) => {
                assert!(bytes > input.len(), "more is needed than there is");
                return Ok((operations, input.len()));
            }
        }
    }
}

fn one(input: &[u8]) -> Operation<'_> {
    match parse(input, LIMITS) {
        Ok(Step::Operation(operation, length)) => {
            assert_eq!(length, input.len());
            operation
        }
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(input)),
    }
}

/// Every form of every operation, in the spellings that nats-server takes.
#[test]
fn reads_operations() {
    assert_eq!(
        one(b"CONNECT {\"verbose\":false}\r\n"),
        Operation::Connect(b"{\"verbose\":false}")
    );
    assert_eq!(one(b"connect{}\n"), Operation::Connect(b"{}"));
    for ping in [&b"PING\r\n"[..], b"ping\n", b"PING  \r\n"] {
        assert_eq!(one(ping), Operation::Ping);
    }
    assert_eq!(one(b"PoNg\r\n"), Operation::Pong);
    for said_by_servers in [&b"+OK\r\n"[..], b"-ERR 'x'\r\n", b"INFO {}\r\n"] {
        assert_eq!(one(said_by_servers), Operation::Ignored);
    }
    let subscribed = |queue| Operation::Subscribe {
        subject: b"a.*",
        queue,
        sid: b"7",
    };
    assert_eq!(one(b"SUB a.* 7\r\n"), subscribed(None));
    assert_eq!(one(b"sub \ta.*\tq  7 \n"), subscribed(Some(b"q")));
    let unsubscribed = |max| Operation::Unsubscribe { sid: b"7", max };
    assert_eq!(one(b"UNSUB 7\r\n"), unsubscribed(None));
    assert_eq!(one(b"UNSUB 7 20\r\n"), unsubscribed(Some(20)));
}

/// Messages with and without replies and headers, and what a subscriber receives behind its sid.
#[test]
fn reads_messages() {
    let message = Publish {
        subject: b"a.b",
        reply: None,
        header: 0,
        body: b"hello",
        tail: Some(b"5\r\nhello\r\n"),
    };
    assert_eq!(one(b"PUB a.b 5\r\nhello\r\n"), Operation::Publish(message));
    let answered = Publish {
        reply: Some(b"r"),
        tail: Some(b"r 5\r\nhello\r\n"),
        ..message
    };
    assert_eq!(one(b"pub a.b r 5\r\nhello\r\n"), Operation::Publish(answered));
    let with_header = Publish {
        header: 2,
        tail: Some(b"2 5\r\nhello\r\n"),
        ..message
    };
    assert_eq!(one(b"HPUB a.b 2 5\r\nhello\r\n"), Operation::Publish(with_header));
    for other_form in [
        &b"PUB a.b  5\r\nhello\r\n"[..],
        b"PUB a.b\t5\r\nhello\r\n",
        b"PUB a.b 5 \r\nhello\r\n",
        b"PUB a.b 5\nhello\r\n",
        b"HPUB a.b 0 5\r\nhello\r\n",
    ] {
        assert_eq!(one(other_form), Operation::Publish(Publish { tail: None, ..message }));
    }
    let before_the_subject = one(b"PUB \t a.b 5\r\nhello\r\n");
    assert_eq!(before_the_subject, Operation::Publish(message));
    let empty = one(b"PUB a.b 0\r\n\r\n");
    assert!(matches!(
        empty,
        Operation::Publish(Publish {
            body: b"",
            tail: Some(b"0\r\n\r\n"),
            ..
        })
    ));
}

/// What is no operation is refused, and why.
#[test]
fn refuses_what_is_none() {
    for (input, reason) in [
        (&b"GET / HTTP/1.1\r\n"[..], Refused::UnknownOperation),
        (b"PX", Refused::UnknownOperation),
        (b"PUBLISH a 1\r\n1\r\n", Refused::UnknownOperation),
        (b"PUB\r\n", Refused::UnknownOperation),
        (b"\r\n", Refused::UnknownOperation),
        (b"PUB a 2\r\nabc\r\n", Refused::UnknownOperation),
        (b"PUB a 2\r\nab\n", Refused::UnknownOperation),
        (b"PUB a\r\n", Refused::Arguments),
        (b"PUB a b c 1\r\n", Refused::Arguments),
        (b"PUB a -1\r\n", Refused::Arguments),
        (b"PUB a 1x\r\n", Refused::Arguments),
        (b"PUB a 9999999999999999999\r\n", Refused::Arguments),
        (b"PUB a\rb 1\r\n", Refused::Arguments),
        (b"HPUB a 1\r\n", Refused::Arguments),
        (b"HPUB a 3 2\r\n", Refused::Arguments),
        (b"HPUB a b c 1 2\r\n", Refused::Arguments),
        (b"SUB a\r\n", Refused::Arguments),
        (b"SUB a b c d\r\n", Refused::Arguments),
        (b"UNSUB \r\n", Refused::Arguments),
        (b"UNSUB 1 x\r\n", Refused::Arguments),
        (b"PUB a 1048577\r\n", Refused::Payload),
        (b"PUB a 999999999999999999\r\n", Refused::Payload),
    ] {
        assert_eq!(all(input), Err(reason), "{:?}", String::from_utf8_lossy(input));
    }
}

/// A control line may be as long as the limit says, and is refused beyond it, whether its end has arrived or not.
#[test]
fn control_lines_are_bounded() {
    let line = |bytes: usize| [b"SUB a ", "s".repeat(bytes - 2).as_bytes()].concat();
    let ended = |bytes| [line(bytes), b"\r\n".to_vec()].concat();
    assert!(matches!(one(&ended(LIMITS.control_line)), Operation::Subscribe { .. }));
    assert_eq!(all(&ended(LIMITS.control_line + 1)), Err(Refused::ControlLine));
    assert_eq!(all(&line(LIMITS.control_line + 10)), Err(Refused::ControlLine));
    assert_eq!(
        all(&line(LIMITS.control_line)).map(|(operations, _)| operations.len()),
        Ok(0)
    );
}

fn argument() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.*>_$-]{1,20}"
}

/// An operation as a client writes it.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    let message = (
        argument(),
        proptest::option::of(argument()),
        vec(any::<u8>(), 0..40),
        any::<bool>(),
    );
    let message = message.prop_map(|(subject, reply, body, with_header)| {
        let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
        let line = match with_header {
            true => format!("HPUB {subject}{reply} {} {}\r\n", body.len() / 2, body.len()),
            false => format!("PUB {subject}{reply} {}\r\n", body.len()),
        };
        [line.as_bytes(), &body, b"\r\n"].concat()
    });
    let subscribe = (argument(), proptest::option::of(argument()), argument()).prop_map(|(subject, queue, sid)| {
        let queue = queue.map(|queue| format!(" {queue}")).unwrap_or_default();
        format!("SUB {subject}{queue} {sid}\r\n").into_bytes()
    });
    let unsubscribe = (argument(), any::<u32>()).prop_map(|(sid, max)| format!("UNSUB {sid} {max}\r\n").into_bytes());
    let others = proptest::sample::select(vec!["PING\r\n", "PONG\r\n", "CONNECT {}\r\n", "+OK\r\n"]);
    prop_oneof![
        message,
        subscribe,
        unsubscribe,
        others.prop_map(|line| line.as_bytes().to_vec())
    ]
}

proptest! {
    /// Operations are found one after the other, and a prefix of them gives those that are complete, never an error.
    #[test]
    fn finds_operations_in_a_stream(parts in vec(operation(), 1..8), cut in any::<proptest::sample::Index>()) {
        let stream = parts.concat();
        let (operations, left) = all(&stream).expect("operations");
        prop_assert_eq!((operations.len(), left), (parts.len(), 0));
        let cut = cut.index(stream.len());
        let (begun, left) = all(&stream[..cut]).expect("a prefix");
        prop_assert!(left < parts[begun.len()].len());
        prop_assert_eq!(&operations[..begun.len()], &begun[..]);
    }

    /// What a subscriber is sent of a message is what the publisher wrote behind the subject.
    #[test]
    fn the_tail_is_what_was_written(subject in argument(), body in vec(any::<u8>(), 0..40)) {
        let input = [format!("PUB {subject} {}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
        let Operation::Publish(publish) = one(&input) else { panic!("a message") };
        prop_assert_eq!(publish.body, &body[..]);
        prop_assert_eq!(publish.tail, Some(&input[4 + subject.len() + 1..]));
    }

    /// No bytes make the parser panic, and every answer is within the input or asks for more than there is.
    #[test]
    fn takes_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        drop(all(&bytes));
    }

    /// Operations with bytes changed, left out or doubled make no panic either.
    #[test]
    fn takes_damaged_operations(
        parts in vec(operation(), 1..5),
        damage in vec((any::<proptest::sample::Index>(), any::<Option<u8>>()), 1..6),
    ) {
        let mut stream = parts.concat();
        for (at, byte) in damage {
            let at = at.index(stream.len().max(1)).min(stream.len().saturating_sub(1));
            match byte {
                Some(byte) if !stream.is_empty() => stream[at] = byte,
                None if !stream.is_empty() => drop(stream.remove(at)),
                _ => {}
            }
        }
        drop(all(&stream));
    }
}
