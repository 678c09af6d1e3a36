//! The load generator: batches that are encoded once, of which only the timestamps change.
//!
//! Every envelope of a batch but the first is the same bytes each time: nothing on the way looks at them twice.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_rpc::{Channel, Frame, Target};

use crate::meter::now_nanos;

/// Starts the payload of the first envelope of each batch, whose delay is measured; twenty digits of nanoseconds follow.
pub(crate) const SAMPLE_MARK: &[u8] = b"sampled@";
pub(crate) const TIME_DIGITS: usize = 20;

/// Envelopes of a batch, as go-loggregator and the agents send them.
pub(crate) const BATCH: usize = 100;

const BATCH_SENDER: &str = "/loggregator.v2.Ingress/BatchSender";

/// Batches between the generator and the connection: enough not to stall it, few enough to notice when it does.
const AHEAD: usize = 8;

/// The size of a line that the original was measured with: 200 bytes of payload, ten tags.
pub(crate) const LINE: usize = 495;
const LINE_PAYLOAD: usize = 200;

const TAGS: [(&str, &str); 9] = [
    ("source_type", "APP/PROC/WEB"),
    ("origin", "rep"),
    ("deployment", "cf"),
    ("job", "diego-cell"),
    ("process_type", "web"),
    ("space_name", "production"),
    ("organization_name", "shop"),
    ("index", "3f2a"),
    ("ip", "10.0.16.5"),
];

/// A batch in wire form whose first envelope carries the time of sending.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// Where the twenty digits are.
    digits: usize,
}

impl Template {
    /// A hundred lines, of these sources in turn.
    pub(crate) fn lines(sources: &[String]) -> Self {
        let mut builder = BatchBuilder::new();
        for index in 0..BATCH {
            let source = &sources[index % sources.len()];
            builder.push(&line(source, index == 0));
        }
        let bytes = builder.finish().bytes().to_vec();
        let digits = memchr::memmem::find(&bytes, SAMPLE_MARK).map_or(0, |at| at + SAMPLE_MARK.len());
        Self { bytes, digits }
    }

    /// The batch as it is to be sent now.
    pub(crate) fn stamped(&self) -> Bytes {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        let text = format!("{:0TIME_DIGITS$}", now_nanos());
        bytes[self.digits..self.digits + TIME_DIGITS].copy_from_slice(text.as_bytes());
        bytes.freeze()
    }
}

/// App GUIDs.
pub(crate) fn source_names(count: usize) -> Vec<String> {
    (0..count)
        .map(|index| format!("6c1f0b2e-9d3a-4c57-8e21-{index:012x}"))
        .collect()
}

/// One envelope of [`LINE`] bytes.
fn line(source: &str, sampled: bool) -> Vec<u8> {
    let mut payload = Vec::with_capacity(LINE_PAYLOAD);
    if sampled {
        payload.extend_from_slice(SAMPLE_MARK);
        payload.resize(SAMPLE_MARK.len() + TIME_DIGITS, b'0');
    }
    payload.resize(LINE_PAYLOAD, b'x');
    let write = |stretch: usize| {
        let mut envelope = Vec::with_capacity(LINE);
        let mut writer = Writer::new(&mut envelope);
        writer
            .timestamp(now_nanos().cast_signed())
            .source_id(source)
            .instance_id("0")
            .tags(TAGS)
            .tag("app_name", &"a".repeat(1 + stretch))
            .log(&payload, Stream::Out);
        envelope
    };
    let bare = write(0).len();
    write(LINE.saturating_sub(bare))
}

/// A stream of batches towards a doppler, at a rate.
#[derive(Debug)]
pub(crate) struct Generator {
    messages: mpsc::Sender<Frame>,
    call: JoinHandle<anyhow::Result<()>>,
    template: Template,
    sent: u64,
}

impl Generator {
    pub(crate) fn open(target: &Target, template: Template) -> Self {
        let channel = Channel::new(target);
        let (messages, receiver) = mpsc::channel(AHEAD);
        let call = tokio::spawn(async move {
            let request = Request::new(ReceiverStream::new(receiver));
            let mut answer = channel.stream(BATCH_SENDER, request).await?.into_inner();
            while answer.message().await?.is_some() {}
            Ok(())
        });
        Self {
            messages,
            call,
            template,
            sent: 0,
        }
    }

    /// Envelopes handed over so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        let frame = Frame::from(self.template.stamped());
        if self.messages.send(frame).await.is_err() {
            match (&mut self.call).await? {
                Ok(()) => anyhow::bail!("the server ended the stream"),
                Err(error) => return Err(error),
            }
        }
        self.sent += BATCH as u64;
        Ok(())
    }

    /// Sends `rate` envelopes a second for `time`; without a rate, as fast as they are taken. Gives the time it took.
    pub(crate) async fn run(&mut self, rate: Option<u64>, time: Duration) -> anyhow::Result<Duration> {
        let before = self.sent;
        let start = Instant::now();
        // The runtime's timer is no finer.
        let mut tick = interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while start.elapsed() < time {
            let due = match rate {
                Some(rate) => {
                    tick.tick().await;
                    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                    rate * micros / 1_000_000
                }
                None => u64::MAX,
            };
            while self.sent - before + BATCH as u64 <= due && start.elapsed() < time {
                self.send().await?;
            }
        }
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_envelope::batch::Batch;

    /// What is measured is what the original was measured with.
    #[test]
    fn a_line_has_its_size_and_a_batch_its_sample() {
        let batch = Batch::split(Template::lines(&source_names(3)).stamped()).batch;
        assert_eq!(batch.len(), BATCH);
        assert!(batch.iter().all(|envelope| envelope.bytes().len() == LINE));
        assert_eq!(memchr::memmem::find_iter(batch.bytes(), SAMPLE_MARK).count(), 1);
    }
}
