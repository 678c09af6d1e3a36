//! Hostile queries: each gets a clear error in time, and the next query is answered.

use std::time::Duration;

use futures::FutureExt as _;
use weir_error::{Classify, ErrorKind};

use super::{ask, engine, filled, ingest, log, query, rows};
use crate::{Engine, EngineLimits, Query, QueryError};

async fn still_works(engine: &Engine) {
    assert_eq!(
        rows(engine, "select count(*) from logs where source_id = 'app-a'").await,
        ["100"]
    );
}

/// Statements that write data or change settings are refused.
#[tokio::test]
async fn writing_is_refused() {
    let engine = engine(&filled());
    for sql in [
        "insert into logs select * from logs",
        "create table t as select * from logs",
        "create view v as select 1",
        "create schema s",
        "create function f(x int) returns int return x",
        "drop table logs",
        "delete from logs",
        "update logs set body = 'x'",
        "truncate table logs",
        "copy logs to '/tmp/weir-stolen.csv'",
        "copy (select 1) to 's3://bucket/x'",
        "set datafusion.execution.target_partitions = 1000",
        "reset datafusion.execution.target_partitions",
        "prepare p as select 1",
        "deallocate p",
        "begin",
        "explain analyze insert into logs select * from logs",
        "explain copy logs to '/tmp/x'",
        "select * into t from logs",
    ] {
        let error = ask(&engine, sql).await.expect_err(sql);
        assert!(error.kind() == ErrorKind::InvalidInput, "{sql}: {error}");
    }
    assert!(matches!(
        ask(&engine, "drop table logs").await,
        Err(QueryError::ReadOnly { .. })
    ));
    still_works(&engine).await;
}

/// No query can read files or the network.
#[tokio::test]
async fn files_cannot_be_read() {
    let engine = engine(&filled());
    for sql in [
        "select * from '/etc/passwd'",
        "select * from \"/etc/passwd\"",
        "select * from 'file:///etc/passwd'",
        "select * from 'https://example.com/x.csv'",
        "select * from read_csv('/etc/passwd')",
        "select * from csv.`/etc/passwd`",
        "select * from parquet_metadata('/etc/passwd')",
        "create external table t stored as csv location '/etc/passwd'",
        "create external table t stored as csv location 'http://127.0.0.1:1/'",
        "select pg_read_file('/etc/passwd')",
        "select * from information_schema.df_settings, read_text('/etc/passwd')",
    ] {
        let error = ask(&engine, sql).await.expect_err(sql);
        assert!(error.kind() == ErrorKind::InvalidInput, "{sql}: {error}");
    }
    still_works(&engine).await;
}

/// A query that would take more memory than it gets fails without taking it.
#[tokio::test]
async fn memory_is_limited() {
    let store = filled();
    ingest(
        &store,
        (0..20_000i64)
            .map(|number| log("big", number, &format!("{number:0>400}")))
            .collect(),
    );
    let engine = engine(&store);
    for sql in [
        "select a.body, b.body from logs a cross join logs b order by b.body, a.body",
        "select array_agg(a.body) from logs a cross join logs b",
        "select string_agg(a.body, ',') from logs a cross join logs b",
        "select a.body || b.body as x, count(*) from logs a cross join logs b group by 1",
        "select count(distinct a.body || b.body) from logs a cross join logs b",
        "select sum(length(a.body)) over () from logs a cross join logs b",
        "select lag(a.body, 1000000) over (partition by a.stream order by a.timestamp) from logs a cross join logs b",
        "with recursive t as (select body from logs union all select body || 'x' from t) select count(*) from t",
        "select repeat('x', 2000000000)",
        "select length(repeat(body, 100000000)) from logs",
        "select lpad('x', 2000000000), rpad(body, 2000000000) from logs",
        "select length(replace(repeat(body, 100), '0', repeat('x', 100000))) from logs",
        "select length(regexp_replace(repeat(body, 100), '(.*)', repeat('\\1', 100000))) from logs",
        "select array_to_string(string_to_array(repeat('a,', 20000000), ','), repeat('x', 1000000))",
        "select range(1, 10000000000)",
        "select generate_series(1, 10000000000)",
        "select array_repeat(body, 100000000) from logs",
        "select array_resize(array[1], 1000000000, 0)",
        &doubling("x || x"),
        &doubling("concat(x, x)"),
        &doubling("array_to_string(array[x, x], ',')"),
        &doubling("replace(x, 'a', 'aa')"),
        &doubling_lists("array_concat(x, x)"),
        &doubling("named_struct('a', x, 'b', x)"),
        "select l, body from (select array_agg(body) as l from logs) cross join logs",
        "select (select string_agg(body, '') from logs), body from logs",
        "select array_agg(body) over (order by timestamp) from logs",
        "select median(length(body)) over (order by timestamp) from logs",
        "select count(distinct body) over (order by timestamp) from logs",
        "select unnest(string_to_array(body, '0')), body from logs",
        "select arrow_cast(null, 'FixedSizeBinary(2000000000)') from logs",
        "select approx_percentile_cont(length(body), 0.5, 100000000000) from logs",
    ] {
        let sql = Query {
            timeout: Some(Duration::from_secs(8)),
            ..query(sql)
        };
        let text = sql.sql.clone();
        let before = start_peak();
        let error = engine.query(sql).await.expect_err(&text);
        assert!(!matches!(error, QueryError::Internal(_)), "{text}: {error}");
        let grown = peak().saturating_sub(before);
        assert!(grown < 700 << 20, "{text} took {} MiB", grown >> 20);
    }
    still_works(&engine).await;
}

/// Returns a query with forty subqueries, each of which makes a text twice as long.
fn doubling(step: &str) -> String {
    nested("select 'aaaaaaaaaaaaaaaa' || source_id as x from logs", step)
}

fn doubling_lists(step: &str) -> String {
    nested("select array[source_id] as x from logs", step)
}

fn nested(start: &str, step: &str) -> String {
    let ctes: Vec<String> = (1..40)
        .map(|level| format!("t{level} as (select {step} as x from t{})", level - 1))
        .collect();
    format!("with t0 as ({start}), {} select x from t39", ctes.join(", "))
}

/// Resets the peak of this process's memory, and returns its current memory in bytes.
pub(super) fn start_peak() -> usize {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
    status("VmRSS:")
}

/// Returns the peak of this process's memory since the reset, in bytes.
pub(super) fn peak() -> usize {
    status("VmHWM:")
}

fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) * 1024
}

/// An endless query ends at its time-out, also if its caller has gone.
#[tokio::test]
async fn time_is_limited() {
    let engine = engine(&filled());
    let endless = [
        "select count(*) from logs a, logs b, logs c, logs d, logs e where a.body || b.body > c.body || d.body || e.body",
        "select sum(x) from (select a.seq * b.seq as x from logs a, logs b, logs c, logs d, logs e)",
        "with recursive t as (select 1 as n union all select n + 1 from t) select max(n) from t",
        "select count(*) from generate_series(1, 1000000000000) a",
    ];
    for sql in endless {
        let limited = Query {
            timeout: Some(Duration::from_millis(300)),
            ..query(sql)
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), engine.query(limited)).await;
        let error = ended.expect(sql).expect_err(sql);
        assert!(matches!(error, QueryError::Timeout { .. }), "{sql}: {error}");
    }
    // The threads are free again: more such queries than may run at a time, one after the other, and then a real one.
    for _ in 0..3 {
        still_works(&engine).await;
    }
}

/// A query ends when its caller goes away.
#[tokio::test]
async fn a_query_ends_when_its_caller_goes_away() {
    let store = filled();
    let limits = EngineLimits {
        concurrent: 1,
        threads: 1,
        ..EngineLimits::default()
    };
    let engine = Engine::new(store, limits).expect("an engine");
    let endless = "select count(*) from logs a, logs b, logs c, logs d, logs e";
    for _ in 0..5 {
        let asked = tokio::time::timeout(Duration::from_millis(50), ask(&engine, endless));
        assert!(asked.await.is_err(), "given up");
    }
    still_works(&engine).await;
}

/// A limited number of queries may wait, and further ones are refused.
#[tokio::test]
async fn queries_beyond_the_queue_are_refused() {
    let limits = EngineLimits {
        concurrent: 1,
        threads: 1,
        ..EngineLimits::default()
    };
    let engine = Engine::new(filled(), limits).expect("an engine");
    let endless = "select count(*) from logs a, logs b, logs c, logs d, logs e";
    let crowd = (0..30).map(|_| {
        engine.query(Query {
            timeout: Some(Duration::from_secs(2)),
            ..query(endless)
        })
    });
    let answers = futures::future::join_all(crowd).await;
    let busy = answers
        .iter()
        .filter(|answer| matches!(answer, Err(QueryError::Busy { running: 1 })))
        .count();
    let late = answers
        .iter()
        .filter(|answer| matches!(answer, Err(QueryError::Timeout { .. })))
        .count();
    assert_eq!((busy, late), (21, 9));
    still_works(&engine).await;
}

/// While one caller has as many endless queries as there are places, the query of another caller is answered at once.
#[tokio::test]
async fn many_queries_of_one_caller_do_not_delay_others() {
    let limits = EngineLimits {
        concurrent: 3,
        threads: 2,
        ..EngineLimits::default()
    };
    let engine = Engine::new(filled(), limits).expect("an engine");
    let endless = || {
        engine.query(Query {
            caller: "greedy".to_owned(),
            timeout: Some(Duration::from_secs(120)),
            ..query("select count(*) from logs a, logs b, logs c, logs d, logs e")
        })
    };
    let mut crowd: Vec<_> = (0..26).map(|_| Box::pin(endless())).collect();
    for asked in &mut crowd {
        assert!(asked.now_or_never().is_none(), "it runs or waits");
    }
    assert!(
        matches!(endless().await, Err(QueryError::Busy { running: 3 })),
        "its places are taken"
    );
    for _ in 0..3 {
        still_works(&engine).await;
    }
}

/// The longest chains of each kind that the guard accepts can be planned.
#[tokio::test]
async fn the_longest_chains_fit() {
    let engine = engine(&filled());
    // Parsed on a thread with the stack of the engine's.
    let longest = |start: &'static str, step: &'static str| {
        let grow = move || {
            let mut sql = start.to_owned();
            loop {
                let longer = format!("{sql}{step}");
                if crate::guard::parse(&longer).is_err() {
                    return sql;
                }
                sql = longer;
            }
        };
        let thread = std::thread::Builder::new().stack_size(crate::engine::STACK).spawn(grow);
        thread.expect("a thread").join().expect("no overflow")
    };
    for (start, step) in [
        ("select 1", " + 1"),
        ("select 1", " union select 1"),
        ("select true", " and 1 < 2"),
        ("select 1 from logs where seq = 1", " or seq < 2"),
        ("select 'a'", " || 'b'"),
        ("select 1 from logs", ", logs"),
    ] {
        let sql = longest(start, step);
        let asked = Query {
            timeout: Some(Duration::from_secs(5)),
            ..query(&sql)
        };
        match engine.query(asked).await {
            Ok(_) | Err(QueryError::Invalid { .. } | QueryError::Timeout { .. } | QueryError::TooMuchMemory { .. }) => {
            }
            Err(error) => panic!("{start}{step}…: {error}"),
        }
    }
}
