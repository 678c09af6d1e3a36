//! Measures the time to write and to read a message, in microseconds, by the number of sources that take turns.
//!
//! Run it with `cargo run --release -p weir-syslog --example speed`. The messages are octet-counted logs of 200 bytes
//! with ten tags.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a tool for people"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use weir_envelope::encode::Writer;
use weir_envelope::view::{EnvelopeView, Stream};
use weir_syslog::decode::{Decoder, Item};
use weir_syslog::envelope::Mapper;
use weir_syslog::{Formatter, Framing};

const MESSAGES: usize = 1000;
const ROUNDS: usize = 300;

fn main() {
    for sources in [1, 16, 100, 1000] {
        let envelopes: Vec<Vec<u8>> = (0..MESSAGES)
            .map(|number| envelope(number, number * 7 % sources))
            .collect();
        let mut formatter = Formatter::new("org.space.app", true).with_cached_sources(1024);
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        let writing = fastest(|| {
            text.clear();
            ends.clear();
            for envelope in &envelopes {
                formatter
                    .write(EnvelopeView::new(envelope), Framing::OctetCounted, &mut text, &mut ends)
                    .unwrap();
            }
        });
        let mut mapper = Mapper::new();
        let mut back = Vec::new();
        let reading = fastest(|| {
            back.clear();
            let mut decoder = Decoder::new(Framing::OctetCounted, 66_560);
            let mut rest = text.as_slice();
            while let Some(Item::Message(message)) = decoder.next(&mut rest) {
                mapper.map(message, 0, &mut back).unwrap();
            }
        });
        black_box(&back);
        println!(
            "{sources} sources: write {:.3} µs, read {:.3} µs; {} bytes a message",
            micros(writing),
            micros(reading),
            text.len() / MESSAGES
        );
    }
}

fn envelope(number: usize, source: usize) -> Vec<u8> {
    let (mut out, guid) = (Vec::new(), format!("7a1b3c5d-0000-4000-8000-{source:012}"));
    let time = i64::try_from(number).unwrap() * 20_000;
    Writer::new(&mut out)
        .timestamp(1_767_435_072_345_678_901 + time)
        .source_id(&guid)
        .instance_id("0")
        .tags([
            ("app_id", guid.as_str()),
            ("app_name", "my-app"),
            ("deployment", "cf"),
            ("index", "0"),
            ("instance_id", "0"),
            ("ip", "10.0.1.2"),
            ("job", "diego-cell"),
            ("organization_name", "org"),
            ("origin", "rep"),
            ("source_type", "APP/PROC/WEB"),
        ])
        .log(&[b'x'; 200], Stream::Out);
    out
}

/// Returns the duration of the fastest of many rounds, which other load on the machine disturbs least.
fn fastest(mut round: impl FnMut()) -> Duration {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn micros(round: Duration) -> f64 {
    round.as_secs_f64() * 1e6 / MESSAGES as f64
}
