//! Messages that are too large, or not what they claim to be.

use anyhow::Context as _;
use bytes::Bytes;
use tonic::Code;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_envelope::wire::put_bytes;
use weir_faults::{assert_no_panics, assert_serves};
use weir_net::{Channel, Target};
use weir_testkit::{Emitter, Mode, RlpConsumer, Series, Shape, Stack, eventually, logs_of};

use super::MEMORY;

const PROBE: &str = "probe";

/// Envelopes that are broken in different ways.
fn malformed() -> Vec<Vec<u8>> {
    let good = |source: &[u8]| {
        let mut out = Vec::new();
        put_bytes(&mut out, 2, source);
        Writer::new(&mut out).timestamp(1).log(b"x", Stream::Out);
        out
    };
    let mut not_utf8 = Vec::new();
    put_bytes(&mut not_utf8, 2, b"\xff\xfe");
    vec![
        // A length that reaches beyond the envelope; of 4 GiB; a varint that never ends.
        vec![0x12, 0x7f, b'a'],
        vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ],
        // Field zero, a group that is never closed, a wire type that does not exist, a cut fixed-width field.
        vec![0x00, 0x01],
        vec![0x0b, 0x0b, 0x0b],
        vec![0x0f],
        vec![0x09, 1, 2, 3],
        // The source id as a number; not UTF-8.
        vec![0x10, 0x05],
        not_utf8,
        // A good envelope whose last byte is missing.
        {
            let mut cut = good(b"hostile");
            cut.pop();
            cut
        },
    ]
}

/// Setup: batches with broken envelopes between good ones. Must hold: all good ones arrive in order, the broken ones are
/// counted as malformed, the stream goes on.
#[tokio::test(flavor = "multi_thread")]
async fn broken_envelopes_cost_only_themselves() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let emitter = stack.emitter().await?;
    let mut series = Series::new("good", Shape::SHORT);
    let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of(["good", PROBE])).await?;
    consumer.in_place(&emitter, PROBE).await?;
    let before = stack.books_at_rest().await?;
    let broken = malformed();
    for _ in 0..50 {
        let mut message = Vec::new();
        for envelope in &broken {
            let mut good = Vec::new();
            series.write_next(&mut good);
            put_bytes(&mut message, 1, &good);
            put_bytes(&mut message, 1, envelope);
        }
        emitter.send_raw(message).await?;
    }
    emitter.finish().await.context("the stream survives")?;
    let expected = series.made();
    eventually("the good ones", async || {
        let got = consumer.received.of("good");
        anyhow::ensure!(got >= expected, "{got} of {expected}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let numbers = consumer.received.numbers().remove("good").unwrap_or_default();
    assert!(numbers.iter().copied().eq(0..expected), "in order: {numbers:?}");
    let books = stack.books_at_rest().await?.since(&before);
    let counted = books.dropped("forwarder-agent", "ingress", "malformed");
    assert_eq!(counted, 50 * broken.len() as u64, "{}", books.summary());
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: messages whose framing is broken, whole messages of noise, and messages without anything. Must hold: the stack
/// serves on.
#[tokio::test(flavor = "multi_thread")]
async fn noise_is_no_batch() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let noise: Vec<Bytes> = [
        vec![],
        vec![0x0a],
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![0xff; 100_000],
        vec![0x0b; 100_000],
        [0x0a, 0x00].repeat(50_000),
    ]
    .into_iter()
    .map(Bytes::from)
    .collect();
    for (address, name) in [(&endpoints.agent, "metron"), (&endpoints.doppler, "doppler")] {
        for message in &noise {
            let emitter = Emitter::to(address, name, endpoints).await?;
            emitter.send_raw(message.clone()).await?;
            // Refused or ignored, but answered.
            drop(emitter.finish().await);
        }
    }
    let target = |address: &str, name: &str| -> anyhow::Result<Channel> {
        Ok(Channel::new(&Target {
            address: address.to_owned(),
            server_name: name.to_owned(),
            tls: endpoints.mutual()?,
        }))
    };
    let log_cache = target(&endpoints.log_cache, "log-cache")?;
    let rlp = target(&endpoints.rlp, "reverselogproxy")?;
    for message in &noise {
        for path in [
            "/logcache.v1.Ingress/Send",
            "/logcache.v1.Egress/Read",
            "/logcache.v1.Egress/Meta",
        ] {
            drop(log_cache.unary(path, message.clone()).await);
        }
        // A selection of nothing, or no request at all: refused at once, never a stream.
        let refused = rlp
            .unary("/loggregator.v2.Egress/BatchedReceiver", message.clone())
            .await;
        assert!(refused.is_err(), "{} bytes of noise opened a stream", message.len());
    }
    for path in ["/no.Such/Method", "/loggregator.v2.Egress/NoSuch"] {
        let status = rlp.unary(path, Bytes::new()).await.expect_err("nothing there");
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status}");
    }
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a message above the limit of ten MiB, and lines longer than any client takes. Must hold: the one message is
/// refused by its stream's end, other producers do not notice, consumers get what came before and after.
#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_are_refused() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let neighbour = stack.emitter().await?;
    let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of(["large", "neighbour", PROBE])).await?;
    consumer.in_place(&neighbour, PROBE).await?;
    let before = stack.books_at_rest().await?;

    let emitter = stack.emitter().await?;
    emitter.send_raw(vec![0_u8; (10 << 20) + 1024]).await?;
    let error = emitter.finish().await.expect_err("too large");
    let status = error.downcast_ref::<tonic::Status>().expect("a status");
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status}"
    );

    // A single line of eight MiB passes the agent, but no client with default settings would take it.
    let emitter = stack.emitter().await?;
    let mut large = Vec::new();
    Writer::new(&mut large)
        .timestamp(1)
        .source_id("large")
        .log(&vec![b'x'; 8 << 20], Stream::Out);
    let mut message = Vec::new();
    put_bytes(&mut message, 1, &large);
    emitter.send_raw(message).await?;
    emitter.finish().await?;

    let mut series = Series::new("neighbour", Shape::SHORT);
    neighbour.send_series(&mut series, 1000).await?;
    neighbour.finish().await?;
    eventually("the neighbour's lines", async || {
        let got = consumer.received.of("neighbour");
        anyhow::ensure!(got >= 1000, "{got}, stream ended: {}", consumer.has_ended());
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    assert!(
        !consumer.has_ended(),
        "the large line did not break the consumer's stream"
    );
    let books = stack.books_at_rest().await?.since(&before);
    assert!(books.dropped("", "", "too_large") >= 1, "{}", books.summary());
    assert!(stack.resident_bytes()? < MEMORY);
    assert_no_panics(&stack);
    Ok(())
}
