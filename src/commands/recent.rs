//! `weir recent SOURCE`: prints the newest lines of a source from the log cache.

use std::process::ExitCode;

use bytes::Bytes;
use weir_envelope::batch::Batch;
use weir_envelope::wire::{Fields, Value};
use weir_error::ErrorKind;
use weir_net::Channel;
use weir_proto::logcache_v1::{EnvelopeType, ReadRequest};

use crate::client::{Stack, call_raw};
use crate::failure::Failure;
use crate::render::{self, Form, Style};
use crate::state::StateDir;
use crate::terminal::{self, Output, note};

const EXAMPLES: &str = "\
Examples:
  weir recent web                           its last 1,000 lines
  weir recent web -n 20                     its last 20
  weir recent web -n 1000000 --body > web.log
                                            everything that is kept, as the program wrote it
  weir recent doppler --type counter -n 5   metrics instead of logs
  weir recent web --json                    one JSON object per line";

const READ: &str = "/logcache.v1.Egress/Read";
/// The most envelopes that the log cache returns for one request.
const PAGE: usize = 1000;
/// A start time before every envelope, in nanoseconds since 1970. The cf CLI sends this value.
const BEGINNING: i64 = -6_795_364_578_871_345_152;

/// Print what a source said last
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The source whose lines are printed
    source: String,

    /// The number of newest lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = PAGE)]
    lines: usize,

    /// The kind of envelopes
    #[arg(long = "type", value_enum, value_name = "KIND", default_value = "log")]
    kind: Kind,

    /// One JSON object per line, with everything in it
    #[arg(long, conflicts_with = "body")]
    json: bool,

    /// Only the bodies of logs, byte for byte
    #[arg(long)]
    body: bool,
}

/// The kinds of envelopes, and any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Log,
    Counter,
    Gauge,
    Timer,
    Event,
    Any,
}

impl Kind {
    fn types(self) -> Vec<i32> {
        let kind = match self {
            Self::Log => EnvelopeType::Log,
            Self::Counter => EnvelopeType::Counter,
            Self::Gauge => EnvelopeType::Gauge,
            Self::Timer => EnvelopeType::Timer,
            Self::Event => EnvelopeType::Event,
            Self::Any => return Vec::new(),
        };
        vec![kind.into()]
    }
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(&state)?;
    let style = Style {
        colour: terminal::stdout_has_colour(),
        neutral: terminal::stdout_is_neutral(),
        source: false,
        form: if args.json {
            Form::Json
        } else if args.body {
            Form::Body
        } else {
            Form::Line
        },
    };
    let pages = newest(&stack.log_cache()?, &args).await?;
    let found: usize = pages.iter().map(Batch::len).sum();
    if found == 0 {
        note(&format!(
            "weir: the log cache holds nothing of that kind of `{}`",
            args.source
        ));
    }
    let mut output = Output::stdout();
    let mut text = Vec::new();
    // The last page has the oldest envelopes, and a page begins with its newest. A page may have more envelopes than the limit,
    // because the log cache never splits those with one time stamp.
    let mut surplus = found.saturating_sub(args.lines);
    for page in pages.iter().rev() {
        let envelopes: Vec<_> = page.iter().collect();
        text.clear();
        for envelope in envelopes.into_iter().rev() {
            if surplus > 0 {
                surplus -= 1;
            } else {
                render::envelope(envelope.view(), style, &mut text);
            }
        }
        output.program(&text)?;
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Reads pages from the newest backwards, until there are as many envelopes as requested.
async fn newest(channel: &Channel, args: &Args) -> Result<Vec<Batch>, Failure> {
    let mut pages = Vec::new();
    let mut missing = args.lines;
    let mut end_time = 0;
    while missing > 0 {
        let limit = missing.min(PAGE);
        let request = ReadRequest {
            source_id: args.source.clone(),
            start_time: BEGINNING,
            end_time,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            envelope_types: args.kind.types(),
            descending: true,
            name_filter: String::new(),
        };
        let page = page(call_raw(channel, READ, &request).await?)?;
        let Some(oldest) = page.iter().map(|envelope| envelope.view().timestamp()).min() else {
            break;
        };
        let full = page.len() >= limit;
        missing = missing.saturating_sub(page.len());
        pages.push(page);
        // There are no older envelopes: a further request would find none.
        if !full {
            break;
        }
        // `end_time` is exclusive, and a page has all envelopes with its oldest time stamp: none is missed, and none comes twice.
        end_time = oldest;
    }
    Ok(pages)
}

/// Returns the envelopes of a `ReadResponse` without decoding them.
fn page(response: Bytes) -> Result<Batch, Failure> {
    for field in Fields::new(&response) {
        match field {
            Ok((1, Value::Bytes(envelopes))) => return Ok(Batch::split(response.slice_ref(envelopes)).batch),
            Ok(_) => {}
            Err(error) => {
                return Err(Failure::new(
                    ErrorKind::Internal,
                    format!("log cache: answer cannot be read: {error}"),
                ));
            }
        }
    }
    Ok(Batch::empty())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use weir_proto::logcache_v1::ReadResponse;
    use weir_proto::loggregator_v2::{Envelope, EnvelopeBatch};

    use super::*;

    /// The encoded envelopes are taken from the answer, and an answer without envelopes is an empty page.
    #[test]
    fn pages_are_read_raw() {
        let envelope = |source_id: &str| Envelope {
            source_id: source_id.to_owned(),
            ..Envelope::default()
        };
        let batch = EnvelopeBatch {
            batch: vec![envelope("a"), envelope("b")],
        };
        let response = ReadResponse { envelopes: Some(batch) }.encode_to_vec();
        let page = page(response.into()).expect("readable");
        let sources: Vec<&str> = page.iter().map(|envelope| envelope.source_id()).collect();
        assert_eq!(sources, ["a", "b"]);
        assert!(super::page(Bytes::new()).expect("readable").is_empty());
        assert!(super::page(Bytes::from_static(b"\x0a\x05x")).is_err());
    }
}
