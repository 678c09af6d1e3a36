//! Handshakes between our own two sides, over an in-memory pipe: who gets in, who does not, and what they are told.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may say what must hold in the shortest way"
)]

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_error::Classify as _;
use weir_tls::{
    ALPN_H2, ALPN_HTTP1, Authority, ClientTls, HandshakeError, IdentityFiles, ServerTls, TlsError, describe, explain,
    server_name,
};

/// What either side saw: the negotiated protocol and the peer's certificate, or why not.
type Side = Result<(Option<Vec<u8>>, Option<Vec<u8>>), HandshakeError>;

/// Shakes hands and echoes one byte, so that both sides know of the other's verdict.
async fn exchange(server: &ServerTls, client: &ClientTls, name: &str) -> (Side, Side) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let serve = async {
        let mut stream = server.acceptor().accept(far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.shutdown().await?;
        Ok(seen(stream.get_ref().1))
    };
    let connect = async {
        let mut stream = client.connector().connect(server_name(name).unwrap(), near).await?;
        stream.write_u8(7).await?;
        assert_eq!(stream.read_u8().await?, 7);
        Ok(seen(stream.get_ref().1))
    };
    let (served, connected): (io::Result<_>, io::Result<_>) = tokio::join!(serve, connect);
    (
        served.map_err(|error| explain("client", error)),
        connected.map_err(|error| explain(name, error)),
    )
}

fn seen(side: &rustls::CommonState) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let certificate = side.peer_certificates().map(|chain| chain[0].to_vec());
    (side.alpn_protocol().map(<[u8]>::to_vec), certificate)
}

struct World {
    dir: TempDir,
    authority: Authority,
    server: IdentityFiles,
    client: IdentityFiles,
}

fn world() -> World {
    let dir = TempDir::new().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    let server = authority.issue("log-cache", &["log_cache"]).unwrap();
    let client = authority.issue("metron", &[]).unwrap();
    World {
        dir,
        authority,
        server,
        client,
    }
}

/// Both sides of one CA agree on HTTP/2, under each of the server's names, and know each other's certificate.
#[tokio::test]
async fn same_ca_is_welcome() {
    let world = world();
    let server = ServerTls::mutual(&world.server).unwrap();
    let client = ClientTls::mutual(&world.client).unwrap();
    for name in ["log-cache", "log_cache", "localhost", "127.0.0.1", "::1"] {
        let (served, connected) = exchange(&server, &client, name).await;
        assert_eq!(served.unwrap().0.as_deref(), Some(ALPN_H2));
        assert!(connected.unwrap().1.is_some());
    }
}

/// A client without a certificate is refused, and told what is missing.
#[tokio::test]
async fn no_client_certificate_is_refused() {
    let world = world();
    let server = ServerTls::mutual(&world.server).unwrap();
    let client = ClientTls::trusting(&world.client.ca).unwrap().with_alpn(&[ALPN_H2]);
    let (served, connected) = exchange(&server, &client, "log-cache").await;
    assert!(matches!(
        served.unwrap_err(),
        HandshakeError::CertificateRequired { .. }
    ));
    let error = connected.unwrap_err();
    assert_eq!(error.to_string(), "`log-cache` requires a client certificate");
    assert!(error.hint().unwrap().contains("give the client a certificate"));
}

/// A client of another CA is refused by the server; a server of another CA by the client.
#[tokio::test]
async fn foreign_ca_is_refused() {
    let (world, foreign) = (world(), world());
    let server = ServerTls::mutual(&world.server).unwrap();
    let stranger = IdentityFiles {
        ca: world.client.ca.clone(),
        ..foreign.client.clone()
    };
    let (served, connected) = exchange(&server, &ClientTls::mutual(&stranger).unwrap(), "log-cache").await;
    assert!(matches!(served.unwrap_err(), HandshakeError::UnknownIssuer { .. }));
    let error = connected.unwrap_err();
    assert!(matches!(error, HandshakeError::Refused { .. }), "{error}");

    let client = ClientTls::mutual(&foreign.client).unwrap();
    let (_, connected) = exchange(&server, &client, "log-cache").await;
    assert_eq!(
        connected.unwrap_err().to_string(),
        "certificate of `log-cache` comes from an unknown CA"
    );
}

/// The name decides, not the address: a server without it is refused, and its names are listed.
#[tokio::test]
async fn wrong_name_is_refused() {
    let world = world();
    let server = ServerTls::mutual(&world.server).unwrap();
    let client = ClientTls::mutual(&world.client).unwrap();
    let (_, connected) = exchange(&server, &client, "doppler").await;
    let error = connected.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("certificate of `doppler` is for another name: "),
        "{error}"
    );
    assert!(error.to_string().contains("log-cache"), "{error}");
}

/// A public server asks for no certificate; protocols are negotiated or refused.
#[tokio::test]
async fn public_servers_ask_for_nothing() {
    let world = world();
    let server = ServerTls::public(&world.server.cert, &world.server.key).unwrap();
    let client = ClientTls::trusting(&world.client.ca).unwrap();
    let (served, connected) = exchange(&server, &client, "localhost").await;
    assert_eq!(connected.unwrap().0.as_deref(), Some(ALPN_HTTP1));
    assert!(served.unwrap().1.is_none());
    let (served, _) = exchange(&server, &client.with_alpn(&[ALPN_H2]), "localhost").await;
    assert!(matches!(served.unwrap_err(), HandshakeError::Protocol { .. }));
    let (served, _) = exchange(&server, &client.with_alpn(&[]), "localhost").await;
    assert_eq!(served.unwrap().0, None);
    let both = server.with_alpn(&[ALPN_H2, ALPN_HTTP1]);
    let (served, _) = exchange(&both, &client, "localhost").await;
    assert_eq!(served.unwrap().0.as_deref(), Some(ALPN_HTTP1));
}

/// A public server that knows its stack recognises who shows a certificate of its CA, and serves all others as before: with
/// none, and with one that means nothing here. A client shows its certificate to a server that names its CA only.
#[tokio::test]
async fn public_servers_know_their_own() {
    let (world, foreign) = (world(), world());
    let server = ServerTls::public_knowing(&world.server).unwrap();
    let own = ClientTls::trusting_as(&world.client.ca, &world.client).unwrap();
    let nobody = ClientTls::trusting(&world.client.ca).unwrap();
    // One that shows its certificate whatever the server names.
    let stranger = IdentityFiles {
        ca: world.client.ca.clone(),
        ..foreign.client.clone()
    };
    let stranger = ClientTls::mutual(&stranger).unwrap().with_alpn(&[ALPN_HTTP1]);
    // One whose certificate the server does not ask for.
    let elsewhere = ClientTls::trusting_as(&world.client.ca, &of_another_name(foreign.dir.path())).unwrap();
    for (client, shows, known) in [
        (&own, true, true),
        (&nobody, false, false),
        (&stranger, true, false),
        (&elsewhere, false, false),
    ] {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let (served, connected) = tokio::join!(
            server.acceptor().accept(far),
            client.connector().connect(server_name("localhost").unwrap(), near)
        );
        let (served, _connected) = (served.unwrap(), connected.unwrap());
        let connection = served.get_ref().1;
        assert_eq!(connection.peer_certificates().is_some(), shows);
        assert_eq!(server.knows(connection), known);
    }
    let (served, connected) = exchange(
        &ServerTls::mutual(&world.server).unwrap(),
        &own.with_alpn(&[ALPN_H2]),
        "log-cache",
    )
    .await;
    assert!(served.is_ok() && connected.is_ok());
}

/// A plain-text answer is named as such.
#[tokio::test]
async fn plain_text_is_named() {
    let world = world();
    let client = ClientTls::mutual(&world.client).unwrap();
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = client
        .connector()
        .connect(server_name("doppler").unwrap(), near)
        .await
        .unwrap_err();
    assert!(matches!(explain("doppler", error), HandshakeError::NotTls { .. }));
    let error = io::Error::from(io::ErrorKind::ConnectionReset);
    assert!(matches!(explain("doppler", error), HandshakeError::Connection { .. }));
}

/// Both sides take a new certificate from the next handshake on, without a restart.
#[tokio::test]
async fn new_certificates_are_picked_up() {
    let world = world();
    let server = ServerTls::mutual(&world.server).unwrap();
    let client = ClientTls::mutual(&world.client).unwrap();
    let peers = async || {
        let (served, connected) = exchange(&server, &client, "log-cache").await;
        (served.unwrap().1, connected.unwrap().1)
    };
    let before = peers().await;
    // A further name makes the CA issue anew.
    world.authority.issue("log-cache", &["log_cache", "other"]).unwrap();
    world.authority.issue("metron", &["other"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = peers().await;
        if now.0 != before.0 && now.1 != before.1 {
            break;
        }
        assert!(Instant::now() < deadline, "the new certificates are not in use");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a CA and a certificate that was valid on one day of 2020.
fn expired(dir: &Path) -> IdentityFiles {
    issued(dir, "past", (2020, 2, 28), (2020, 2, 29))
}

/// A certificate of a CA that is not called as ours.
fn of_another_name(dir: &Path) -> IdentityFiles {
    issued(dir, "elsewhere", (2020, 1, 1), (4000, 1, 1))
}

fn issued(dir: &Path, name: &str, from: (i32, u8, u8), until: (i32, u8, u8)) -> IdentityFiles {
    let files = IdentityFiles {
        ca: dir.join("old.crt"),
        cert: dir.join("past.crt"),
        key: dir.join("past.key"),
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(&files.ca, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    std::fs::write(&files.cert, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// An expired certificate is refused at start, with its owner and its day, and still described.
#[test]
fn expired_certificates_are_named() {
    let world = world();
    let files = expired(world.dir.path());
    for error in [
        ServerTls::mutual(&files).unwrap_err(),
        ClientTls::mutual(&files).unwrap_err(),
    ] {
        assert!(matches!(error, TlsError::Expired { .. }));
        assert!(
            error.to_string().ends_with("of `past` expired on 2020-02-29"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("replace it"));
    }
    let status = describe(&files).unwrap();
    assert!(status.is_expired());
    assert_eq!(
        (status.subject.as_str(), status.last_day().as_str()),
        ("past", "2020-02-29")
    );
}

/// Every mistake with files is an error of its own, with a hint.
#[test]
fn mistakes_are_told_apart() {
    let world = world();
    let missing = IdentityFiles {
        cert: world.dir.path().join("nobody.crt"),
        ..world.server.clone()
    };
    let error = ServerTls::mutual(&missing).unwrap_err();
    assert!(
        matches!(error, TlsError::Unreadable { .. }) && error.hint().is_some(),
        "{error}"
    );

    let crossed = IdentityFiles {
        key: world.client.key.clone(),
        ..world.server.clone()
    };
    let error = ServerTls::mutual(&crossed).unwrap_err();
    assert!(
        matches!(error, TlsError::KeyMismatch { .. }) && error.hint().is_some(),
        "{error}"
    );

    let swapped = IdentityFiles {
        cert: world.server.key.clone(),
        ..world.server.clone()
    };
    let error = ServerTls::mutual(&swapped).unwrap_err();
    assert!(
        error.to_string().ends_with("holds no certificate in PEM form"),
        "{error}"
    );
    assert_eq!(
        error.hint().unwrap(),
        "the file must contain a `-----BEGIN CERTIFICATE-----` section"
    );

    let swapped = IdentityFiles {
        key: world.server.cert.clone(),
        ..world.server.clone()
    };
    let error = ClientTls::mutual(&swapped).unwrap_err();
    assert!(
        error.to_string().ends_with("holds no private key in PEM form"),
        "{error}"
    );

    let garbage = world.dir.path().join("garbage.crt");
    std::fs::write(
        &garbage,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let error = ClientTls::trusting(&garbage).unwrap_err();
    assert!(matches!(error, TlsError::Malformed { .. }), "{error}");

    assert!(matches!(server_name("not a name"), Err(TlsError::InvalidName { .. })));
}
