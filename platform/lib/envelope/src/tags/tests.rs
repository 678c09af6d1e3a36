use proptest::prelude::*;
use prost::Message as _;
use weir_proto::loggregator_v2::{self as v2, value::Data};

use super::{KeySet, deprecate_tags, prefer_tags};
use crate::batch::Batch;
use crate::number::{DecimalForm, put_decimal};
use crate::testing;
use crate::view::EnvelopeView;

fn prefer(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    prefer_tags(bytes, &mut out);
    out.split_off(4)
}

fn deprecate(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    deprecate_tags(bytes, &mut out);
    out.split_off(4)
}

/// Does with owned types what [`prefer_tags`] does with encoded ones.
fn preferred(mut envelope: v2::Envelope) -> v2::Envelope {
    for (key, value) in std::mem::take(&mut envelope.deprecated_tags) {
        let text = match value.data {
            Some(Data::Text(text)) => text,
            Some(Data::Integer(value)) => value.to_string(),
            Some(Data::Decimal(value)) => {
                let mut text = String::new();
                put_decimal(&mut text, value, DecimalForm::Shortest);
                text
            }
            None => continue,
        };
        envelope.tags.insert(key, text);
    }
    envelope
}

/// Does with owned types what [`deprecate_tags`] does with encoded ones.
fn deprecated(mut envelope: v2::Envelope) -> v2::Envelope {
    for (key, value) in std::mem::take(&mut envelope.tags) {
        envelope.deprecated_tags.insert(
            key,
            v2::Value {
                data: Some(Data::Text(value)),
            },
        );
    }
    envelope
}

proptest! {
    /// Both directions give the result of the definition on owned types, and no key occurs twice.
    #[test]
    fn merged_tags_equal_those_of_owned_types(
        (envelope, bytes) in testing::envelope().prop_flat_map(|envelope| {
            let bytes = testing::shuffled(&envelope.encode_to_vec());
            (Just(envelope), bytes)
        })
    ) {
        let (one, other) = (prefer(&bytes), deprecate(&bytes));
        prop_assert!(Batch::from_envelope(&one).is_ok() && Batch::from_envelope(&other).is_ok());
        let decode = |bytes: &[u8]| v2::Envelope::decode(bytes).unwrap();
        prop_assert_eq!(decode(&one).encode_to_vec(), preferred(envelope.clone()).encode_to_vec());
        prop_assert_eq!(decode(&other).encode_to_vec(), deprecated(envelope).encode_to_vec());
        prop_assert_eq!(EnvelopeView::new(&one).tags().count(), decode(&one).tags.len());
        prop_assert_eq!(EnvelopeView::new(&other).deprecated_tags().count(), decode(&other).deprecated_tags.len());
    }

    /// Arbitrary bytes cause no panic, and the output is not much larger than the input.
    #[test]
    fn merging_tags_never_panics(
        bytes in testing::arbitrary_bytes(testing::envelope().prop_map(|envelope| envelope.encode_to_vec()))
    ) {
        prop_assert!(prefer(&bytes).len() <= bytes.len() * 30 + 400);
        prop_assert!(deprecate(&bytes).len() <= bytes.len() * 8 + 64);
    }
}

/// Fields that this version does not know are kept, as a client may know them.
#[test]
fn unknown_fields_are_kept() {
    let mut bytes = v2::Envelope {
        source_id: "a".to_owned(),
        ..Default::default()
    }
    .encode_to_vec();
    crate::wire::put_bytes(&mut bytes, 700, b"future");
    assert_eq!(prefer(&bytes), bytes);
    assert_eq!(deprecate(&bytes), bytes);
}

/// A set finds its keys on both sides of the limit between array and hash table.
#[test]
fn key_sets_of_any_size_find_their_keys() {
    let keys: Vec<String> = (0..100).map(|index| index.to_string()).collect();
    for size in [0, 1, 15, 16, 17, 100] {
        let set = KeySet::of(keys[..size].iter().map(String::as_bytes));
        assert_eq!(set.is_empty(), size == 0);
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(set.contains(key.as_bytes()), index < size);
        }
    }
}
