//! The log cache alone: what storing an envelope costs in time and memory, and how fast it is found again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use prost::Message as _;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_envelope::wire::put_bytes;
use weir_net::Channel;
use weir_proto::logcache_v1::{ReadRequest, ReadResponse};
use weir_testkit::Https;

use super::{Measured, processes};
use crate::cpu::between;
use crate::load::source_names;
use crate::meter::{Delays, now_nanos};
use crate::servers::{Part, Programs, Servers};

/// CPU time of the server for each envelope stored, µs.
pub(crate) const INGEST_CPU: &str = "ingest cpu µs";
/// Envelopes stored a second.
pub(crate) const INGEST_RATE: &str = "ingest/s";
/// Growth of the server's resident memory for each envelope held.
pub(crate) const RESIDENT: &str = "bytes held";
pub(crate) const READ_P50: &str = "read p50 ms";
/// Reading the newest 1,000 of one source over gRPC.
pub(crate) const READ_P99: &str = "read p99 ms";
pub(crate) const READ_CPU: &str = "read cpu ms";
/// Median of a count by source over everything.
pub(crate) const SQL_COUNT: &str = "sql count ms";
/// Median of a regular expression over all bodies.
pub(crate) const SQL_REGEX: &str = "sql regex ms";

const SEND: &str = "/logcache.v1.Ingress/Send";
const READ: &str = "/logcache.v1.Egress/Read";

const SOURCES: usize = 1000;
/// Envelopes of a call, and calls at a time.
const BATCH: usize = 100;
const CALLS: usize = 4;
const BODY: usize = 100;
/// Size of an envelope.
const SIZE: usize = 214;
/// After the last envelope: what is done behind the scenes is done.
const REST: Duration = Duration::from_secs(5);
const READS: usize = 500;
const QUERIES: usize = 15;

const COUNT: &str = "select source_id, count(*) as n from logs group by source_id";
const REGEX: &str = "select count(*) as n from logs where body ~ 'status=5[0-9]+ .*user=[a-f]{2}7'";

pub(super) async fn run(programs: &Programs, envelopes: u64) -> anyhow::Result<Measured> {
    let servers = Servers::start(programs, &[Part::LogCache]).await?;
    let channel = Channel::new(&servers.target(servers.addresses.log_cache, "log-cache")?);
    let sources = source_names(SOURCES);
    // The first call makes the connection, the first second the server's own tables.
    read(&channel, &sources[0]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let before = servers.usages()?;
    let start = Instant::now();
    let first_nanos = now_nanos();
    let batches = usize::try_from(envelopes)? / BATCH;
    let calls = futures::stream::iter(0..batches).map(|index| {
        let (channel, message) = (channel.clone(), batch(&sources, index, first_nanos));
        async move { channel.unary(SEND, message).await }
    });
    let mut answers = calls.buffer_unordered(CALLS);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    let elapsed = start.elapsed();
    let stored = servers.usages()?;
    tokio::time::sleep(REST).await;
    let rested = servers.usages()?;

    let (reads, read_cpu) = reads(&servers, &channel, &sources).await?;
    let (count, regex) = match programs {
        Programs::Weir(_) => (
            Some(query(&servers, COUNT, SOURCES as u64).await?),
            Some(query(&servers, REGEX, 1).await?),
        ),
        Programs::Original(_) => (None, None),
    };
    let used = between(&before, &stored);
    let mut figures = figures(&before, &rested, &used, envelopes, elapsed);
    figures.extend([(READ_P50, reads.p50), (READ_P99, reads.p99), (READ_CPU, read_cpu)]);
    figures.extend(count.map(|millis| (SQL_COUNT, millis)));
    figures.extend(regex.map(|millis| (SQL_REGEX, millis)));
    Ok(Measured {
        figures,
        processes: processes(&between(&before, &rested), as_float(envelopes)),
    })
}

fn figures(
    before: &crate::cpu::Usages,
    rested: &crate::cpu::Usages,
    used: &crate::cpu::Usages,
    envelopes: u64,
    elapsed: Duration,
) -> Vec<(&'static str, f64)> {
    let micros: f64 = used.values().map(|usage| usage.cpu.as_secs_f64() * 1e6).sum();
    let resident = |usages: &crate::cpu::Usages| -> u64 { usages.values().map(|usage| usage.resident).sum() };
    let grown = resident(rested).saturating_sub(resident(before));
    vec![
        (INGEST_RATE, as_float(envelopes) / elapsed.as_secs_f64()),
        (INGEST_CPU, micros / as_float(envelopes)),
        (RESIDENT, as_float(grown) / as_float(envelopes)),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
const fn as_float(count: u64) -> f64 {
    count as f64
}

/// The `SendRequest` number `index`: lines of a hundred sources, each a little later than the one before.
fn batch(sources: &[String], index: usize, first_nanos: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(index as u64);
    let mut builder = BatchBuilder::new();
    for place in 0..BATCH {
        let number = index * BATCH + place;
        let source = &sources[number % sources.len()];
        let nanos = first_nanos + number as u64 * 1000;
        builder.push_with(|out| write(out, source, nanos, &mut random));
    }
    let mut message = Vec::with_capacity(BATCH * (SIZE + 4) + 8);
    put_bytes(&mut message, 1, builder.finish().bytes());
    message
}

/// One envelope of [`SIZE`] bytes with the kind of body that a web server writes.
fn write(out: &mut Vec<u8>, source: &str, nanos: u64, random: &mut SmallRng) {
    let mut body = format!(
        "status={} method=GET path=/api/v1/items/{} user={:04x} duration={}us ",
        [200, 200, 200, 304, 404, 500][random.random_range(0..6)],
        random.random_range(0..100_000),
        random.random_range(0..65_536),
        random.random_range(0..1_000_000),
    );
    while body.len() < BODY {
        body.push('.');
    }
    body.truncate(BODY);
    let start = out.len();
    for stretch in [0, SIZE] {
        let missing = if stretch == 0 {
            0
        } else {
            SIZE.saturating_sub(out.len() - start)
        };
        out.truncate(start);
        Writer::new(out)
            .timestamp(nanos.cast_signed())
            .source_id(source)
            .instance_id("0")
            .tag("source_type", "APP/PROC/WEB")
            .tag("origin", "rep")
            .tag("z", &"a".repeat(missing))
            .log(body.as_bytes(), Stream::Out);
    }
}

async fn read(channel: &Channel, source_id: &str) -> anyhow::Result<usize> {
    let request = ReadRequest {
        source_id: source_id.to_owned(),
        start_time: 0,
        limit: 1000,
        descending: true,
        ..ReadRequest::default()
    };
    let answer = channel.unary(READ, request.encode_to_vec()).await?;
    let answer = ReadResponse::decode(answer)?;
    Ok(answer.envelopes.map_or(0, |envelopes| envelopes.batch.len()))
}

/// Delays of reading the newest 1,000 of sources at random, and the server's CPU time for each in ms.
async fn reads(servers: &Servers, channel: &Channel, sources: &[String]) -> anyhow::Result<(Delays, f64)> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut micros = Vec::with_capacity(READS);
    let before = servers.usages()?;
    for _ in 0..READS {
        let source = &sources[random.random_range(0..sources.len())];
        let start = Instant::now();
        let found = read(channel, source).await?;
        micros.push(u64::try_from(start.elapsed().as_micros())?);
        ensure!(found >= 1000, "{found} envelopes of {source}");
    }
    let used = between(&before, &servers.usages()?);
    let cpu: f64 = used.values().map(|usage| usage.cpu.as_secs_f64() * 1e3).sum();
    Ok((Delays::of_micros(micros), cpu / as_float(READS as u64)))
}

/// The median time of a query over HTTP in ms, whose answer must have `rows` rows.
async fn query(servers: &Servers, text: &str, rows: u64) -> anyhow::Result<f64> {
    let https = Https::new(servers.trusting()?).with_token(&servers.token);
    let url = format!("https://{}/v1/sql", servers.addresses.sql);
    let mut micros = Vec::with_capacity(QUERIES);
    for _ in 0..QUERIES {
        let start = Instant::now();
        let answer = https
            .post(&url, "text/plain", "application/x-ndjson", text.to_owned())
            .await?;
        micros.push(u64::try_from(start.elapsed().as_micros())?);
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        let found = answer.text().lines().count() as u64;
        ensure!(found == rows, "{found} rows instead of {rows}");
    }
    micros.sort_unstable();
    let median = micros.get(QUERIES / 2).copied().context("a query")?;
    Ok(as_float(median) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_envelope::batch::Batch;
    use weir_envelope::wire::{Fields, Value};

    /// What is stored is what the original was measured with.
    #[test]
    fn envelopes_have_their_size() {
        let message = batch(&source_names(3), 5, now_nanos());
        let Some(Ok((1, Value::Bytes(envelopes)))) = Fields::new(&message).next() else {
            panic!("no batch");
        };
        let batch = Batch::split(bytes::Bytes::copy_from_slice(envelopes)).batch;
        assert_eq!(batch.len(), BATCH);
        assert!(batch.iter().all(|envelope| envelope.bytes().len() == SIZE));
    }
}
