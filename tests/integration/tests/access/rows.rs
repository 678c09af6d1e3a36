//! What a tenant sees of another tenant's rows by SQL: nothing, with any query.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_testkit::{Emitter, eventually};

use super::interfaces::Interfaces;

/// Every table and view with the column that names the owner of a row. [`one_of_each`] puts rows into all of them.
const FILLED: [(&str, &str); 8] = [
    ("logs", "source_id"),
    ("counters", "source_id"),
    ("gauges", "source_id"),
    ("timers", "source_id"),
    ("events", "source_id"),
    ("drops", "source_id"),
    ("drain_status", "app"),
    ("router_requests", "app"),
];

/// A text in every line of [`one_of_each`] that no query contains. An error text that contains it has read a row.
const SECRET: &str = "the-secret-of";

/// Returns an envelope of each kind, a report of a loss, and a report of a drain. The stack sends its own reports in
/// the same way.
fn one_of_each(app: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    let mut add = |write: &dyn Fn(&mut Writer<'_>)| {
        builder.push_with(|out| {
            let mut writer = Writer::new(out);
            writer
                .timestamp(1_700_000_000_000_000_000)
                .source_id(app)
                .instance_id("0");
            write(&mut writer);
        });
    };
    add(&|writer| drop_it(writer.log(format!("{SECRET}-{app}").as_bytes(), Stream::Out)));
    add(&|writer| drop_it(writer.counter("requests", 1, 1)));
    add(&|writer| drop_it(writer.gauge(&[("cpu", "percentage", 1.0)])));
    add(&|writer| {
        let writer = writer.tag("origin", "gorouter").tag("peer_type", "Server");
        drop_it(writer.timer("http", 1, 2));
    });
    add(&|writer| drop_it(writer.event("title", "body")));
    add(&|writer| {
        let writer = writer.tag("component", "doppler").tag("hop", "egress");
        drop_it(writer.tag("reason", "slow_consumer").counter("weir.dropped", 3, 0));
    });
    add(&|writer| {
        let writer = writer.tag("origin", "loggregator.syslog_agent").tag("state", "flowing");
        drop_it(writer.tag("binding", app).gauge(&[("drain_lost", "", 0.0)]));
    });
    builder.finish()
}

fn drop_it<T>(_: T) {}

/// Fills the tables for both apps, and waits until they are filled.
pub(super) async fn fill(emitter: &Emitter, everything: &Interfaces<'_>, apps: [&str; 2]) -> anyhow::Result<()> {
    for app in apps {
        emitter.send(&one_of_each(app)).await?;
    }
    eventually("the tables have rows of both", async || {
        for app in apps {
            for (table, whose) in FILLED {
                let rows = count(everything, &format!("{table} where {whose} = '{app}'")).await?;
                ensure!(rows > 0, "{table} of {app}");
            }
        }
        Ok(())
    })
    .await
}

/// Checks that a caller sees by SQL all of `mine` and nothing of `theirs`, also with queries that try to bypass the
/// filter.
pub(super) async fn check_isolation(interfaces: &Interfaces<'_>, mine: &str, theirs: &str) -> anyhow::Result<()> {
    for (table, whose) in FILLED {
        let sources = interfaces
            .rows(&format!("select distinct {whose} as source from {table}"))
            .await?;
        ensure!(
            sources.len() == 1 && sources[0]["source"] == mine,
            "{table}: {sources:?}"
        );
    }
    for attempt in [
        format!("logs where source_id = '{theirs}' or 1 = 1 and source_id = '{theirs}'"),
        format!("(with everything as (select * from logs) select * from everything) where source_id = '{theirs}'"),
        format!("(select * from logs union all select * from logs) where source_id = '{theirs}'"),
        format!("logs a join logs b on a.source_id <> b.source_id where b.source_id = '{theirs}'"),
        format!("logs where source_id in (select source_id from events where source_id = '{theirs}')"),
        format!("logs full join counters c on logs.source_id = c.source_id where c.source_id = '{theirs}'"),
    ] {
        let rows = count(interfaces, &attempt).await?;
        ensure!(rows == 0, "{attempt}: {rows}");
    }
    errors(interfaces, mine, theirs).await?;
    plans(interfaces, theirs).await
}

/// Checks that an error names values of the caller's own rows, and never of others.
async fn errors(interfaces: &Interfaces<'_>, mine: &str, theirs: &str) -> anyhow::Result<()> {
    let failing =
        |app: &str| format!("select cast(body as bigint) from logs where source_id = '{app}' and body like 'the%'");
    let own = interfaces.sql(&failing(mine)).await?;
    ensure!(
        own.contains(SECRET),
        "an error that names no value proves nothing: {own}"
    );
    for query in [
        failing(theirs),
        format!("select cast(body as bigint) from logs where source_id <> '{mine}'"),
        format!("select count(*) as n from logs where cast(body as bigint) = 1 and source_id = '{theirs}'"),
    ] {
        let answer = interfaces.sql(&query).await?;
        ensure!(
            !answer.contains(theirs) && !answer.contains("error"),
            "{query}: {answer}"
        );
    }
    Ok(())
}

/// Checks that `EXPLAIN ANALYZE` tells a tenant no more than `EXPLAIN`, which reads no row. With a limit, even the number
/// of the tenant's own rows that were read would show how much others write.
async fn plans(interfaces: &Interfaces<'_>, theirs: &str) -> anyhow::Result<()> {
    let limited = "select body from logs order by timestamp desc limit 1".to_owned();
    let tables = FILLED.iter().map(|(table, _)| format!("select * from {table}"));
    for query in tables.chain([limited]) {
        let planned = plan(interfaces, &format!("explain {query}")).await?;
        ensure!(planned.contains("StoreScan"), "{query}: {planned}");
        ensure!(!planned.contains(theirs), "{query}: {planned}");
        let ran = plan(interfaces, &format!("explain analyze {query}")).await?;
        ensure!(ran == planned, "{query}: planned as\n{planned}\nran as\n{ran}");
    }
    Ok(())
}

/// Returns the whole text of an `EXPLAIN`.
async fn plan(interfaces: &Interfaces<'_>, explain: &str) -> anyhow::Result<String> {
    let rows = interfaces.rows(explain).await?;
    let texts = rows.iter().map(|row| row["plan"].as_str().unwrap_or_default());
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

async fn count(interfaces: &Interfaces<'_>, from: &str) -> anyhow::Result<u64> {
    let rows = interfaces.rows(&format!("select count(*) as n from {from}")).await?;
    let number = rows.first().and_then(|row: &Value| row["n"].as_u64());
    number.with_context(|| format!("{from}: {rows:?}"))
}
