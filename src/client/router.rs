//! A request to a name of the stack, on the way that a person's curl takes: names proxy, router, program.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_component::Component as _;
use weir_tls::{ALPN_HTTP1, ClientTls, server_name};

use super::Stack;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of the head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The status of an answer, and the reason of the router if the answer is the router's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) router_error: Option<String>,
}

impl Answer {
    /// Whether the router does not know the name.
    pub(crate) fn is_unknown(&self) -> bool {
        self.router_error.as_deref() == Some("unknown_route")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.router_error {
            None => write!(formatter, "{}", self.status),
            Some(error) => write!(formatter, "{}: the router says `{error}`", self.status),
        }
    }
}

impl Stack {
    /// Asks for `path` of the name `host` over HTTPS, through the names proxy and the router.
    pub(crate) async fn ask_by_name(&self, host: &str, path: &str) -> Result<Answer, String> {
        let key = weir_platform_names_proxy::Server::DESCRIPTION.port().key;
        let proxy = self.endpoints.address(key);
        let proxy = proxy.map_err(|failure| failure.message().to_owned())?;
        ask_by_name(proxy.trim_start_matches("http://"), &self.tls, host, path).await
    }
}

/// Asks for `path` of the name `host` over HTTPS, through the names proxy at `proxy` and the router.
pub(crate) async fn ask_by_name(proxy: &str, tls: &ClientTls, host: &str, path: &str) -> Result<Answer, String> {
    let asking = async {
        let connected = TcpStream::connect(proxy).await;
        let mut stream = connected.map_err(|error| format!("`{proxy}`: {error}"))?;
        let tunnel = ask(
            &mut stream,
            &format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"),
        )
        .await?;
        if tunnel.status != 200 {
            return Err(format!("the names proxy answers {tunnel}"));
        }
        let name = server_name(host).map_err(|error| error.to_string())?;
        let tls = tls.with_alpn(&[ALPN_HTTP1]).connector();
        let encrypted = tls.connect(name, stream).await;
        let mut stream = encrypted.map_err(|error| format!("TLS: {error}"))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir\r\nConnection: close\r\n\r\n");
        ask(&mut stream, &request).await
    };
    let late = |_| Err("no answer within 10 s".to_owned());
    tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(late)
}

/// Sends the head of a request, and reads the head of the answer.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> Result<Answer, String> {
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    // Byte by byte: what follows the head belongs to the tunnel, or is not of interest.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err("the head of the answer is too long".to_owned());
        }
        head.push(stream.read_u8().await.map_err(failed)?);
    }
    answer(&String::from_utf8_lossy(&head)).ok_or_else(|| "the answer is no HTTP".to_owned())
}

fn answer(head: &str) -> Option<Answer> {
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let router_error = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_reason = name.eq_ignore_ascii_case("x-cf-routererror");
        is_reason.then(|| value.trim().to_owned())
    });
    Some(Answer { status, router_error })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status and the router's reason are found; other bytes are no answer.
    #[test]
    fn heads_are_read() {
        let read = answer("HTTP/1.1 404 Not Found\r\nX-Cf-Routererror: unknown_route\r\n\r\n").expect("an answer");
        assert!(read.is_unknown());
        assert_eq!(read.to_string(), "404: the router says `unknown_route`");
        let read = answer("HTTP/1.1 200 OK\r\nServer: a\r\n\r\n").expect("an answer");
        assert_eq!((read.to_string().as_str(), read.is_unknown()), ("200", false));
        for none in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(answer(none), None, "{none}");
        }
    }
}
