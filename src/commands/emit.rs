//! `weir emit --source-id ID [FILE…]`: ships lines, each once, and waits until all are acknowledged.

mod pace;
mod source;

use std::process::ExitCode;

use weir_envelope::batch::BatchBuilder;
use weir_envelope::view::Stream;
use weir_error::ErrorKind;
use weir_rpc::producer::{Producer, Report};
use weir_service::{Shutdown, Signals};

use super::component::second_signal;
use crate::client::{Line, Sequence, Stack, shipping};
use crate::failure::Failure;
use crate::lines::{Rule, Splitter};
use crate::state::StateDir;
use crate::terminal::{Output, ProgressBar, thousands};

use pace::Pacer;
use source::{Source, total_size};

const EXAMPLES: &str = "\
Examples:
  cat *.log | weir emit --source-id batch   lines from a pipe
  weir emit --source-id web access.log      lines from files
  weir emit --source-id web --rate 1000 -   no more than 1,000 a second
  tail -F app.log | weir emit --source-id app --instance-id 2

Lines end with \\n and are kept byte for byte; a last line without an end counts. Lines longer than 61,440 bytes are sent in
pieces. It ends when the pipeline has taken all of them, and fails when one was dropped.";

/// The envelopes of a full message.
const BATCH: usize = 250;
/// The bytes of a full message.
const BATCH_BYTES: usize = 512 * 1024;

/// Ship lines from files or standard input
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Under which source the lines appear
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    source_id: String,

    /// Which copy of the source this is
    #[arg(long, value_name = "ID", default_value = "0")]
    instance_id: String,

    /// The kind of source, as clients show it in brackets
    #[arg(long, value_name = "TYPE", default_value = "APP")]
    source_type: String,

    /// As standard error (ERR) instead of standard output (OUT)
    #[arg(long)]
    err: bool,

    /// At most this many lines per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,

    /// No progress bar and no summary
    #[arg(long, short)]
    quiet: bool,

    /// Files to read; `-` and none at all mean standard input
    files: Vec<String>,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(&state)?;
    let mut signals = Signals::new().map_err(|error| Failure::io("signals cannot be handled", &error))?;
    let (trigger, stop) = Shutdown::new();
    // The first Ctrl-C ends the reading, and lines that were read are delivered. The second ends the command.
    let interrupted = async {
        signals.next().await;
        trigger.fire();
        second_signal(&mut signals).await;
        Failure::new(
            ErrorKind::Unavailable,
            "interrupted: what became of the last lines is not known",
        )
    };
    let emitting = async {
        let mut emitter = Emitter::new(&args, shipping::producer(&stack).await?);
        let read = emitter.all(&args.files, &stop).await;
        // Lines that were read before an error are delivered too.
        let report = emitter.finish().await?;
        read.map(|()| (report, emitter))
    };
    let (report, emitter) = tokio::select! {
        done = emitting => done?,
        failure = interrupted => return Err(failure),
    };
    if !args.quiet {
        Output::stdout().line(&summary(report, emitter.splits))?;
    }
    match report.lost {
        0 => Ok(ExitCode::SUCCESS),
        lost => Err(Failure::new(
            ErrorKind::Unavailable,
            format!(
                "source `{}`: {} of {} lines were dropped",
                args.source_id,
                thousands(lost),
                thousands(report.sent)
            ),
        )
        .with_hint("`weir sql \"select component, hop, reason, count from drops\"` says where and why")),
    }
}

fn summary(report: Report, splits: u64) -> String {
    let taken = report.sent - report.lost.min(report.sent);
    let pieces = match splits {
        0 => String::new(),
        pieces => format!(" ({} of them because of lines above 61,440 bytes)", thousands(pieces)),
    };
    format!(
        "sent {}{pieces}, taken {}, dropped {}",
        thousands(report.sent),
        thousands(taken),
        thousands(report.lost)
    )
}

/// Reads lines, collects them into batches, and sends these to the agent.
struct Emitter {
    line: Line,
    stream: Stream,
    sequence: Sequence,
    pacer: Option<Pacer>,
    bar: ProgressBar,
    producer: Producer,
    builder: BatchBuilder,
    bytes: u64,
    lines: u64,
    /// The number of further envelopes of lines that were too long for one.
    splits: u64,
}

impl Emitter {
    fn new(args: &Args, producer: Producer) -> Self {
        Self {
            line: Line {
                source_id: args.source_id.clone(),
                instance_id: args.instance_id.clone(),
                source_type: args.source_type.clone(),
            },
            stream: if args.err { Stream::Err } else { Stream::Out },
            sequence: Sequence::default(),
            pacer: args.rate.map(Pacer::new),
            bar: if args.quiet {
                ProgressBar::silent()
            } else {
                ProgressBar::new(total_size(&args.files))
            },
            producer,
            builder: BatchBuilder::new(),
            bytes: 0,
            lines: 0,
            splits: 0,
        }
    }

    /// Ships all files, one after the other, until `stop`.
    async fn all(&mut self, files: &[String], stop: &Shutdown) -> Result<(), Failure> {
        let stdin = ["-".to_owned()];
        for name in if files.is_empty() { &stdin } else { files } {
            if stop.is_requested() {
                break;
            }
            self.one(Source::open(name).await?, stop).await?;
        }
        Ok(())
    }

    async fn one(&mut self, mut source: Source, stop: &Shutdown) -> Result<(), Failure> {
        let mut splitter = Splitter::new(Rule::Exact);
        let mut lines = Lines::default();
        while let Some(read) = stop.unless_requested(source.read()).await {
            let chunk = read?;
            if chunk.is_empty() {
                break;
            }
            self.bytes += chunk.len() as u64;
            splitter.push(chunk, |line| lines.add(line));
            // Complete lines go out after each read. A slow pipe would otherwise wait long for a full batch.
            self.send(&mut lines).await?;
        }
        splitter.finish(|line| lines.add(line));
        self.splits += splitter.extra_pieces();
        self.send(&mut lines).await
    }

    /// Sends lines in batches, at the requested rate.
    async fn send(&mut self, lines: &mut Lines) -> Result<(), Failure> {
        let step = self.pacer.as_ref().map_or(BATCH, Pacer::step);
        for line in lines.iter() {
            if let Some(pacer) = &mut self.pacer
                && self.builder.is_empty()
            {
                // A batch leaves as a whole, at the time of its first line.
                pacer.wait(self.lines).await;
            }
            let timestamp = self.sequence.next();
            self.builder
                .push_with(|envelope| self.line.write(envelope, timestamp, line, self.stream));
            self.lines += 1;
            if self.builder.len() >= step || self.builder.byte_len() >= BATCH_BYTES {
                self.flush_builder().await?;
            }
        }
        lines.clear();
        self.flush_builder().await
    }

    async fn flush_builder(&mut self) -> Result<(), Failure> {
        if !self.builder.is_empty() {
            let batch = self.builder.finish();
            self.producer.send(batch).await?;
            self.bar.update(self.bytes, self.lines);
        }
        Ok(())
    }

    /// Waits until all lines are acknowledged.
    async fn finish(&mut self) -> Result<Report, Failure> {
        let report = self.producer.flush().await;
        self.bar.finish();
        Ok(report?)
    }
}

/// The lines of one read, in one buffer.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    fn add(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The summary shows sent, taken and dropped lines, and pieces of long lines.
    #[test]
    fn the_summary_adds_up() {
        assert_eq!(
            summary(Report { sent: 24_008, lost: 0 }, 0),
            "sent 24,008, taken 24,008, dropped 0"
        );
        assert_eq!(
            summary(Report { sent: 10, lost: 3 }, 2),
            "sent 10 (2 of them because of lines above 61,440 bytes), taken 7, dropped 3"
        );
    }

    /// Lines, also empty ones, come out as they were added.
    #[test]
    fn lines_keep_their_bounds() {
        let mut lines = Lines::default();
        for line in [&b"a"[..], b"", b"bc"] {
            lines.add(line);
        }
        assert_eq!(lines.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
        lines.clear();
        assert_eq!(lines.iter().count(), 0);
    }
}
