//! TLS: in front of the router, and behind it with the identity of an instance.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use weir_tls::{ALPN_HTTP1, Authority, ClientTls, IdentityFiles, ServerTls, server_name};

use crate::backend::{Backend, OK};
use crate::client::{ask_once, get, read_message};
use crate::harness::{Router, router, router_with};

/// A connection to the router with TLS that speaks one of `protocols`.
pub(crate) async fn connect(router: &Router, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let tls = ClientTls::trusting(&router.authority.ca_file())
        .expect("a CA")
        .with_alpn(protocols);
    let stream = TcpStream::connect(router.tls_address).await.expect("connected");
    let name = server_name("localhost").expect("a name");
    tls.connector().connect(name, stream).await.expect("a handshake")
}

/// A backend with TLS whose certificate is `identity`, and that demands one of the same CA.
async fn backend(identity: &IdentityFiles) -> Backend {
    let tls = ServerTls::mutual(identity).expect("usable").with_alpn(&[ALPN_HTTP1]);
    let tls = Arc::new(tls);
    Backend::custom(move |stream, _, backend| {
        let tls = Arc::clone(&tls);
        async move {
            let Ok(mut stream) = tls.acceptor().accept(stream).await else {
                return;
            };
            while let Some(message) = read_message(&mut stream).await {
                backend.asked.lock().push(message);
                stream.write_all(OK.as_bytes()).await.expect("written");
                stream.flush().await.expect("flushed");
            }
        }
    })
    .await
}

/// A client with TLS is served, and its backend is told so.
#[tokio::test]
async fn clients_have_tls() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut client = connect(&router, &[ALPN_HTTP1]).await;
    client.write_all(get("a.example").as_bytes()).await.expect("written");
    assert_eq!(read_message(&mut client).await.expect("an answer").text(), "ok");
    assert_eq!(backend.only().header("x-forwarded-proto"), "https");
}

/// A backend is asked for its instance's certificate, and shown the router's; its connection is kept.
#[tokio::test]
async fn instances_prove_who_they_are() {
    let router = router().await;
    let backend = backend(&router.issue("instance", &["instance-1"])).await;
    router.register("a.example", backend.address, |registration| {
        registration.tls = true;
        registration.server_cert_domain_san = "instance-1";
    });
    for _ in 0..3 {
        assert_eq!(ask_once(router.address, &get("a.example")).await.text(), "ok");
    }
    assert_eq!((backend.asked.lock().len(), backend.connected()), (3, 1));
}

/// Asks a backend with TLS that fails; returns the status, the reason and what the next request is told.
async fn failing(router: &Router, address: std::net::SocketAddr) -> (u16, String, String) {
    router.register("a.example", address, |registration| {
        registration.tls = true;
        registration.server_cert_domain_san = "instance-1";
    });
    let answer = ask_once(router.address, &get("a.example")).await;
    let next = ask_once(router.address, &get("a.example")).await;
    let [reason, next] = [answer.clone(), next].map(|answer| answer.header("x-cf-routererror").to_owned());
    (answer.status(), reason, next)
}

/// Another instance has the address by now: the request is refused, and the route gone.
#[tokio::test]
async fn another_instance_is_not_taken() {
    let router = router().await;
    let backend = backend(&router.issue("other", &["instance-2"])).await;
    let (status, reason, next) = failing(&router, backend.address).await;
    assert_eq!(status, 503);
    assert!(
        reason.starts_with("endpoint_failure (tls: failed to verify certificate: x509:"),
        "{reason}"
    );
    assert!(
        reason.contains("instance-2") && reason.contains("not instance-1"),
        "{reason}"
    );
    assert_eq!(next, "no_endpoints");
    assert!(backend.asked.lock().is_empty());
}

/// A certificate of another CA.
#[tokio::test]
async fn another_authority_is_not_trusted() {
    let router = router().await;
    let directory = tempfile::tempdir().expect("a directory");
    let other = Authority::open_or_create(directory.path()).expect("a CA");
    let identity = other.issue("instance", &["instance-1"]).expect("a certificate");
    let (status, reason, next) = failing(&router, backend(&identity).await.address).await;
    assert_eq!((status, next.as_str()), (526, "no_endpoints"));
    assert!(reason.contains("unknown authority"), "{reason}");
}

/// A port that does not speak TLS.
#[tokio::test]
async fn a_plain_port_is_no_tls_backend() {
    let router = router().await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .expect("written");
    })
    .await;
    let (status, reason, _) = failing(&router, backend.address).await;
    assert_eq!(status, 525, "{reason}");
}

/// A backend that does not take the router's certificate.
#[tokio::test]
async fn a_backend_may_refuse_the_router() {
    let router = router().await;
    let directory = tempfile::tempdir().expect("a directory");
    let other = Authority::open_or_create(directory.path()).expect("a CA");
    let own = router.issue("instance", &["instance-1"]);
    let identity = IdentityFiles {
        ca: other.ca_file(),
        ..own
    };
    let (status, reason, _) = failing(&router, backend(&identity).await.address).await;
    assert_eq!(status, 496, "{reason}");
}

/// The client's certificate reaches the backend as the operator wants it.
#[tokio::test]
async fn sent_certificates_are_not_believed() {
    let router = router_with(|raw| raw.headers.forwarded_client_cert = "sanitize_set".to_owned()).await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Client-Cert: mine\r\n\r\n";
    ask_once(router.address, request).await;
    assert!(!backend.only().has("x-forwarded-client-cert"));
}

/// Of several certificates a client gets the one for the name that it asks for; the client's own is checked and told.
#[tokio::test]
async fn names_and_clients_have_certificates() {
    let router = router_with(|raw| {
        let directory = raw.certificates[0].cert.parent().expect("a directory").to_owned();
        let authority = Authority::open_or_create(&directory).expect("a CA");
        let named = authority.issue("named", &["named.example"]).expect("a certificate");
        raw.certificates.push(weir_platform_gorouter_proxy::RawCertificate {
            cert: named.cert,
            key: named.key,
        });
        raw.client_certificates = "request".to_owned();
        raw.client_ca = authority.ca_file();
        raw.headers.forwarded_client_cert = "sanitize_set".to_owned();
    })
    .await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let own = router.issue("client", &[]);
    let tls = ClientTls::mutual(&own).expect("usable").with_alpn(&[ALPN_HTTP1]);
    for (name, shown) in [("named.example", "named"), ("localhost", "gorouter")] {
        let stream = TcpStream::connect(router.tls_address).await.expect("connected");
        let connecting = tls.connector().connect(server_name(name).expect("a name"), stream);
        let mut client = connecting.await.expect("a handshake");
        let certificates = client.get_ref().1.peer_certificates().expect("certificates");
        let status = weir_tls::CertificateStatus::read(&certificates[0]).expect("a certificate");
        assert_eq!(status.subject, shown);
        client.write_all(get("a.example").as_bytes()).await.expect("written");
        assert_eq!(read_message(&mut client).await.expect("an answer").text(), "ok");
    }
    let asked = backend.asked.lock();
    let sent = asked[0].header("x-forwarded-client-cert");
    let file = std::fs::read_to_string(&own.cert).expect("read");
    let lines = file.lines().skip(1).take_while(|line| !line.starts_with("-----END"));
    assert_eq!(sent, lines.collect::<String>());
}
