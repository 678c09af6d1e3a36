//! HTTP/2 in front and behind: gRPC's kind of request, with trailers at its end.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use weir_platform_gorouter_table::Protocol;
use weir_tls::{ALPN_H2, ServerTls};

use crate::backend::{Backend, OK};
use crate::harness::{Router, router, router_with, soon};
use crate::tls::connect;

type Body = BoxBody<Bytes, Infallible>;

/// A connection of a client that speaks HTTP/2.
async fn client(router: &Router) -> SendRequest<Body> {
    let stream = connect(router, &[ALPN_H2]).await;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

fn with_trailers(text: &'static str) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Frame::data(Bytes::from_static(text.as_bytes())),
        Frame::trailers(trailers),
    ];
    BodyExt::boxed(StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>))))
}

async fn text(body: Incoming) -> (String, Option<HeaderMap>) {
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    let body = soon(Limited::new(body, 1 << 20).collect()).await.expect("a body");
    let trailers = body.trailers().cloned();
    (String::from_utf8(body.to_bytes().to_vec()).expect("text"), trailers)
}

/// A backend that speaks HTTP/2 and answers with trailers; notes the requests' versions, hosts and bodies.
async fn backend(tls: Option<ServerTls>) -> (Backend, Arc<Mutex<Vec<(Version, String, String)>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    let tls = Arc::new(tls);
    let backend = Backend::custom(move |stream, _, _| {
        let (notes, tls) = (Arc::clone(&notes), Arc::clone(&tls));
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let notes = Arc::clone(&notes);
                async move {
                    let (head, body) = request.into_parts();
                    let host = head.uri.authority().map(ToString::to_string).unwrap_or_default();
                    let (text, trailers) = text(body).await;
                    let note = format!("{text}{}", trailers.map_or(0, |trailers| trailers.len()));
                    notes.lock().push((head.version, host, note));
                    Ok::<_, Infallible>(Response::new(with_trailers("answer")))
                }
            });
            let server = http2::Builder::new(TokioExecutor::new());
            match tls.as_ref() {
                None => server.serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => {
                    let stream = tls.acceptor().accept(stream).await.expect("a handshake");
                    server.serve_connection(TokioIo::new(stream), service).await
                }
            }
            .ok();
        }
    })
    .await;
    (backend, asked)
}

fn request(body: Body) -> Request<Body> {
    let request = Request::post("https://a.example/service/method").header("te", "trailers");
    request.body(body).expect("a request")
}

/// Requests of a client with HTTP/2 reach a backend of HTTP/1.1.
#[tokio::test]
async fn clients_speak_http2() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut client = client(&router).await;
    for _ in 0..3 {
        let answer = client
            .send_request(request(Full::new(Bytes::from_static(b"body")).boxed()))
            .await;
        assert_eq!(text(answer.expect("an answer").into_body()).await.0, "ok");
    }
    let asked = backend.asked.lock();
    assert_eq!(asked[0].line, "POST /service/method HTTP/1.1");
    assert_eq!((asked[0].header("host"), asked[0].text()), ("a.example", "body"));
    assert_eq!(
        (asked[0].header("te"), asked[0].header("x-forwarded-proto")),
        ("trailers", "https")
    );
}

/// A backend that is registered with HTTP/2 gets trailers and sends them, on one connection, with TLS and without.
#[tokio::test]
async fn grpc_passes_end_to_end() {
    let router = router().await;
    let identity = router.issue("instance", &["instance-1"]);
    let tls = ServerTls::mutual(&identity).expect("usable").with_alpn(&[ALPN_H2]);
    for tls in [None, Some(tls)] {
        let is_tls = tls.is_some();
        let (backend, asked) = backend(tls).await;
        let route = if is_tls { "tls.example" } else { "a.example" };
        router.register(route, backend.address, |registration| {
            registration.protocol = Protocol::Http2;
            registration.tls = is_tls;
            registration.server_cert_domain_san = "instance-1";
        });
        let mut client = client(&router).await;
        for _ in 0..3 {
            let mut request = request(with_trailers("question"));
            *request.uri_mut() = format!("https://{route}/service/method").parse().expect("a target");
            let answer = soon(client.send_request(request)).await.expect("an answer");
            let (text, trailers) = text(answer.into_body()).await;
            assert_eq!(text, "answer");
            assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
        }
        let one = (Version::HTTP_2, route.to_owned(), "question1".to_owned());
        assert_eq!(asked.lock().as_slice(), [one.clone(), one.clone(), one]);
        assert_eq!(backend.connected(), 1);
    }
}

/// Where the operator has turned HTTP/2 off, backends that could speak it get HTTP/1.1.
#[tokio::test]
async fn http2_may_be_off() {
    let router = router_with(|raw| raw.backends.http2 = false).await;
    let backend = Backend::answering(OK).await;
    router.register("a.example", backend.address, |registration| {
        registration.protocol = Protocol::Http2
    });
    let answer = crate::client::ask_once(router.address, &crate::client::get("a.example")).await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(backend.only().line, "GET / HTTP/1.1");
}
