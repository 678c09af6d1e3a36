//! A raw connection to a NATS server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How a connection ended, behind what was read of it.
pub(crate) const CLOSED: &str = "<closed>";

/// A connection whose `INFO` line was read.
pub(crate) struct Wire {
    stream: TcpStream,
    info: String,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        let mut wire = Self {
            stream,
            info: String::new(),
        };
        wire.info = wire.line().await;
        assert!(wire.info.starts_with("INFO {"), "{}", wire.info);
        wire
    }

    /// A connection whose client is neither verbose nor pedantic.
    pub(crate) async fn connected(address: SocketAddr) -> Self {
        let mut wire = Self::open(address).await;
        let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n";
        wire.send(connect.as_bytes()).await;
        // The original sends `INFO` again with its first answer to a ping.
        let mut said = wire.ask("").await;
        if said.is_empty() {
            said = wire.ask("").await;
        }
        assert!(said.is_empty() || said.starts_with("INFO {"), "{said}");
        wire
    }

    /// The `INFO` line.
    pub(crate) fn info(&self) -> &str {
        &self.info
    }

    /// Sends bytes; what a server that has closed the connection does not take is lost.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// Sends text, and returns all that the server says until it has carried that out, or closes the connection.
    pub(crate) async fn ask(&mut self, text: &str) -> String {
        self.send(format!("{text}PING\r\n").as_bytes()).await;
        let mut said = String::new();
        loop {
            let line = self.line().await;
            if line == "PONG\r\n" || line.is_empty() {
                return said + if line.is_empty() { CLOSED } else { "" };
            }
            said += &line;
        }
    }

    /// Reads a line; what there is of it if the connection is closed before.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            match self.stream.read_u8().await {
                Ok(byte) => line.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A connection that was reset has no more than what was read.
        self.stream.read_to_end(&mut rest).await.ok();
        rest
    }

    /// Reads so many bytes.
    pub(crate) async fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.stream.read_exact(&mut read).await.expect("so many bytes");
        read
    }
}
