//! Converts v1 envelopes to v2.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use thiserror::Error;

use super::method::{method_name, peer_type_name};
use super::payload::{
    ContainerMetric, CounterEvent, Error as ErrorPayload, HttpStartStop, LogMessage, Payload, ValueMetric, int32,
    required, text,
};
use super::{EventType, field};
use crate::encode::Writer;
use crate::view::{self, Stream};
use crate::wire::{Fields, Value, WireError, put_bytes};

/// The reason why bytes are not a valid v1 envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FromV1Error {
    /// The bytes are not protobuf, or a field has the wrong type.
    #[error("v1 envelope is malformed: {0}")]
    Malformed(#[from] WireError),
    /// A field that proto2 requires is missing.
    #[error("v1 envelope has no `{0}`, which is required")]
    Missing(&'static str),
    /// The number of the event type does not exist.
    #[error("v1 event type `{0}` does not exist")]
    EventType(i32),
}

/// The values that an agent fills in where a v1 envelope that arrives by UDP lacks them.
///
/// The default fills in nothing, as between agents and dopplers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival<'a> {
    /// Whether the origin becomes the source id where tag `source_id` is missing or empty.
    pub origin_is_source: bool,
    /// The deployment for envelopes without that field.
    pub deployment: &'a str,
    /// The job for envelopes without that field.
    pub job: &'a str,
    /// The index for envelopes without that field.
    pub index: &'a str,
    /// The IP address for envelopes without that field.
    pub ip: &'a str,
}

/// Converts the encoded `events.Envelope` in `message`, and appends the encoded `loggregator.v2.Envelope` to `out`.
///
/// # Errors
/// If `message` is not a valid v1 envelope; `out` is then unchanged.
pub fn from_v1(message: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Result<(), FromV1Error> {
    let start = out.len();
    let converted = convert(message, arrival, out);
    // A field may turn out to be missing after others were written.
    if converted.is_err() {
        out.truncate(start);
    }
    converted
}

/// The top-level fields of a v1 envelope.
#[derive(Default)]
struct Head<'a> {
    origin: Option<Cow<'a, str>>,
    event_type: Option<i32>,
    timestamp: i64,
    deployment: Option<Cow<'a, str>>,
    job: Option<Cow<'a, str>>,
    index: Option<Cow<'a, str>>,
    ip: Option<Cow<'a, str>>,
}

impl<'a> Payload<'a> for Head<'a> {
    #[inline]
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            field::ORIGIN => self.origin = Some(text(value, number)?),
            field::EVENT_TYPE => self.event_type = Some(int32(value, number)?),
            field::TIMESTAMP => self.timestamp = value.int64(number)?,
            field::DEPLOYMENT => self.deployment = Some(text(value, number)?),
            field::JOB => self.job = Some(text(value, number)?),
            field::INDEX => self.index = Some(text(value, number)?),
            field::IP => self.ip = Some(text(value, number)?),
            _ => {}
        }
        Ok(())
    }
}

fn convert(message: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Result<(), FromV1Error> {
    let mut head = Head::default();
    head.merge(message)?;
    let origin = required(head.origin, "origin")?;
    let number = required(head.event_type, "eventType")?;
    let event_type = EventType::of(number).ok_or(FromV1Error::EventType(number))?;
    let deployment = head.deployment.unwrap_or(Cow::Borrowed(arrival.deployment));
    let job = head.job.unwrap_or(Cow::Borrowed(arrival.job));
    // Room for the message and the six tags that every converted envelope gets.
    out.reserve(message.len() + 160);
    let tags = copy_tags(message, event_type, out)?;
    let mut writer = Writer::new(out);
    writer
        .timestamp(head.timestamp)
        .tag("origin", &origin)
        .tag("deployment", &deployment)
        .tag("job", &job)
        .tag("index", head.index.as_deref().unwrap_or(arrival.index))
        .tag("ip", head.ip.as_deref().unwrap_or(arrival.ip))
        .tag("__v1_type", event_type.as_str());
    let source_id = match tags.source_id {
        Some(source_id) if !(source_id.is_empty() && arrival.origin_is_source) => source_id,
        _ if arrival.origin_is_source => origin,
        _ => Cow::Owned(format!("{deployment}/{job}")),
    };
    let event = Event {
        message,
        event_type,
        source_id,
        instance_tag: tags.instance_id.unwrap_or_default(),
    };
    match event_type {
        EventType::LogMessage => event.log(&mut writer),
        EventType::HttpStartStop => event.http(&mut writer),
        EventType::ValueMetric => event.value(&mut writer),
        EventType::CounterEvent => event.counter(&mut writer),
        EventType::Error => event.error(&mut writer),
        EventType::ContainerMetric => event.container(&mut writer),
    }
}

/// The tags of v1 that become fields of v2.
#[derive(Default)]
struct FieldTags<'a> {
    source_id: Option<Cow<'a, str>>,
    instance_id: Option<Cow<'a, str>>,
}

/// Copies the tags that stay tags, and returns those that become fields. Tags that the conversion sets itself are left
/// out.
fn copy_tags<'a>(message: &'a [u8], event_type: EventType, out: &mut Vec<u8>) -> Result<FieldTags<'a>, FromV1Error> {
    let mut tags = FieldTags::default();
    for found in Fields::new(message) {
        let (field::TAGS, value) = found? else { continue };
        let entry = value.bytes(field::TAGS)?;
        let mut tag = Tag::default();
        tag.merge(entry)?;
        match &*tag.key {
            "source_id" => {
                tags.source_id = Some(tag.value);
                continue;
            }
            "instance_id" => {
                tags.instance_id = Some(tag.value.clone());
                // As in the original, only counters do not keep the tag beside the field.
                if event_type == EventType::CounterEvent {
                    continue;
                }
            }
            // A field of the envelope wins over a tag of the same name, and a map must not have a key twice.
            key if is_set_by_conversion(key, event_type) => continue,
            _ => {}
        }
        match (&tag.key, &tag.value) {
            // Both are valid UTF-8, so the encoded entry can be copied as it is.
            (Cow::Borrowed(_), Cow::Borrowed(_)) => put_bytes(out, view::field::TAGS, entry),
            (key, value) => {
                Writer::new(out).tag(key, value);
            }
        }
    }
    Ok(tags)
}

/// One entry of the tag map.
#[derive(Default)]
struct Tag<'a> {
    key: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl<'a> Payload<'a> for Tag<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.key = text(value, 1)?,
            2 => self.value = text(value, 2)?,
            _ => {}
        }
        Ok(())
    }
}

/// Whether the conversion sets this tag from a field of the envelope or of its payload.
fn is_set_by_conversion(key: &str, event_type: EventType) -> bool {
    match key {
        "origin" | "deployment" | "job" | "index" | "ip" | "__v1_type" => true,
        "source_type" => event_type == EventType::LogMessage,
        "source" | "code" => event_type == EventType::Error,
        "request_id"
        | "peer_type"
        | "method"
        | "uri"
        | "remote_address"
        | "user_agent"
        | "status_code"
        | "content_length"
        | "routing_instance_id"
        | "forwarded" => event_type == EventType::HttpStartStop,
        _ => false,
    }
}

/// A v1 envelope whose top-level fields are converted, and whose payload is not.
struct Event<'a> {
    message: &'a [u8],
    event_type: EventType,
    /// The source id, for payloads that name none.
    source_id: Cow<'a, str>,
    /// The value of tag `instance_id`.
    instance_tag: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Reads the payload of the event type.
    ///
    /// # Errors
    /// If the payload is missing or malformed.
    fn payload<P: Payload<'a>>(&self) -> Result<P, FromV1Error> {
        let number = self.event_type.payload_field();
        let mut payload = None;
        for found in Fields::new(self.message) {
            let (found, value) = found?;
            if found == number {
                // As in protobuf, several occurrences of a message are merged into one.
                payload.get_or_insert_with(P::default).merge(value.bytes(number)?)?;
            }
        }
        required(payload, self.event_type.as_str())
    }

    /// Returns the source id that the payload names, `own`, or else that of the envelope.
    fn source_or<'b>(&'b self, own: &'b str) -> &'b str {
        if own.is_empty() { &self.source_id } else { own }
    }

    fn log(&self, writer: &mut Writer<'_>) -> Result<(), FromV1Error> {
        let log: LogMessage<'_> = self.payload()?;
        required(log.timestamp, "LogMessage.timestamp")?;
        // An unknown message type counts as standard output, as in the original.
        let stream = match required(log.message_type, "LogMessage.message_type")? {
            2 => Stream::Err,
            _ => Stream::Out,
        };
        writer
            .source_id(self.source_or(&log.app_id))
            .instance_id(&log.source_instance)
            .tag("source_type", &log.source_type)
            .log(required(log.message, "LogMessage.message")?, stream);
        Ok(())
    }

    fn http(&self, writer: &mut Writer<'_>) -> Result<(), FromV1Error> {
        let http: HttpStartStop<'_> = self.payload()?;
        let request_id = required(http.request_id, "HttpStartStop.requestId")?.complete()?.text();
        let application_id = match http.application_id {
            Some(id) => Some(id.complete()?)
                .filter(|id| !id.is_zero())
                .map(super::uuid::Uuid::text),
            None => None,
        };
        let source_id = application_id.as_ref().map_or("", ascii);
        let peer_type = required(http.peer_type, "HttpStartStop.peerType")?;
        let method = required(http.method, "HttpStartStop.method")?;
        let mut number = Number::default();
        writer
            .source_id(self.source_or(source_id))
            .instance_id(number.print(http.instance_index))
            .tag("request_id", ascii(&request_id))
            // A number without a name is printed as a number, as in the original.
            .tag(
                "peer_type",
                peer_type_name(peer_type).unwrap_or_else(|| number.print(peer_type)),
            );
        writer
            .tag("method", method_name(method).unwrap_or_else(|| number.print(method)))
            .tag("uri", &required(http.uri, "HttpStartStop.uri")?)
            .tag(
                "remote_address",
                &required(http.remote_address, "HttpStartStop.remoteAddress")?,
            )
            .tag("user_agent", &required(http.user_agent, "HttpStartStop.userAgent")?)
            .tag(
                "status_code",
                number.print(required(http.status_code, "HttpStartStop.statusCode")?),
            );
        writer
            .tag(
                "content_length",
                number.print(required(http.content_length, "HttpStartStop.contentLength")?),
            )
            .tag("routing_instance_id", &http.instance_id)
            .tag("forwarded", &http.forwarded.join("\n"))
            .timer(
                "http",
                required(http.start, "HttpStartStop.startTimestamp")?,
                required(http.stop, "HttpStartStop.stopTimestamp")?,
            );
        Ok(())
    }

    fn value(&self, writer: &mut Writer<'_>) -> Result<(), FromV1Error> {
        let metric: ValueMetric<'_> = self.payload()?;
        let name = required(metric.name, "ValueMetric.name")?;
        let unit = required(metric.unit, "ValueMetric.unit")?;
        writer
            .source_id(&self.source_id)
            .instance_id(&self.instance_tag)
            .gauge(&[(&name, &unit, required(metric.value, "ValueMetric.value")?)]);
        Ok(())
    }

    fn counter(&self, writer: &mut Writer<'_>) -> Result<(), FromV1Error> {
        let counter: CounterEvent<'_> = self.payload()?;
        writer
            .source_id(&self.source_id)
            .instance_id(&self.instance_tag)
            .counter(
                &required(counter.name, "CounterEvent.name")?,
                required(counter.delta, "CounterEvent.delta")?,
                counter.total,
            );
        Ok(())
    }

    fn error(&self, writer: &mut Writer<'_>) -> Result<(), FromV1Error> {
        let error: ErrorPayload<'_> = self.payload()?;
        writer
            .source_id(&self.source_id)
            .tag("source", &required(error.source, "Error.source")?)
            .tag("code", Number::default().print(required(error.code, "Error.code")?))
            .log(required(error.message, "Error.message")?, Stream::Out);
        Ok(())
    }

    fn container(&self, writer: &mut Writer<'_>) -> Result<(), FromV1Error> {
        let metric: ContainerMetric<'_> = self.payload()?;
        let application_id = required(metric.application_id, "ContainerMetric.applicationId")?;
        let index = required(metric.instance_index, "ContainerMetric.instanceIndex")?;
        writer
            .source_id(self.source_or(&application_id))
            .instance_id(Number::default().print(index))
            .gauge(&[
                (
                    "cpu",
                    "percentage",
                    required(metric.cpu, "ContainerMetric.cpuPercentage")?,
                ),
                (
                    "memory",
                    "bytes",
                    bytes(required(metric.memory, "ContainerMetric.memoryBytes")?),
                ),
                (
                    "disk",
                    "bytes",
                    bytes(required(metric.disk, "ContainerMetric.diskBytes")?),
                ),
                ("memory_quota", "bytes", bytes(metric.memory_quota)),
                ("disk_quota", "bytes", bytes(metric.disk_quota)),
            ]);
        Ok(())
    }
}

/// Returns a size in bytes as v2 holds it, as a double. Sizes up to 8 PiB are exact.
const fn bytes(count: u64) -> f64 {
    count as f64
}

/// Returns the textual form of a UUID as a string.
fn ascii(text: &[u8; 36]) -> &str {
    std::str::from_utf8(text).expect("hexadecimal digits and dashes are ASCII")
}

/// A buffer for printing numbers, one at a time, without allocating for each.
#[derive(Default)]
struct Number {
    text: String,
}

impl Number {
    fn print(&mut self, value: impl Display) -> &str {
        self.text.clear();
        write!(self.text, "{value}").expect("writing to a string cannot fail");
        &self.text
    }
}
