//! What a tenant sees of another one's rows by SQL: nothing, whatever is tried.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_testkit::{Emitter, eventually};

use super::faces::Faces;

/// Every table and view, all of which [`one_of_each`] puts rows into, and the column that says whose they are.
const FILLED: [(&str, &str); 7] = [
    ("logs", "source_id"),
    ("counters", "source_id"),
    ("gauges", "source_id"),
    ("timers", "source_id"),
    ("events", "source_id"),
    ("drops", "source_id"),
    ("drain_status", "app"),
];

/// What every line of [`one_of_each`] says, and no query: an error that has it looked at a row.
const SECRET: &str = "the-secret-of";

/// An envelope of each kind, a report of a loss, and one of a drain: those as the stack makes them, which come the same way.
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
    add(&|writer| drop_it(writer.timer("http", 1, 2)));
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

/// Fills the tables for both, and waits until they are filled.
pub(super) async fn fill(emitter: &Emitter, everything: &Faces<'_>, apps: [&str; 2]) -> anyhow::Result<()> {
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

/// By SQL somebody sees all of `mine`, and nothing of `theirs`; also those who try to get around the filter.
pub(super) async fn hidden(faces: &Faces<'_>, mine: &str, theirs: &str) -> anyhow::Result<()> {
    for (table, whose) in FILLED {
        let sources = faces
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
        let rows = count(faces, &attempt).await?;
        ensure!(rows == 0, "{attempt}: {rows}");
    }
    errors(faces, mine, theirs).await?;
    plans(faces, theirs).await
}

/// An error names the value that it is about: of one's own rows, never of another's.
async fn errors(faces: &Faces<'_>, mine: &str, theirs: &str) -> anyhow::Result<()> {
    let failing =
        |app: &str| format!("select cast(body as bigint) from logs where source_id = '{app}' and body like 'the%'");
    let own = faces.sql(&failing(mine)).await?;
    ensure!(
        own.contains(SECRET),
        "an error that names no value proves nothing: {own}"
    );
    for query in [
        failing(theirs),
        format!("select cast(body as bigint) from logs where source_id <> '{mine}'"),
        format!("select count(*) as n from logs where cast(body as bigint) = 1 and source_id = '{theirs}'"),
    ] {
        let answer = faces.sql(&query).await?;
        ensure!(
            !answer.contains(theirs) && !answer.contains("error"),
            "{query}: {answer}"
        );
    }
    Ok(())
}

/// What became of a plan is for whoever sees everything: of a plan that ran a tenant learns what `EXPLAIN` says, which reads
/// no row. Behind a limit even the number of one's own rows that were read would tell how much others write.
async fn plans(faces: &Faces<'_>, theirs: &str) -> anyhow::Result<()> {
    let limited = "select body from logs order by timestamp desc limit 1".to_owned();
    let tables = FILLED.iter().map(|(table, _)| format!("select * from {table}"));
    for query in tables.chain([limited]) {
        let planned = plan(faces, &format!("explain {query}")).await?;
        ensure!(planned.contains("StoreScan"), "{query}: {planned}");
        ensure!(!planned.contains(theirs), "{query}: {planned}");
        let ran = plan(faces, &format!("explain analyze {query}")).await?;
        ensure!(ran == planned, "{query}: planned as\n{planned}\nran as\n{ran}");
    }
    Ok(())
}

/// All that an `EXPLAIN` says.
async fn plan(faces: &Faces<'_>, explain: &str) -> anyhow::Result<String> {
    let rows = faces.rows(explain).await?;
    let texts = rows.iter().map(|row| row["plan"].as_str().unwrap_or_default());
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

async fn count(faces: &Faces<'_>, from: &str) -> anyhow::Result<u64> {
    let rows = faces.rows(&format!("select count(*) as n from {from}")).await?;
    let number = rows.first().and_then(|row: &Value| row["n"].as_u64());
    number.with_context(|| format!("{from}: {rows:?}"))
}
