//! Common queries.

use weir_error::{Classify, ErrorKind};

use super::{ask, engine, filled, ingest, log, query, rows};
use crate::{Query, QueryError, Truncated};

/// Counting, grouping, searching and tags work.
#[tokio::test]
async fn common_queries_are_answered() {
    let engine = engine(&filled());
    for (sql, expected) in [
        ("select count(*) from logs", vec!["300"]),
        ("select count(*) from logs where source_id = 'app-a'", vec!["100"]),
        (
            "select source_id, count(*) as lines from logs group by source_id order by source_id",
            vec!["app-a | 100", "app-b | 100", "app-c | 100"],
        ),
        (
            "select count(*) from logs where source_id in ('app-a', 'app-c', 'nobody')",
            vec!["200"],
        ),
        ("select count(*) from logs where body like '%error%'", vec!["30"]),
        (
            "select count(*) from logs where body ~ 'line 1\\d\\d of app-[ab]$'",
            vec!["67"],
        ),
        ("select count(*) from logs where stream = 'ERR'", vec!["30"]),
        (
            "select body from logs order by timestamp desc limit 2",
            vec!["info: line 299 of app-c", "info: line 298 of app-b"],
        ),
        (
            "select seq, body from logs where source_id = 'app-b' order by seq limit 2",
            vec!["1 | info: line 1 of app-b", "2 | info: line 4 of app-b"],
        ),
        (
            "select distinct tags['app_name'] as app from logs where tags['app_name'] like '%-b-%'",
            vec!["app-b-name"],
        ),
        (
            "select distinct tag(tags, 'app_name') from logs where source_id = 'app-c'",
            vec!["app-c-name"],
        ),
        ("select count(*) from logs where tags['nothing'] is null", vec!["300"]),
        ("select distinct source_type from logs", vec!["APP/PROC/WEB"]),
        (
            "select sum(delta), max(total) from counters where name = 'requests'",
            vec!["30 | 10"],
        ),
        ("select count(*) from gauges", vec!["0"]),
        (
            "select count(*) from timers union all select count(*) from events",
            vec!["0", "0"],
        ),
        ("select count(*) from drops", vec!["0"]),
        (
            "with e as (select source_id from logs where stream = 'ERR') \
             select e.source_id, count(*) from e join counters c on c.source_id = e.source_id group by 1",
            vec!["app-a | 300"],
        ),
        ("select 'a' || 'b' || null is null, concat('a', null)", vec!["true | a"]),
        ("select 'x' || source_id from logs limit 1", vec!["xapp-a"]),
        (
            "select row_number() over (order by timestamp) from logs order by 1 desc limit 1",
            vec!["300"],
        ),
    ] {
        let found = rows(&engine, sql).await;
        if sql.contains("limit 1") && sql.contains("'x'") {
            assert!(found[0].starts_with("xapp-"), "{found:?}");
        } else {
            assert_eq!(found, expected, "{sql}");
        }
    }
}

/// Timestamps are points in time, in UTC.
#[tokio::test]
async fn timestamps_are_points_in_time() {
    let engine = engine(&filled());
    for (sql, expected) in [
        (
            "select count(*) from logs where timestamp >= '1970-01-01T00:00:00.000000100Z'",
            "200",
        ),
        (
            "select count(*) from logs where timestamp < '1970-01-01T00:00:00.000000100Z' and source_id = 'app-a'",
            "34",
        ),
        (
            "select count(*) from logs where timestamp > now() - interval '5 minutes'",
            "0",
        ),
        (
            "select count(*) from logs where timestamp between to_timestamp_nanos(10) and to_timestamp_nanos(19)",
            "10",
        ),
        ("select max(timestamp) from logs", "1970-01-01T00:00:00.000000299Z"),
        (
            "select count(*) from logs where date_trunc('hour', timestamp) = '1970-01-01T00:00:00Z'",
            "300",
        ),
        (
            "select count(distinct date_bin(interval '1 minute', timestamp)) from logs",
            "1",
        ),
    ] {
        assert_eq!(rows(&engine, sql).await, [expected], "{sql}");
    }
}

/// A query reads every row that was stored before it.
#[tokio::test]
async fn stored_rows_are_visible_at_once() {
    let store = filled();
    let engine = engine(&store);
    for number in 0..50usize {
        ingest(&store, vec![log("fresh", 1000, "line")]);
        let found = rows(&engine, "select count(*) from logs where source_id = 'fresh'").await;
        assert_eq!(found, [(number + 1).to_string()]);
    }
}

/// A query reads one snapshot of a table, however often it names the table.
#[tokio::test]
async fn a_query_has_one_snapshot() {
    let store = filled();
    let engine = engine(&store);
    let writer = tokio::task::spawn_blocking(move || {
        (0..200).for_each(|number| ingest(&store, vec![log("fresh", 1000 + number, "line")]));
    });
    while !writer.is_finished() {
        let same = "select (select count(*) from logs) = (select count(*) from logs) as same";
        assert_eq!(rows(&engine, same).await, ["true"]);
    }
    writer.await.expect("wrote");
}

/// `SHOW TABLES`, `DESCRIBE` and the information schema list the tables and columns.
#[tokio::test]
async fn tables_can_be_listed() {
    let engine = engine(&filled());
    let tables = rows(&engine, "show tables").await.join("\n");
    for table in [
        "logs",
        "counters",
        "gauges",
        "timers",
        "events",
        "drops",
        "drain_status",
        "router_requests",
    ] {
        assert!(tables.contains(table), "{table} in {tables}");
    }
    assert!(
        rows(&engine, "describe logs")
            .await
            .iter()
            .any(|line| line.starts_with("body "))
    );
    assert!(
        rows(&engine, "explain select body from logs")
            .await
            .join("\n")
            .contains("StoreScan: table=logs")
    );
}

/// The error for a mistake says what was probably meant.
#[tokio::test]
async fn mistakes_are_explained() {
    let engine = engine(&filled());
    for (sql, message, hint) in [
        (
            "select bdy from logs",
            "query: no column `bdy`",
            Some("did you mean `body`?"),
        ),
        (
            "select * from log",
            "query: no table `log`",
            Some("did you mean `logs`?"),
        ),
        (
            "select * from pg_catalog",
            "query: no table `pg_catalog`",
            Some("there are logs, counters, gauges, timers, events, drops, drain_status, router_requests"),
        ),
        (
            "select lenth(body) from logs",
            "query: Invalid function 'lenth'",
            Some("did you mean `length`?"),
        ),
        (
            "selec body from logs",
            "query: Expected: an SQL statement, found: selec at Line: 1, Column: 1",
            Some("`SHOW TABLES` and `DESCRIBE logs` say what there is; text goes in single quotes: 'text'"),
        ),
    ] {
        let error = ask(&engine, sql).await.expect_err(sql);
        assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (message, hint));
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let error = ask(&engine, "select cast(body as int) from logs")
        .await
        .expect_err("no numbers");
    assert!(matches!(error, QueryError::Failed { .. }), "{error:?}");
}

/// Rows beyond the wanted number are left out, and the answer says so.
#[tokio::test]
async fn answers_are_limited_and_say_so() {
    let engine = engine(&filled());
    let limited = |max_rows| Query {
        max_rows: Some(max_rows),
        ..query("select body from logs")
    };
    let answer = engine.query(limited(10)).await.expect("an answer");
    assert_eq!((answer.rows, answer.truncated), (10, Some(Truncated::Rows)));
    let answer = engine.query(limited(300)).await.expect("an answer");
    assert_eq!((answer.rows, answer.truncated), (300, None));
    let nothing = engine.query(limited(0)).await.expect("an answer");
    assert_eq!((nothing.rows, nothing.truncated), (0, Some(Truncated::Rows)));
}
