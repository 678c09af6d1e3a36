//! Handshakes between the client and the server of this crate, over a pipe in memory: which clients are accepted, and
//! the errors of those that are not.

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

/// The result of one side: the negotiated protocol and the peer's certificate, or the error.
type Side = Result<(Option<Vec<u8>>, Option<Vec<u8>>), HandshakeError>;

/// Makes a handshake and echoes one byte. In TLS 1.3 the client learns only with the first read whether the server has
/// accepted its certificate.
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

struct Pki {
    dir: TempDir,
    authority: Authority,
    server: IdentityFiles,
    client: IdentityFiles,
}

fn pki() -> Pki {
    let dir = TempDir::new().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    let server = authority.issue("log-cache", &["log_cache"]).unwrap();
    let client = authority.issue("metron", &[]).unwrap();
    Pki {
        dir,
        authority,
        server,
        client,
    }
}

/// Two sides with certificates of one CA agree on HTTP/2, under each of the server's names, and see each other's
/// certificate.
#[tokio::test]
async fn certificates_of_one_ca_are_accepted() {
    let pki = pki();
    let server = ServerTls::mutual(&pki.server).unwrap();
    let client = ClientTls::mutual(&pki.client).unwrap();
    for name in ["log-cache", "log_cache", "localhost", "127.0.0.1", "::1"] {
        let (served, connected) = exchange(&server, &client, name).await;
        assert_eq!(served.unwrap().0.as_deref(), Some(ALPN_H2));
        assert!(connected.unwrap().1.is_some());
    }
}

/// A client without a certificate is refused, and its error says that one is required.
#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let pki = pki();
    let server = ServerTls::mutual(&pki.server).unwrap();
    let client = ClientTls::trusting(&pki.client.ca).unwrap().with_alpn(&[ALPN_H2]);
    let (served, connected) = exchange(&server, &client, "log-cache").await;
    assert!(matches!(
        served.unwrap_err(),
        HandshakeError::CertificateRequired { .. }
    ));
    let error = connected.unwrap_err();
    assert_eq!(error.to_string(), "`log-cache` requires a client certificate");
    assert!(error.hint().unwrap().contains("give the client a certificate"));
}

/// A server refuses a client with a certificate of another CA, and a client such a server.
#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let (pki, foreign) = (pki(), pki());
    let server = ServerTls::mutual(&pki.server).unwrap();
    let stranger = IdentityFiles {
        ca: pki.client.ca.clone(),
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

/// A server whose certificate does not carry the expected name is refused, and the error lists the names of the
/// certificate.
#[tokio::test]
async fn a_wrong_name_is_refused() {
    let pki = pki();
    let server = ServerTls::mutual(&pki.server).unwrap();
    let client = ClientTls::mutual(&pki.client).unwrap();
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

/// A public server asks for no certificate. The protocol is negotiated, and a client that offers only others is
/// refused.
#[tokio::test]
async fn a_public_server_asks_for_no_certificate() {
    let pki = pki();
    let server = ServerTls::public(&pki.server.cert, &pki.server.key).unwrap();
    let client = ClientTls::trusting(&pki.client.ca).unwrap();
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

/// A public server recognises clients that show a certificate of its CA, and serves clients without a certificate or
/// with another one as well. A client shows its certificate only to a server that names its CA.
#[tokio::test]
async fn a_public_server_recognises_its_stack() {
    let (pki, foreign) = (pki(), pki());
    let server = ServerTls::public_knowing(&pki.server).unwrap();
    let own = ClientTls::trusting_as(&pki.client.ca, &pki.client).unwrap();
    let nobody = ClientTls::trusting(&pki.client.ca).unwrap();
    // A client that shows its certificate even to a server that names another CA.
    let stranger = IdentityFiles {
        ca: pki.client.ca.clone(),
        ..foreign.client.clone()
    };
    let stranger = ClientTls::mutual(&stranger).unwrap().with_alpn(&[ALPN_HTTP1]);
    // A client with a certificate that the server does not ask for.
    let elsewhere = ClientTls::trusting_as(&pki.client.ca, &of_another_name(foreign.dir.path())).unwrap();
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
        &ServerTls::mutual(&pki.server).unwrap(),
        &own.with_alpn(&[ALPN_H2]),
        "log-cache",
    )
    .await;
    assert!(served.is_ok() && connected.is_ok());
}

/// The error for a server that answers in plain text says that it does not speak TLS.
#[tokio::test]
async fn a_plain_text_server_is_reported() {
    let pki = pki();
    let client = ClientTls::mutual(&pki.client).unwrap();
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

/// Both sides use a new certificate from one of the next handshakes on, without a restart.
#[tokio::test]
async fn new_certificates_are_reloaded() {
    let pki = pki();
    let server = ServerTls::mutual(&pki.server).unwrap();
    let client = ClientTls::mutual(&pki.client).unwrap();
    let peers = async || {
        let (served, connected) = exchange(&server, &client, "log-cache").await;
        (served.unwrap().1, connected.unwrap().1)
    };
    let before = peers().await;
    // A further name makes the CA issue a new certificate.
    pki.authority.issue("log-cache", &["log_cache", "other"]).unwrap();
    pki.authority.issue("metron", &["other"]).unwrap();
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

/// Writes a certificate of a CA with another name than that of the stack.
fn of_another_name(dir: &Path) -> IdentityFiles {
    issued(dir, "elsewhere", (2020, 1, 1), (4000, 1, 1))
}

/// Writes a CA and a certificate with this name and validity.
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

/// An expired certificate is refused at the start with its subject and the day. It can still be described.
#[test]
fn expired_certificates_are_named() {
    let pki = pki();
    let files = expired(pki.dir.path());
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

/// Every mistake in the configuration of files is an error of its own kind, with a hint.
#[test]
fn each_mistake_has_its_own_error() {
    let pki = pki();
    let missing = IdentityFiles {
        cert: pki.dir.path().join("nobody.crt"),
        ..pki.server.clone()
    };
    let error = ServerTls::mutual(&missing).unwrap_err();
    assert!(
        matches!(error, TlsError::Unreadable { .. }) && error.hint().is_some(),
        "{error}"
    );

    let crossed = IdentityFiles {
        key: pki.client.key.clone(),
        ..pki.server.clone()
    };
    let error = ServerTls::mutual(&crossed).unwrap_err();
    assert!(
        matches!(error, TlsError::KeyMismatch { .. }) && error.hint().is_some(),
        "{error}"
    );

    let swapped = IdentityFiles {
        cert: pki.server.key.clone(),
        ..pki.server.clone()
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
        key: pki.server.cert.clone(),
        ..pki.server.clone()
    };
    let error = ClientTls::mutual(&swapped).unwrap_err();
    assert!(
        error.to_string().ends_with("holds no private key in PEM form"),
        "{error}"
    );

    let garbage = pki.dir.path().join("garbage.crt");
    std::fs::write(
        &garbage,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let error = ClientTls::trusting(&garbage).unwrap_err();
    assert!(matches!(error, TlsError::Malformed { .. }), "{error}");

    assert!(matches!(server_name("not a name"), Err(TlsError::InvalidName { .. })));
}
