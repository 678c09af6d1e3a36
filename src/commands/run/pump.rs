//! One stream of a program: passed through as it is, and cut into lines for the outbox.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use weir_envelope::view::Stream;
use weir_service::Shutdown;

use crate::client::Outbox;
use crate::lines::{Rule, Splitter};
use crate::terminal::note;

/// What a pipe holds.
const BUFFER: usize = 64 * 1024;

/// Reads `from` to its end, or until `stop`, and ships what was read. Where the reader of `through` goes away, `from` is
/// closed as well: the program gets `SIGPIPE` at its next write, as it would without us. Another failure of `through` is
/// said, and the lines are shipped all the same.
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
        // An error on a pipe means that there will be no more, as its end does.
        let length = match stop.unless_requested(from.read(&mut buffer)).await {
            Some(Ok(length)) if length > 0 => length,
            _ => break,
        };
        let bytes = &buffer[..length];
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
