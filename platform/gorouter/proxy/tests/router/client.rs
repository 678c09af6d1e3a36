//! HTTP as bytes: what a client writes, and what it reads.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::soon;

/// A request or an answer.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) line: String,
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body without the marks of its chunks.
    pub(crate) body: Vec<u8>,
    /// What follows a body of chunks.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    /// The value of the first header of this name; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Whether there is a header of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(own, _)| own == name)
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// Reads up to the end of a head; `None` if the connection ends before it begins.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<Message> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match soon(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return None,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let text = String::from_utf8(head).expect("text");
    let mut lines = text.lines();
    let line = lines.next().expect("a line").to_owned();
    Some(Message {
        line,
        headers: lines.take_while(|line| !line.is_empty()).map(field).collect(),
        body: Vec::new(),
        trailers: Vec::new(),
    })
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect("a field");
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(soon(stream.read_u8()).await.expect("a line"));
    }
    String::from_utf8(line).expect("text").trim_end().to_owned()
}

/// Reads a message with its body; `None` if the connection ends before it begins.
pub(crate) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Option<Message> {
    let mut message = read_head(stream).await?;
    read_body(stream, &mut message).await;
    Some(message)
}

/// Reads the body of a message.
pub(crate) async fn read_body(stream: &mut (impl AsyncRead + Unpin), message: &mut Message) {
    if message.header("transfer-encoding") == "chunked" {
        loop {
            let size = usize::from_str_radix(&read_line(stream).await, 16).expect("a size");
            if size == 0 {
                break;
            }
            let start = message.body.len();
            message.body.resize(start + size, 0);
            soon(stream.read_exact(&mut message.body[start..]))
                .await
                .expect("a chunk");
            assert_eq!(read_line(stream).await, "");
        }
        loop {
            let line = read_line(stream).await;
            if line.is_empty() {
                return;
            }
            message.trailers.push(field(&line));
        }
    } else if let Ok(length) = message.header("content-length").parse() {
        message.body.resize(length, 0);
        soon(stream.read_exact(&mut message.body)).await.expect("a body");
    }
}

/// A connection to the router.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

/// Writes a request and reads its answer.
pub(crate) async fn ask(stream: &mut TcpStream, request: &str) -> Message {
    stream.write_all(request.as_bytes()).await.expect("written");
    read_message(stream).await.expect("an answer")
}

/// Asks on a connection of its own.
pub(crate) async fn ask_once(address: SocketAddr, request: &str) -> Message {
    ask(&mut connect(address).await, request).await
}

/// A request for `host` and nothing else.
pub(crate) fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}
