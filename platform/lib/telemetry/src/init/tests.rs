//! Tests of all parts together: what appears where, and what never appears.

use std::sync::Mutex;
use std::time::Duration;

use http::HeaderMap;
use tracing::{Instrument as _, error, info, info_span, warn};
use weir_envelope::batch::Batch;
use weir_envelope::view::{Message, Stream};
use weir_net::{adopt_trace, send_trace};
use weir_service::{Context, limited};

use super::*;
use crate::quiet;

/// A standard error that can be read.
#[derive(Clone, Default)]
struct StandardError(Arc<Mutex<Vec<u8>>>);

impl io::Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StandardError {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Runs `work` with these settings. Returns what standard error showed and what was put into the outbox.
async fn observe<F: Future>(options: Options, work: F) -> (String, Batch) {
    let shown_text = StandardError::default();
    let writer = shown_text.clone();
    let (subscriber, telemetry) = assemble(options, move || writer.clone(), false).unwrap();
    // For the whole thread, because the runtimes of these tests run their tasks on it as well.
    let installed = tracing::subscriber::set_default(subscriber);
    work.await;
    drop(installed);
    telemetry.outbox().close();
    let shipped = match telemetry.outbox().drain(1000).await {
        Some(shipment) => shipment.batch().clone(),
        None => Batch::empty(),
    };
    (shown_text.text(), shipped)
}

fn options() -> Options {
    Options::new("up")
}

fn texts(batch: &Batch) -> Vec<String> {
    let text = |message| match message {
        Message::Log { payload, .. } => Some(String::from_utf8(payload.to_vec()).unwrap()),
        _ => None,
    };
    batch
        .iter()
        .filter_map(|envelope| text(envelope.view().message()))
        .collect()
}

/// An event appears on standard error and in the outbox, with the component of its span or of the process.
#[tokio::test]
async fn events_are_shown_and_shipped() {
    let (shown_text, batch) = observe(options(), async {
        info!(count = 3, peer = "10.0.0.1 a", "started");
        let (_trigger, context) = Context::new("doppler");
        async {
            warn!(error = %"odd", "consumer is slow");
            context
                .tasks
                .spawn("child", async { error!("child says") })
                .await
                .unwrap();
        }
        .instrument(context.span())
        .await;
    })
    .await;
    let lines: Vec<&str> = shown_text.lines().collect();
    assert_eq!(lines.len(), 3);
    let started = "  INFO weir_telemetry::init::tests: started count=3 peer=\"10.0.0.1 a\"";
    assert!(lines[0].ends_with(started), "{}", lines[0]);
    assert!(
        lines[1].contains(" WARN doppler ") && lines[1].ends_with("consumer is slow error=odd"),
        "{}",
        lines[1]
    );
    assert!(lines[2].contains("ERROR doppler "), "{}", lines[2]);
    // Events of this crate are never shipped, so the other tests use another target.
    assert!(batch.is_empty());
}

/// Text of others is shown and shipped with visible control characters, so that no terminal interprets them.
#[tokio::test]
async fn text_of_others_is_made_neutral() {
    let (shown_text, batch) = observe(options(), async {
        let span = info_span!(target: "weir::test", "stream", peer = "a\u{1b}[2J");
        async { warn!(target: "weir::test", error = "\u{1b}]52;c;\u{7}", "said\r") }
            .instrument(span)
            .await;
    })
    .await;
    let expected = "said␍ error=␛]52;c;␇ peer=a␛[2J";
    assert!(
        shown_text.ends_with(&format!("weir::test: {expected}\n")),
        "{shown_text:?}"
    );
    assert_eq!(texts(&batch), [expected]);
}

/// A library warns about each of 1,000 peers. One line is shown, and the one of the next second says how many were left
/// out. Messages of a library below the level of a warning, and all messages of Weir, are shown each time.
#[tokio::test(start_paused = true)]
async fn libraries_warn_once_a_second() {
    let (shown_text, _) = observe(options(), async {
        let warn_of = |peer: u32| warn!(target: "rustls::conn", peer, "illegal SNI extension");
        (0..1000).for_each(warn_of);
        tokio::time::advance(weir_service::EACH_SECOND).await;
        warn_of(1000);
        for _ in 0..3 {
            info!(target: "sqlx::query", "asked");
            warn!(target: "weir::test", "ours");
        }
    })
    .await;
    let of = |text: &str| {
        shown_text
            .lines()
            .filter(|line| line.contains(text))
            .collect::<Vec<_>>()
    };
    let warnings = of("illegal SNI");
    assert_eq!(warnings.len(), 2, "{shown_text}");
    assert!(warnings[0].ends_with("peer=0"), "{shown_text}");
    assert!(warnings[1].ends_with("peer=1000 swallowed=999"), "{shown_text}");
    assert_eq!((of("asked").len(), of("ours").len()), (3, 3));
}

/// A log envelope has a source id, tags, a stream and a text.
#[tokio::test]
async fn log_envelopes_are_complete() {
    let (_, batch) = observe(options(), async {
        info!(target: "weir::test", "started");
        let (_trigger, context) = Context::new("rlp");
        let span = info_span!(target: "weir::test", parent: &context.span(), "stream", peer = "10.0.0.1");
        async { warn!(target: "weir::test", count = 3, "consumer is slow") }
            .instrument(span)
            .await;
    })
    .await;
    let logs: Vec<_> = batch
        .iter()
        .filter(|raw| matches!(raw.view().message(), Message::Log { .. }))
        .collect();
    let view = logs[0].view();
    assert_eq!((view.source_id(), view.instance_id()), ("up", "0"));
    assert_eq!(view.tag("origin").as_deref(), Some("loggregator.up"));
    assert!(matches!(
        view.message(),
        Message::Log {
            payload: b"started",
            stream: Stream::Out
        }
    ));
    assert!(view.timestamp() > 1_700_000_000_000_000_000);

    let view = logs[1].view();
    assert_eq!(view.source_id(), "rlp");
    for (tag, value) in [
        ("origin", "loggregator.rlp"),
        ("component", "rlp"),
        ("source_type", "LGR"),
        ("level", "WARN"),
        ("target", "weir::test"),
    ] {
        assert_eq!(view.tag(tag).as_deref(), Some(value), "{tag}");
    }
    let Message::Log { payload, stream } = view.message() else {
        panic!("no log")
    };
    assert_eq!(
        (std::str::from_utf8(payload).unwrap(), stream),
        ("consumer is slow count=3 peer=10.0.0.1", Stream::Err)
    );
    let timer = batch
        .iter()
        .find(|raw| matches!(raw.view().message(), Message::Timer { .. }))
        .unwrap();
    assert_eq!(view.tag("span_id"), timer.view().tag("span_id"));
    assert_eq!(view.tag("trace_id"), timer.view().tag("trace_id"));
}

/// Spans become timers of their component, and children are in the trace of their parent. Component spans become no
/// timers.
#[tokio::test]
async fn spans_become_timers() {
    let (_, batch) = observe(options(), async {
        let (_trigger, context) = Context::new("doppler");
        async {
            let outer =
                info_span!(target: "weir::test", "request", otel.kind = "server", path = "/v1", token = "hunter2");
            async {
                info_span!(target: "weir::test", "look-up").in_scope(|| ());
                tracing::debug_span!(target: "weir::test", "detail").in_scope(|| ());
            }
            .instrument(outer)
            .await;
        }
        .instrument(context.span())
        .await;
    })
    .await;
    let timers: Vec<_> = batch.iter().map(|raw| raw.view()).collect();
    assert_eq!(timers.len(), 2);
    let (inner, outer) = (timers[0], timers[1]);
    let Message::Timer { name, start, stop } = outer.message() else {
        panic!("no timer")
    };
    assert_eq!(name, "request");
    assert!(start > 1_700_000_000_000_000_000 && stop >= start && outer.timestamp() == stop);
    assert_eq!((outer.source_id(), inner.source_id()), ("doppler", "doppler"));
    assert_eq!(outer.tag("peer_type").as_deref(), Some("Server"));
    assert_eq!(outer.tag("path").as_deref(), Some("/v1"));
    assert_eq!(outer.tag("token").as_deref(), Some("[redacted]"));
    assert_eq!(outer.tag("trace_id").unwrap().len(), 32);
    assert_eq!(inner.tag("trace_id"), outer.tag("trace_id"));
    assert_eq!(inner.tag("parent_span_id"), outer.tag("span_id"));
    assert_eq!(outer.tag("parent_span_id"), None);
}

/// What is logged while shipping, and by the libraries that it uses, is shown and never shipped.
#[tokio::test]
async fn shipping_is_silent() {
    let (shown_text, batch) = observe(options(), async {
        quiet(async {
            warn!(target: "weir_net::channel", "agent cannot be reached");
            info_span!(target: "weir_net::channel", "connect").in_scope(|| ());
            let (_trigger, context) = Context::new("up");
            context
                .tasks
                .spawn("writer", async { warn!(target: "weir_rpc", "in a task") })
                .await
                .unwrap();
        })
        .await;
        for target in [0, 1, 2, 3, 4] {
            match target {
                0 => warn!(target: "h2::proto", "chatter"),
                1 => warn!(target: "tonic", "chatter"),
                2 => warn!(target: "hyper_util::client", "chatter"),
                3 => warn!(target: "rustls", "chatter"),
                _ => warn!(target: "weir_telemetry::outbox", "chatter"),
            }
        }
        warn!(target: "weir::test", "heard");
    })
    .await;
    assert_eq!(shown_text.lines().count(), 8, "{shown_text}");
    assert_eq!(texts(&batch), ["heard"]);
    assert_eq!(batch.len(), 1);
}

/// Secrets appear neither in events nor in spans, in either format.
#[tokio::test]
async fn secrets_appear_nowhere() {
    for format in [Format::Human, Format::Json] {
        let (shown_text, batch) = observe(Options { format, ..options() }, async {
            let span = info_span!(target: "weir::test", "request", client_secret = "hunter2", path = "/");
            async { info!(target: "weir::test", token = "hunter2", password = ?"hunter2", "login") }
                .instrument(span)
                .await;
        })
        .await;
        assert!(
            shown_text.contains("[redacted]") && !shown_text.contains("hunter2"),
            "{shown_text}"
        );
        let bytes = String::from_utf8_lossy(batch.bytes()).into_owned();
        assert!(bytes.contains("[redacted]") && !bytes.contains("hunter2"));
    }
}

/// A JSON line has a field for each part of an event.
#[tokio::test]
async fn json_lines_are_objects() {
    let (shown_text, _) = observe(
        Options {
            format: Format::Json,
            ..options()
        },
        async {
            let (_trigger, context) = Context::new("doppler");
            let span = info_span!(target: "weir::test", parent: &context.span(), "stream", peer = "a");
            span.in_scope(|| warn!(target: "weir::test", count = 3, "slow \"one\""));
        },
    )
    .await;
    let line: serde_json::Value = serde_json::from_str(shown_text.trim_end()).unwrap();
    assert_eq!(line["level"], "warn");
    assert_eq!(line["component"], "doppler");
    assert_eq!(line["message"], "slow \"one\"");
    assert_eq!(line["fields"]["count"], 3);
    assert_eq!(line["spans"][0], "stream{peer=a}");
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
}

/// The level applies to standard error and to the outbox. An invalid level is refused with a hint.
#[tokio::test]
async fn levels_decide() {
    let level = "warn,weir::loud=debug".to_owned();
    let (shown_text, batch) = observe(Options { level, ..options() }, async {
        info!(target: "weir::test", "not this");
        warn!(target: "weir::test", "this");
        tracing::debug!(target: "weir::loud", "and this");
    })
    .await;
    assert_eq!(texts(&batch), ["this", "and this"]);
    assert_eq!(shown_text.lines().count(), 2);
    let error = assemble(
        Options {
            level: "weir=loud".into(),
            ..options()
        },
        io::sink,
        false,
    )
    .err()
    .unwrap();
    assert_eq!(error.to_string(), "log level `weir=loud` is not usable");
    assert!(error.hint().is_some());
}

/// Standard error with a stricter level shows less, and everything is still shipped.
#[tokio::test]
async fn standard_error_may_show_less() {
    let stderr_level = Some("warn".to_owned());
    let options = Options {
        stderr_level,
        ..options()
    };
    let (shown_text, batch) = observe(options, async {
        info!(target: "weir::test", "quietly");
        warn!(target: "weir::test", "loudly");
    })
    .await;
    assert_eq!(texts(&batch), ["quietly", "loudly"]);
    assert!(
        shown_text.contains("loudly") && !shown_text.contains("quietly"),
        "{shown_text}"
    );
}

/// Repeated lines are suppressed and counted.
#[tokio::test(start_paused = true)]
async fn repeats_are_counted() {
    let (_, batch) = observe(options(), async {
        for round in 0..7 {
            limited!(warn, Duration::from_secs(10), target: "weir::test", round, "again");
            tokio::time::advance(Duration::from_secs(3)).await;
        }
    })
    .await;
    assert_eq!(
        texts(&batch),
        ["again swallowed=0 round=0", "again swallowed=3 round=4"]
    );
}

/// A trace continues in the process that is called.
#[tokio::test]
async fn traces_cross_processes() {
    let (_, batch) = observe(options(), async {
        let mut headers = HeaderMap::new();
        let caller = info_span!(target: "weir::test", "caller");
        caller.in_scope(|| send_trace(&caller, &mut headers));
        let called = info_span!(target: "weir::test", "called");
        adopt_trace(&called, &headers);
        called.in_scope(|| ());
        drop((called, caller));
        adopt_trace(&info_span!(target: "weir::test", "alone"), &HeaderMap::new());
    })
    .await;
    let trace = |name| {
        let found = batch
            .iter()
            .map(|raw| raw.view())
            .find(|view| matches!(view.message(), Message::Timer { name: found, .. } if found == name));
        found.unwrap().tag("trace_id").unwrap().into_owned()
    };
    assert_eq!(trace("caller"), trace("called"));
    assert_ne!(trace("caller"), trace("alone"));
}

/// A flood of events never blocks and stays within bounds, and lost events are counted.
#[tokio::test]
async fn floods_are_bounded() {
    let capacity = Capacity {
        envelopes: 100,
        bytes: 1 << 20,
    };
    let ledger = Ledger::in_memory("telemetry");
    let (_, batch) = observe(
        Options {
            capacity,
            ledger: Some(Arc::clone(&ledger)),
            ..options()
        },
        async {
            for round in 0..500 {
                info!(target: "weir::test", round, text = "x".repeat(20_000), "flood");
            }
        },
    )
    .await;
    let counts = ledger.snapshot();
    assert!(
        batch.len() <= 101 && batch.byte_len() <= 2 << 20,
        "{} {}",
        batch.len(),
        batch.byte_len()
    );
    assert_eq!(counts.received, 501);
    // The test dropped the shipment, so its envelopes are lost too.
    assert_eq!(counts.dropped_total(), 501);
}
