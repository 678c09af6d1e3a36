//! Tells of requests.

use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_flow::LogContext;
use weir_net::Target;

use crate::access_log::{AccessLogSettings, SecondText, put_line};
use crate::outbox::{Outbox, Pen};
use crate::record::RequestRecord;
use crate::timer::{self, ROUTER};

/// What is told of requests.
#[derive(Debug, Clone)]
pub struct RequestSettings {
    /// The index of the router, which is the instance id of its lines.
    pub index: String,
    /// Whether a line is told of each request to an app.
    pub lines: bool,
    /// What the lines show.
    pub access_log: AccessLogSettings,
    /// Whether a timer is told of each request.
    pub server_timers: bool,
    /// Whether a timer is told of each call of a backend.
    pub client_timers: bool,
}

/// Tells of requests, in the streams of their apps. Threads that record at the same time do not wait for each other.
#[derive(Debug)]
pub struct Requests {
    settings: RequestSettings,
    outbox: Outbox<Scratch>,
}

/// What a thread reuses from record to record.
#[derive(Debug, Default)]
struct Scratch {
    text: Vec<u8>,
    line: Vec<u8>,
    second: SecondText,
}

impl Requests {
    /// Begins to send to the agent at `agent`. Envelopes are counted in the ledger of `context`.
    #[must_use]
    pub fn start(settings: RequestSettings, agent: &Target, context: &LogContext) -> Self {
        Self {
            settings,
            outbox: Outbox::start(agent, context),
        }
    }

    /// Tells of one request. Never waits.
    pub fn record(&self, record: &RequestRecord<'_>) {
        self.outbox.write(|pen, scratch| {
            if self.settings.server_timers {
                pen.envelope(|out| timer::write_server(out, record, &mut scratch.text));
            }
            if self.settings.client_timers {
                for attempt in record.attempts {
                    pen.envelope(|out| timer::write_client(out, record, attempt, &mut scratch.text));
                }
            }
            if self.settings.lines {
                self.line(pen, record, scratch);
            }
        });
    }

    fn line(&self, pen: &mut Pen<'_>, record: &RequestRecord<'_>, scratch: &mut Scratch) {
        let backend = record.backend.filter(|backend| !backend.app_id.is_empty());
        let Some(backend) = backend else {
            return;
        };
        scratch.line.clear();
        put_line(
            &mut scratch.line,
            record,
            &self.settings.access_log,
            &mut scratch.second,
            true,
        );
        pen.envelope(|out| {
            Writer::new(out)
                .timestamp(record.finished())
                .source_id(backend.app_id)
                .instance_id(&self.settings.index)
                .tag("source_type", "RTR")
                .tag("origin", ROUTER);
            out.extend_from_slice(&backend.tags.of_line);
            Writer::new(out).log(&scratch.line, Stream::Out);
        });
    }

    /// Sends what was recorded before, and ends. Losses are in the ledger.
    pub async fn finish(&self) {
        self.outbox.finish().await;
    }
}
