//! A health check that is an HTTP request.

use std::pin::pin;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const USER_AGENT: &str = concat!("weir-route-registrar/", env!("CARGO_PKG_VERSION"));

/// Asks for `path`; the body of the answer is not read. Cancel safe.
pub(super) async fn get(host: &str, port: u16, path: &str) -> Result<(), String> {
    let request = Request::get(path)
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("`{path}`: {error}"))?;
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| weir_error::chain(&error))?;
    let mut answering = pin!(sender.send_request(request));
    // The connection is driven here, and ends with the check.
    let answer = tokio::select! {
        biased;
        answer = &mut answering => answer,
        ended = connection => match ended {
            Ok(()) => answering.await,
            Err(error) => Err(error),
        },
    };
    let status = answer.map_err(|error| weir_error::chain(&error))?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("`{path}` answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with `answer`; gives the request's first line.
    async fn asked(answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut head).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
        };
        tokio::join!(get("127.0.0.1", port, "/health?deep=1"), server)
    }

    /// A status of 200 to 299 is healthy; every other status, and an end without an answer, is not.
    #[tokio::test]
    async fn the_status_decides() {
        let (result, line) = asked("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!((result, line.as_str()), (Ok(()), "GET /health?deep=1 HTTP/1.1"));
        // The body never comes, and is not waited for.
        assert_eq!(asked("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.0, Ok(()));
        let refused = asked("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
            .await
            .0;
        assert_eq!(
            refused,
            Err("`/health?deep=1` answers 503 Service Unavailable".to_owned())
        );
        assert!(asked("").await.0.is_err());
    }

    /// A program that is not there is not healthy.
    #[tokio::test]
    async fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(get("127.0.0.1", port, "/").await.unwrap_err().contains("refused"));
    }
}
