use proptest::prelude::*;
use prost::Message as _;
use weir_proto::loggregator_v2::{self as v2, envelope::Message, value::Data};

use super::Writer;
use crate::scan::scan;
use crate::testing;
use crate::view::{Stream, TagValue};

/// Writes an owned envelope with the writer.
fn write(envelope: &v2::Envelope) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    let mut writer = Writer::new(&mut out);
    writer
        .timestamp(envelope.timestamp)
        .source_id(&envelope.source_id)
        .instance_id(&envelope.instance_id);
    for (key, value) in &envelope.deprecated_tags {
        let value = match &value.data {
            Some(Data::Text(text)) => TagValue::Text(text),
            Some(Data::Integer(value)) => TagValue::Integer(*value),
            Some(Data::Decimal(value)) => TagValue::Decimal(*value),
            None => TagValue::None,
        };
        writer.deprecated_tag(key, value);
    }
    match &envelope.message {
        Some(Message::Log(log)) => {
            writer.log(&log.payload, if log.r#type == 0 { Stream::Out } else { Stream::Err });
        }
        Some(Message::Counter(counter)) => {
            writer.counter(&counter.name, counter.delta, counter.total);
        }
        Some(Message::Gauge(gauge)) => {
            let metrics: Vec<_> = gauge
                .metrics
                .iter()
                .map(|(name, value)| (&**name, &*value.unit, value.value))
                .collect();
            writer.gauge(&metrics);
        }
        Some(Message::Timer(timer)) => {
            writer.timer(&timer.name, timer.start, timer.stop);
        }
        Some(Message::Event(event)) => {
            writer.event(&event.title, &event.body);
        }
        None => {}
    }
    writer.tags(&envelope.tags);
    assert!(out.starts_with(b"kept"));
    out.split_off(4)
}

proptest! {
    /// The writer's output is a valid envelope, and a typed decoder reads back the values that were written.
    #[test]
    fn a_decoder_reads_what_the_writer_writes(mut envelope in testing::envelope()) {
        if let Some(Message::Log(log)) = &mut envelope.message {
            log.r#type = log.r#type.min(1);
        }
        let bytes = write(&envelope);
        prop_assert!(scan(&bytes).is_ok());
        prop_assert_eq!(v2::Envelope::decode(&*bytes).unwrap().encode_to_vec(), envelope.encode_to_vec());
    }
}
