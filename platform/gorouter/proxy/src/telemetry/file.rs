//! Access log lines in a file, for operators who collect files.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::sync::mpsc;
use weir_service::Tasks;

/// Lines that wait for the disk. Further ones are dropped and told: a slow disk must not slow requests down.
const WAITING: usize = 8192;

/// How often a loss is told.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A file to which lines are appended.
#[derive(Debug)]
pub(super) struct LineFile(mpsc::Sender<Vec<u8>>);

impl LineFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn open(path: &Path, tasks: &Tasks) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (sender, lines) = mpsc::channel(WAITING);
        tasks.spawn("access log file", write(File::from_std(file), lines));
        Ok(Self(sender))
    }

    /// Appends a line, which ends with a line feed.
    pub(super) fn append(&self, line: Vec<u8>) {
        if self.0.try_send(line).is_err() {
            weir_service::limited!(error, COMPLAIN_EVERY, "line of the access log file was dropped");
        }
    }
}

/// Writes lines until nobody appends any more.
async fn write(file: File, mut lines: mpsc::Receiver<Vec<u8>>) {
    let mut file = BufWriter::new(file);
    while let Some(line) = lines.recv().await {
        if let Err(error) = write_ready(&mut file, line, &mut lines).await {
            weir_service::limited!(error, COMPLAIN_EVERY, %error, "access log file cannot be written");
        }
    }
}

/// Writes a line and all that are ready.
async fn write_ready(file: &mut BufWriter<File>, line: Vec<u8>, lines: &mut mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    file.write_all(&line).await?;
    while let Ok(line) = lines.try_recv() {
        file.write_all(&line).await?;
    }
    file.flush().await
}
