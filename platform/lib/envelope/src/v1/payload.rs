//! Reads the payloads of v1 envelopes from encoded bytes.
//!
//! A payload starts empty and merges the fields of every occurrence of its message; after that, missing required fields
//! are refused. proto2 allows text that is not UTF-8 and v2 does not: such text gets replacement characters, which is
//! better than losing the line.

use std::borrow::Cow;

use super::from::FromV1Error;
use super::uuid::Uuid;
use crate::wire::{Fields, Value, WireError};

/// A message that is read field by field.
pub(super) trait Payload<'a>: Default {
    /// Merges one field.
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error>;

    /// Merges an encoded message, or a further part of it.
    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), FromV1Error> {
        for field in Fields::new(bytes) {
            let (number, value) = field?;
            self.field(number, value)?;
        }
        Ok(())
    }
}

/// Reads a string field, in which bytes that are not UTF-8 become replacement characters.
#[inline]
pub(super) fn text<'a>(value: Value<'a>, number: u32) -> Result<Cow<'a, str>, WireError> {
    value.bytes(number).map(String::from_utf8_lossy)
}

/// Reads a 32-bit integer or enum, and cuts off the higher bits of its varint.
#[inline]
pub(super) fn int32(value: Value<'_>, number: u32) -> Result<i32, WireError> {
    #[expect(clippy::cast_possible_truncation, reason = "as every implementation does")]
    value.int64(number).map(|value| value as i32)
}

/// Returns the value of a required field.
///
/// # Errors
/// If the field is missing.
#[inline]
pub(super) fn required<T>(field: Option<T>, name: &'static str) -> Result<T, FromV1Error> {
    field.ok_or(FromV1Error::Missing(name))
}

/// `events.LogMessage`.
#[derive(Debug, Default)]
pub(super) struct LogMessage<'a> {
    pub(super) message: Option<&'a [u8]>,
    pub(super) message_type: Option<i32>,
    pub(super) timestamp: Option<i64>,
    pub(super) app_id: Cow<'a, str>,
    pub(super) source_type: Cow<'a, str>,
    pub(super) source_instance: Cow<'a, str>,
}

impl<'a> Payload<'a> for LogMessage<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.message = Some(value.bytes(1)?),
            2 => self.message_type = Some(int32(value, 2)?),
            3 => self.timestamp = Some(value.int64(3)?),
            4 => self.app_id = text(value, 4)?,
            5 => self.source_type = text(value, 5)?,
            6 => self.source_instance = text(value, 6)?,
            _ => {}
        }
        Ok(())
    }
}

/// `events.HttpStartStop`.
#[derive(Debug, Default)]
pub(super) struct HttpStartStop<'a> {
    pub(super) start: Option<i64>,
    pub(super) stop: Option<i64>,
    pub(super) request_id: Option<RawUuid>,
    pub(super) peer_type: Option<i32>,
    pub(super) method: Option<i32>,
    pub(super) uri: Option<Cow<'a, str>>,
    pub(super) remote_address: Option<Cow<'a, str>>,
    pub(super) user_agent: Option<Cow<'a, str>>,
    pub(super) status_code: Option<i32>,
    pub(super) content_length: Option<i64>,
    pub(super) application_id: Option<RawUuid>,
    pub(super) instance_index: i32,
    pub(super) instance_id: Cow<'a, str>,
    pub(super) forwarded: Vec<Cow<'a, str>>,
}

impl<'a> Payload<'a> for HttpStartStop<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.start = Some(value.int64(1)?),
            2 => self.stop = Some(value.int64(2)?),
            3 => self.request_id.get_or_insert_default().merge(value.bytes(3)?)?,
            4 => self.peer_type = Some(int32(value, 4)?),
            5 => self.method = Some(int32(value, 5)?),
            6 => self.uri = Some(text(value, 6)?),
            7 => self.remote_address = Some(text(value, 7)?),
            8 => self.user_agent = Some(text(value, 8)?),
            9 => self.status_code = Some(int32(value, 9)?),
            10 => self.content_length = Some(value.int64(10)?),
            12 => self.application_id.get_or_insert_default().merge(value.bytes(12)?)?,
            13 => self.instance_index = int32(value, 13)?,
            14 => self.instance_id = text(value, 14)?,
            15 => self.forwarded.push(text(value, 15)?),
            _ => {}
        }
        Ok(())
    }
}

/// `events.UUID`.
#[derive(Debug, Default)]
pub(super) struct RawUuid {
    low: Option<u64>,
    high: Option<u64>,
}

impl RawUuid {
    pub(super) fn complete(&self) -> Result<Uuid, FromV1Error> {
        Ok(Uuid {
            low: required(self.low, "UUID.low")?,
            high: required(self.high, "UUID.high")?,
        })
    }
}

impl<'a> Payload<'a> for RawUuid {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.low = Some(value.varint(1)?),
            2 => self.high = Some(value.varint(2)?),
            _ => {}
        }
        Ok(())
    }
}

/// `events.ValueMetric`.
#[derive(Debug, Default)]
pub(super) struct ValueMetric<'a> {
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) value: Option<f64>,
    pub(super) unit: Option<Cow<'a, str>>,
}

impl<'a> Payload<'a> for ValueMetric<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.name = Some(text(value, 1)?),
            2 => self.value = Some(value.double(2)?),
            3 => self.unit = Some(text(value, 3)?),
            _ => {}
        }
        Ok(())
    }
}

/// `events.CounterEvent`.
#[derive(Debug, Default)]
pub(super) struct CounterEvent<'a> {
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) delta: Option<u64>,
    pub(super) total: u64,
}

impl<'a> Payload<'a> for CounterEvent<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.name = Some(text(value, 1)?),
            2 => self.delta = Some(value.varint(2)?),
            3 => self.total = value.varint(3)?,
            _ => {}
        }
        Ok(())
    }
}

/// `events.Error`.
#[derive(Debug, Default)]
pub(super) struct Error<'a> {
    pub(super) source: Option<Cow<'a, str>>,
    pub(super) code: Option<i32>,
    pub(super) message: Option<&'a [u8]>,
}

impl<'a> Payload<'a> for Error<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.source = Some(text(value, 1)?),
            2 => self.code = Some(int32(value, 2)?),
            // It becomes the payload of a log, which may be any bytes, so it is not checked for UTF-8.
            3 => self.message = Some(value.bytes(3)?),
            _ => {}
        }
        Ok(())
    }
}

/// `events.ContainerMetric`.
#[derive(Debug, Default)]
pub(super) struct ContainerMetric<'a> {
    pub(super) application_id: Option<Cow<'a, str>>,
    pub(super) instance_index: Option<i32>,
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<u64>,
    pub(super) disk: Option<u64>,
    pub(super) memory_quota: u64,
    pub(super) disk_quota: u64,
}

impl<'a> Payload<'a> for ContainerMetric<'a> {
    fn field(&mut self, number: u32, value: Value<'a>) -> Result<(), FromV1Error> {
        match number {
            1 => self.application_id = Some(text(value, 1)?),
            2 => self.instance_index = Some(int32(value, 2)?),
            3 => self.cpu = Some(value.double(3)?),
            4 => self.memory = Some(value.varint(4)?),
            5 => self.disk = Some(value.varint(5)?),
            6 => self.memory_quota = value.varint(6)?,
            7 => self.disk_quota = value.varint(7)?,
            _ => {}
        }
        Ok(())
    }
}
