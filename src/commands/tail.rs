//! `weir tail [SOURCE]`: prints the live stream, which it gets from the reverse log proxy as any nozzle does.

use std::process::ExitCode;

use tonic::Code;
use weir_envelope::batch::Batch;
use weir_net::Messages;
use weir_proto::loggregator_v2::{
    CounterSelector, EgressBatchRequest, EventSelector, GaugeSelector, LogSelector, Selector, TimerSelector,
    selector::Message,
};

use crate::client::{Stack, reconnect, refused, subscribe};
use crate::failure::Failure;
use crate::render::{self, Form, Style};
use crate::state::StateDir;
use crate::terminal::{self, Output, note};

const EXAMPLES: &str = "\
Examples:
  weir tail                                 everything, from all sources
  weir tail web                             one source
  weir tail web --type log                  only its logs
  weir tail --type counter --type gauge     only metrics
  weir tail --json | jq .log                one JSON object per line; log payloads are base64
  weir tail web --body | grep -c ERROR      only the lines as the program wrote them

It shows what happens from now on; `weir recent SOURCE` shows what was before.";

const BATCHED_RECEIVER: &str = "/loggregator.v2.Egress/BatchedReceiver";

/// Watch logs and metrics live
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The source; without it, all sources
    source: Option<String>,

    /// Only this kind; may be given several times
    #[arg(long = "type", value_enum, value_name = "KIND")]
    kinds: Vec<Kind>,

    /// One JSON object per line, with everything in it
    #[arg(long, conflicts_with = "body")]
    json: bool,

    /// Only the bodies of logs, byte for byte
    #[arg(long)]
    body: bool,

    /// Share the stream with all who give the same name: each envelope goes to one of them
    #[arg(long, value_name = "NAME", default_value = "")]
    shard_id: String,
}

/// The kinds of envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Log,
    Counter,
    Gauge,
    Timer,
    Event,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Log, Self::Counter, Self::Gauge, Self::Timer, Self::Event];

    fn selector(self, source_id: &str) -> Selector {
        let message = match self {
            Self::Log => Message::Log(LogSelector {}),
            Self::Counter => Message::Counter(CounterSelector::default()),
            Self::Gauge => Message::Gauge(GaugeSelector::default()),
            Self::Timer => Message::Timer(TimerSelector {}),
            Self::Event => Message::Event(EventSelector {}),
        };
        Selector {
            source_id: source_id.to_owned(),
            message: Some(message),
        }
    }
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let style = Style {
        colour: terminal::stdout_has_colour(),
        neutral: terminal::stdout_is_neutral(),
        source: args.source.is_none(),
        form: if args.json {
            Form::Json
        } else if args.body {
            Form::Body
        } else {
            Form::Line
        },
    };
    let request = request(&args);
    let mut output = Output::stdout();
    // The first connection must succeed; later ones are retried.
    let mut stream = open(&Stack::find(&state)?, &request).await?;
    loop {
        let status = print(&mut stream, style, &mut output).await?;
        note(&format!(
            "weir: the stream ended ({}), connecting again; what is sent meanwhile is not shown",
            status.message()
        ));
        stream = reconnect(&state, async |stack| open(&stack, &request).await).await?;
        note("weir: connected again");
    }
}

fn request(args: &Args) -> EgressBatchRequest {
    let source = args.source.as_deref().unwrap_or_default();
    let kinds: &[Kind] = match args.kinds.as_slice() {
        [] if args.body => &[Kind::Log],
        [] => &Kind::ALL,
        kinds => kinds,
    };
    // A repeated selector would deliver its envelopes twice.
    let mut distinct: Vec<Kind> = Vec::new();
    for kind in kinds {
        if !distinct.contains(kind) {
            distinct.push(*kind);
        }
    }
    EgressBatchRequest {
        // Without a name, this consumer gets all envelopes.
        shard_id: args.shard_id.clone(),
        use_preferred_tags: true,
        selectors: distinct.into_iter().map(|kind| kind.selector(source)).collect(),
        ..EgressBatchRequest::default()
    }
}

async fn open(stack: &Stack, request: &EgressBatchRequest) -> Result<Messages, Failure> {
    subscribe(&stack.rlp()?, BATCHED_RECEIVER, request).await
}

/// Prints envelopes until the stream ends. Returns the status of an end after which reconnecting may help.
async fn print(stream: &mut Messages, style: Style, output: &mut Output) -> Result<tonic::Status, Failure> {
    let mut text = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                text.clear();
                for envelope in Batch::split(message).batch.iter() {
                    render::envelope(envelope.view(), style, &mut text);
                }
                output.program(&text)?;
                // The next message may be long in coming.
                output.flush()?;
            }
            Ok(None) => return Ok(tonic::Status::ok("the stack closed it")),
            // A refusal, which would come again after each reconnection.
            Err(status)
                if matches!(
                    status.code(),
                    Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated
                ) =>
            {
                return Err(refused("rlp", &status));
            }
            Err(status) => return Ok(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn selected(line: &[&str]) -> Vec<Selector> {
        let cli = Cli::try_parse_from([&["weir", "tail"], line].concat()).expect("valid");
        let Command::Tail(args) = cli.command else {
            panic!("not tail")
        };
        request(&args).selectors
    }

    /// Each kind is selected once. Without `--type`, all kinds are selected, and with `--body` logs.
    #[test]
    fn selectors_follow_the_flags() {
        assert_eq!(selected(&[]).len(), 5);
        assert_eq!(
            selected(&["web", "--type", "log", "--type", "log"]),
            [Kind::Log.selector("web")]
        );
        assert_eq!(selected(&["--body"]), [Kind::Log.selector("")]);
    }
}
