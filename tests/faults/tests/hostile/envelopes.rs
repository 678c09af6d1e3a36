//! Messages that are too large or malformed.

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

/// Returns envelopes that are malformed in different ways.
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
        // A length beyond the end of the envelope, a length of 4 GiB, and a varint that never ends.
        vec![0x12, 0x7f, b'a'],
        vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ],
        // Field number zero, a group that is never closed, an unknown wire type, and an incomplete fixed-width field.
        vec![0x00, 0x01],
        vec![0x0b, 0x0b, 0x0b],
        vec![0x0f],
        vec![0x09, 1, 2, 3],
        // A source id that is a number, and one that is not UTF-8.
        vec![0x10, 0x05],
        not_utf8,
        // A valid envelope without its last byte.
        {
            let mut cut = good(b"hostile");
            cut.pop();
            cut
        },
    ]
}

/// Setup: batches with malformed envelopes between valid ones. Must hold: all valid ones arrive in order, the others
/// are counted as malformed, and the stream goes on.
#[tokio::test(flavor = "multi_thread")]
async fn broken_envelopes_cost_only_themselves() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let emitter = stack.emitter().await?;
    let mut series = Series::new("good", Shape::SHORT);
    let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of(["good", PROBE])).await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;
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
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let counted = ledgers.dropped("forwarder-agent", "ingress", "malformed");
    assert_eq!(counted, 50 * broken.len() as u64, "{}", ledgers.summary());
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: messages with broken framing, messages of random bytes, and empty messages. Must hold: the stack continues to
/// serve.
#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_do_not_stop_the_stack() -> anyhow::Result<()> {
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
            // The server may refuse these messages or ignore them, but it answers.
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
        // A request without selectors, and an empty request, are refused at once instead of becoming streams.
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

/// Setup: a message above the limit of ten MiB, and lines that are longer than any client accepts. Must hold: the
/// server ends the stream of that message, other producers are not affected, and consumers get what was sent before and
/// after.
#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_are_refused() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let neighbour = stack.emitter().await?;
    let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of(["large", "neighbour", PROBE])).await?;
    consumer.wait_until_subscribed(&neighbour, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;

    let emitter = stack.emitter().await?;
    emitter.send_raw(vec![0_u8; (10 << 20) + 1024]).await?;
    let error = emitter.finish().await.expect_err("too large");
    let status = error.downcast_ref::<tonic::Status>().expect("a status");
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status}"
    );

    // The agent accepts a line of eight MiB, but clients with default settings do not.
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
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    assert!(ledgers.dropped("", "", "too_large") >= 1, "{}", ledgers.summary());
    assert!(stack.resident_bytes()? < MEMORY);
    assert_no_panics(&stack);
    Ok(())
}
