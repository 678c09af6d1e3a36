//! Sends and receives bytes over TLS, without the product's clients.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_tls::{ALPN_HTTP1, ClientTls, server_name};

/// How long to wait for an answer, and for the end of a stream whose token was revoked, which comes within a minute.
const PATIENCE: Duration = Duration::from_secs(75);

/// Returns the `host:port` of a URL, or of an address without a scheme.
pub(crate) fn address(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// Sends an HTTP/1.1 request without a body, and reads the answer until `enough` returns true, or to its end.
pub(crate) async fn get(
    tls: &ClientTls,
    url: &str,
    path: &str,
    headers: &[(&str, &str)],
    enough: impl Fn(&str) -> bool,
) -> anyhow::Result<String> {
    let address = address(url);
    let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
    let connector = tls.with_alpn(&[ALPN_HTTP1]).connector();
    let mut stream = connector.connect(server_name("localhost")?, stream).await?;
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if enough(&text) || complete(&text) {
                return Ok(text.into_owned());
            }
            match stream.read(&mut buffer).await {
                Ok(0) => return Ok(text.into_owned()),
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                // The server may end TCP without ending TLS. What was read before is the answer, as for many clients.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(text.into_owned()),
                Err(error) => return Err(anyhow::Error::from(error)),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .with_context(|| format!("{address}{path}: no whole answer"))?
}

/// Returns whether an answer has its head and all of its announced body.
fn complete(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.eq_ignore_ascii_case("content-length")).then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

/// Returns the status of an answer.
pub(crate) fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1).unwrap_or_default();
    word.parse().unwrap_or_default()
}

/// Connects, and returns why the server closes the connection, if it does so within `patience`. A server that refuses a
/// certificate does so only after the client has finished its handshake. A server that `greets` sends a line before TLS
/// begins, as NATS does.
pub(crate) async fn refusal(
    tls: &ClientTls,
    url: &str,
    name: &str,
    greets: bool,
    patience: Duration,
) -> anyhow::Result<Option<String>> {
    let mut stream = TcpStream::connect(address(url)).await?;
    // Byte by byte, so that nothing of TLS is read.
    while greets && stream.read_u8().await? != b'\n' {}
    let mut stream = match tls.with_alpn(&[]).connector().connect(server_name(name)?, stream).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut answer = [0; 64];
    match tokio::time::timeout(patience, stream.read(&mut answer)).await {
        // The server waits for a request, or has sent its HTTP/2 settings. Both mean that it accepts the client.
        Err(_) | Ok(Ok(1..)) => Ok(None),
        Ok(Ok(0)) => Ok(Some("closed".to_owned())),
        Ok(Err(error)) => Ok(Some(error.to_string())),
    }
}
