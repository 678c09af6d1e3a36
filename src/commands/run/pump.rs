//! Copies one output stream of a program: unchanged to our output, and as lines into the outbox.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use weir_envelope::view::Stream;
use weir_service::Shutdown;

use crate::client::Outbox;
use crate::lines::{Rule, Splitter};
use crate::terminal::note;

/// The bytes of one read: the capacity of a pipe on Linux.
const BUFFER: usize = 64 * 1024;

/// Reads `from` to its end, or until `stop`, and ships its lines. If the reader of `through` goes away, `from` is closed too, so
/// that the program gets `SIGPIPE` at its next write, as without `weir run`. Another failure of `through` is reported, and the lines
/// are still shipped.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut through: Option<impl AsyncWrite + Unpin>,
    stream: Stream,
    outbox: Arc<Outbox>,
    stop: Shutdown,
) {
    let mut buffer = vec![0; BUFFER];
    let mut splitter = Splitter::new(Rule::Program);
    loop {
        // An error of a pipe counts as its end.
        let length = match stop.unless_requested(from.read(&mut buffer)).await {
            Some(Ok(length)) if length > 0 => length,
            _ => break,
        };
        let bytes = &buffer[..length];
        // Before the bytes are passed on: a slow reader of our output must not delay the log.
        splitter.push(bytes, |line| outbox.offer(line, stream));
        let Some(writer) = &mut through else { continue };
        let written = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        match written.await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => {
                note(&format!(
                    "weir: the program's output cannot be passed on and is only shipped from here on: {error}"
                ));
                through = None;
            }
        }
    }
    splitter.finish(|line| outbox.offer(line, stream));
}
