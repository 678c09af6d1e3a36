//! Backends that read and write bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Message, read_head, read_message};

/// The shortest answer with a body.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A backend.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// What was asked, in order.
    pub(crate) asked: Arc<Mutex<Vec<Message>>>,
    /// Connections that were accepted.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Backend {
    /// A backend that hands each connection to `serve`, with its number from 0 on.
    pub(crate) async fn custom<F>(serve: impl Fn(TcpStream, usize, Self) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let backend = Self {
            address: listener.local_addr().expect("an address"),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let own = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = own.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, number, own.clone()));
            }
        });
        backend
    }

    /// A backend that answers every request with `answer`, on connections that stay open.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::custom(move |mut stream, _, backend| {
            let answer = Arc::clone(&answer);
            async move {
                while let Some(message) = read_message(&mut stream).await {
                    backend.asked.lock().push(message);
                    stream.write_all(&answer).await.expect("written");
                }
            }
        })
        .await
    }

    /// The only request so far.
    pub(crate) fn only(&self) -> Message {
        let asked = self.asked.lock();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }

    /// How many connections there were.
    pub(crate) fn connected(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// Reads a head and no more; answers with `answer` and ends the connection.
pub(crate) async fn answer_once(mut stream: TcpStream, answer: &[u8]) {
    read_head(&mut stream).await.expect("a head");
    stream.write_all(answer).await.expect("written");
}

/// Reads until the router ends the connection.
pub(crate) async fn until_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A connection that is reset has ended, too.
    stream.read_to_end(&mut rest).await.ok();
}
