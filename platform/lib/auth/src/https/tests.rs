//! A UAA over the network: the requests, and the errors for unusable answers.

use std::convert::Infallible;
use std::sync::Arc;

use http::Response;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use weir_tls::{Authority, ServerTls};

use super::*;
use crate::testing::TestIssuer;

type Answers = Arc<dyn Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync>;

/// Serves HTTPS under the name `uaa` until the test ends.
async fn serve(dir: &Path, answers: Answers) -> UaaConfig {
    let authority = Authority::open_or_create(dir).unwrap();
    let identity = authority.issue("uaa", &["uaa"]).unwrap();
    let tls = ServerTls::public(&identity.cert, &identity.key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, answers) = (tls.clone(), Arc::clone(&answers));
            tokio::spawn(async move {
                let Ok(stream) = tls.acceptor().accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let answer = answers(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                drop(serving.await);
            });
        }
    });
    UaaConfig {
        url: format!("https://{address}").parse().unwrap(),
        ca: authority.ca_file(),
        server_name: "uaa".to_owned(),
        ..TestIssuer::new().config()
    }
}

/// Keys and revocations are read from their paths. The client's secret is sent with the request for revocations only.
#[tokio::test]
async fn both_feeds_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let answers: Answers = Arc::new(move |request| {
        let authorization = request
            .headers()
            .get(AUTHORIZATION)
            .map(|value| value.to_str().unwrap().to_owned());
        notes.lock().push((request.uri().to_string(), authorization));
        let body = match request.uri().path() {
            "/zone/token_keys" => TestIssuer::new().jwks(),
            _ => r#"{"revocations":[],"next":12}"#.to_owned(),
        };
        Response::new(Full::from(body))
    });
    let mut config = serve(dir.path(), answers).await;
    config.url = format!("{}zone", config.url).parse().unwrap();
    config.client = Some(("doppler".to_owned(), secret));
    let issuer = HttpsIssuer::new(&config).unwrap();
    assert_eq!(issuer.keys().await.unwrap().len(), 1);
    assert_eq!(issuer.revocations(7, Duration::from_secs(3)).await.unwrap().next, 12);
    assert_eq!(
        *seen.lock(),
        [
            ("/zone/token_keys".to_owned(), None),
            (
                "/zone/weir/v1/revocations?since=7&wait=3".to_owned(),
                Some(format!("Basic {}", STANDARD.encode("doppler:s3cret")))
            ),
        ]
    );
    assert!(!format!("{issuer:?}").contains("s3cret"));
    // The file that Weir's UAA writes contains the secrets of several clients.
    std::fs::write(dir.path().join("secret"), r#"{"admin":"other","doppler":"its own"}"#).unwrap();
    issuer.revocations(0, Duration::ZERO).await.unwrap();
    let expected = format!("Basic {}", STANDARD.encode("doppler:its own"));
    assert_eq!(seen.lock().last().unwrap().1.as_ref(), Some(&expected));
    std::fs::write(dir.path().join("secret"), r#"{"admin":"other"}"#).unwrap();
    let error = issuer.revocations(0, Duration::ZERO).await.unwrap_err().to_string();
    assert!(
        error.contains("client `doppler`") && !error.contains("other"),
        "{error}"
    );
}

/// Error statuses, answers of another form, and answers that are too large are errors with the address and the reason.
#[tokio::test]
async fn unusable_answers_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let answers: Answers = Arc::new(|request| match request.uri().path() {
        "/missing/weir/v1/revocations" => Response::builder().status(404).body(Full::default()).unwrap(),
        "/failing/token_keys" => Response::builder()
            .status(500)
            .body(Full::from("secret things"))
            .unwrap(),
        "/large/token_keys" => Response::new(Full::from(vec![b' '; MAX_BODY + 1])),
        _ => Response::new(Full::from("<html>")),
    });
    let config = serve(dir.path(), answers).await;
    let at = |path: &str| {
        let url = format!("{}{path}", config.url).parse().unwrap();
        HttpsIssuer::new(&UaaConfig { url, ..config.clone() }).unwrap()
    };
    let missing = at("missing").revocations(0, Duration::ZERO).await.unwrap_err();
    assert!(matches!(missing, IssuerError::Missing { .. }), "{missing}");
    let failing = at("failing").keys().await.unwrap_err().to_string();
    assert!(
        failing.contains("it answered 500") && !failing.contains("secret"),
        "{failing}"
    );
    assert!(at("large").keys().await.is_err());
    assert!(matches!(at("odd").keys().await, Err(IssuerError::Answer { .. })));
    assert!(matches!(
        at("odd").revocations(0, Duration::ZERO).await,
        Err(IssuerError::Answer { .. })
    ));
}

/// A server with another name or of another CA gets no request.
#[tokio::test]
async fn other_servers_get_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let answers: Answers = Arc::new(|_| Response::new(Full::from(TestIssuer::new().jwks())));
    let config = serve(dir.path(), answers).await;
    let renamed = UaaConfig {
        server_name: "doppler".to_owned(),
        ..config.clone()
    };
    let error = HttpsIssuer::new(&renamed).unwrap().keys().await.unwrap_err();
    assert!(matches!(error, IssuerError::Unreachable { .. }), "{error}");
    let foreign = UaaConfig {
        ca: Authority::open_or_create(other.path()).unwrap().ca_file(),
        ..config
    };
    assert!(HttpsIssuer::new(&foreign).unwrap().keys().await.is_err());
}
