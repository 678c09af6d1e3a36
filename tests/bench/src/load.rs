//! The load generator: batches that are encoded once, of which only the timestamps change: each envelope has its own, as
//! whatever looks at them may find equal ones cheaper, or dearer.

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
use weir_net::{Channel, Frame, Target};

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
    /// Where the timestamp of each envelope is: [`VARINT`] bytes.
    stamps: Vec<usize>,
    /// How many of its envelopes a consumer of everything gets.
    reaching: u64,
}

impl Template {
    /// A hundred lines, of these sources in turn.
    pub(crate) fn lines(sources: &[String]) -> Self {
        let mut builder = BatchBuilder::new();
        for index in 0..BATCH {
            let source = &sources[index % sources.len()];
            builder.push(&line(source, index == 0));
        }
        let batch = builder.finish();
        let bytes = batch.bytes().to_vec();
        let mut stamps = Vec::with_capacity(BATCH);
        let mut at = 0;
        for envelope in batch.iter() {
            // Each stands behind its own length; its timestamp comes first.
            let found = memchr::memmem::find(&bytes[at..], envelope.bytes()).map_or(0, |found| at + found);
            stamps.push(found + 1);
            at = found + envelope.bytes().len();
        }
        let digits = memchr::memmem::find(&bytes, SAMPLE_MARK).map_or(0, |at| at + SAMPLE_MARK.len());
        Self {
            bytes,
            digits,
            stamps,
            reaching: BATCH as u64,
        }
    }

    /// The same, of which only so many envelopes reach whom they are for.
    pub(crate) const fn reaching(mut self, envelopes: u64) -> Self {
        self.reaching = envelopes;
        self
    }

    /// The batch as it is to be sent now.
    pub(crate) fn stamped(&self) -> Bytes {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        let now = now_nanos();
        let text = format!("{now:0TIME_DIGITS$}");
        bytes[self.digits..self.digits + TIME_DIGITS].copy_from_slice(text.as_bytes());
        for (later, stamp) in (0u64..).zip(&self.stamps) {
            write_varint(&mut bytes[*stamp..stamp + VARINT], now + later * 1000);
        }
        bytes.freeze()
    }
}

/// A time of our days in nanoseconds has between 57 and 63 bits.
const VARINT: usize = 9;

/// Writes `value` into all of `place`.
fn write_varint(place: &mut [u8], mut value: u64) {
    let last = place.len() - 1;
    for (index, byte) in place.iter_mut().enumerate() {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        *byte = if index == last { low } else { low | 0x80 };
        value >>= 7;
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
    templates: Vec<Template>,
    sent: u64,
    due: u64,
}

impl Generator {
    pub(crate) fn open(target: &Target, template: Template) -> Self {
        Self::open_all(target, vec![template])
    }

    /// Sends these batches in turn.
    pub(crate) fn open_all(target: &Target, templates: Vec<Template>) -> Self {
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
            templates,
            sent: 0,
            due: 0,
        }
    }

    /// Envelopes handed over so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Envelopes that a consumer of everything should have got so far.
    pub(crate) const fn due(&self) -> u64 {
        self.due
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        let turn = usize::try_from(self.sent / BATCH as u64)? % self.templates.len();
        let frame = Frame::from(self.templates[turn].stamped());
        if self.messages.send(frame).await.is_err() {
            match (&mut self.call).await? {
                Ok(()) => anyhow::bail!("the server ended the stream"),
                Err(error) => return Err(error),
            }
        }
        self.sent += BATCH as u64;
        self.due += self.templates[turn].reaching;
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
        let before = now_nanos().cast_signed();
        let batch = Batch::split(Template::lines(&source_names(3)).stamped()).batch;
        assert_eq!(batch.len(), BATCH);
        let stamps: Vec<i64> = batch.iter().map(|envelope| envelope.view().timestamp()).collect();
        assert!(
            stamps[0] >= before && stamps.windows(2).all(|pair| pair[1] == pair[0] + 1000),
            "{stamps:?}"
        );
        assert!(batch.iter().all(|envelope| envelope.bytes().len() == LINE));
        assert_eq!(memchr::memmem::find_iter(batch.bytes(), SAMPLE_MARK).count(), 1);
    }
}
