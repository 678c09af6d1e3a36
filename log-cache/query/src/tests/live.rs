//! Live queries.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use futures::FutureExt as _;
use weir_error::{Classify as _, ErrorKind};

use super::{cells, counter, engine, filled, ingest, log, query, seen_by};
use crate::interrupt::Interrupt;
use crate::live::ResultSender;
use crate::{Answer, Engine, EngineLimits, Live, Query, QueryError};
use weir_log_cache_store::Visibility;

async fn reason(engine: &Engine, sql: &str) -> String {
    match engine.compile_live(query(sql)).await {
        Err(QueryError::NotLive { reason }) => reason,
        other => panic!("{sql}: {other:?}"),
    }
}

/// A follower gets the new rows that meet the condition, in the order of arrival, and no others.
#[tokio::test]
async fn followers_get_new_rows() {
    let store = filled();
    let engine = engine(&store);
    let sql = "select l.seq as number, upper(body) from logs l where body like '%error%' and source_id <> 'app-b'";
    let mut follower = engine
        .follow(seen_by(&Visibility::sources(["app-a", "app-b"]), sql))
        .await
        .expect("a live query");
    ingest(
        &store,
        vec![
            log("app-a", 900, "error: second"),
            log("app-c", 899, "error: hidden"),
            log("app-b", 898, "error: not asked for"),
            log("app-a", 897, "info: not asked for"),
            counter("app-a", 896, "error", 1),
            log("app-a", 895, "error: third"),
        ],
    );
    let Some(Ok(Live::Rows(batch))) = follower.next().await else {
        panic!("rows")
    };
    let answer = Answer {
        schema: batch.schema(),
        rows: batch.num_rows(),
        batches: vec![batch],
        truncated: None,
        held: 0,
        largest: 0,
    };
    assert_eq!(cells(&answer), ["131 | ERROR: SECOND", "134 | ERROR: THIRD"]);
    assert_eq!(follower.schema().field(0).name(), "number");
}

/// Two followers read nothing while more lines of two apps arrive than their queues hold. Each learns of exactly as
/// many lines as it may read, received and missed together. The queues are already full of lines that both may read
/// when those of the other app arrive.
#[tokio::test]
async fn followers_learn_only_of_rows_that_they_may_read() {
    let sql = "select body from logs";
    let store = filled();
    let engine = engine(&store);
    let mine = Visibility::sources(["app-a"]);
    let mut tenant = engine.follow(seen_by(&mine, sql)).await.expect("a live query");
    let mut admin = engine.follow(query(sql)).await.expect("a live query");
    (0..600).for_each(|_| ingest(&store, vec![log("app-a", 900, "seen")]));
    (0..900).for_each(|_| ingest(&store, vec![log("app-b", 901, "hidden")]));
    for (follower, visible) in [(&mut tenant, 600), (&mut admin, 1500)] {
        let (mut came, mut missed) = (0, 0);
        while came + missed < visible {
            match follower.next().await.expect("a live query").expect("no error") {
                Live::Missed(rows) => missed += rows,
                Live::Rows(batch) => came += batch.num_rows() as u64,
            }
        }
        assert_eq!(came + missed, visible, "{missed} missed");
        assert!(missed > 0, "the queue held everything");
    }
    ingest(&store, vec![log("app-b", 902, "hidden"), log("app-a", 903, "seen")]);
    for (mut follower, visible) in [(tenant, 1), (admin, 2)] {
        let next = follower.next().await.expect("a live query").expect("no error");
        assert!(
            matches!(&next, Live::Rows(batch) if batch.num_rows() == visible),
            "{next:?}"
        );
    }
}

/// The number of live queries of a caller is limited, others have their own, and one that ends makes room.
#[tokio::test]
async fn live_queries_are_limited_per_caller() {
    let limits = EngineLimits {
        followers: 3,
        followers_per_caller: 2,
        ..EngineLimits::default()
    };
    let engine = Engine::new(filled(), limits).expect("an engine");
    let follow = |caller: &str| {
        let query = Query {
            caller: caller.to_owned(),
            ..query("select body from logs")
        };
        engine.follow(query)
    };
    let mut mine = vec![follow("a").await.expect("one"), follow("a").await.expect("two")];
    let error = follow("a").await.expect_err("one too many");
    assert!(matches!(error, QueryError::TooManyLive { running: 2 }), "{error}");
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    let _other = follow("b").await.expect("another's");
    assert!(matches!(follow("c").await, Err(QueryError::Busy { running: 3 })));
    mine.pop();
    // Its task ends a moment after it was dropped.
    loop {
        match follow("c").await {
            Err(QueryError::Busy { .. }) => tokio::task::yield_now().await,
            other => break drop(other.expect("a free one")),
        }
    }
}

/// A live query is planned like others, in turn and within its time-out. If the caller goes away meanwhile, its turn
/// and its place among followers are occupied until the thread is free again.
#[tokio::test]
async fn planning_is_bounded() {
    let limits = EngineLimits {
        threads: 1,
        concurrent: 1,
        followers_per_caller: 1,
        ..EngineLimits::default()
    };
    let engine = Engine::new(filled(), limits).expect("an engine");
    let soon = |caller: &str| Query {
        caller: caller.to_owned(),
        timeout: Some(Duration::from_millis(20)),
        ..query("select body from logs")
    };
    // The turn of another caller.
    let turn = engine.inner.turns.take("other").await.expect("a turn");
    let error = engine.follow(soon("a")).await.expect_err("not its turn");
    assert!(matches!(error, QueryError::Timeout { .. }), "{error}");
    drop(turn);
    // The only thread is busy, so planning does not start and cannot be ended.
    let (release, busy) = std::sync::mpsc::sync_channel::<()>(0);
    let blocked = engine.spawn(async move { busy.recv().is_ok() }).expect("running");
    let error = engine.follow(soon("a")).await.expect_err("no thread for it");
    assert!(matches!(error, QueryError::Timeout { .. }), "{error}");
    let error = engine.follow(soon("a")).await.expect_err("it is still planned");
    assert!(matches!(error, QueryError::TooManyLive { running: 1 }), "{error}");
    assert!(
        engine.inner.turns.take("a").now_or_never().is_none(),
        "and has its turn"
    );
    release.send(()).expect("it waits");
    assert!(blocked.await.expect("no panic"));
    drop(engine.inner.turns.take("a").await.expect("a turn"));
    engine.follow(query("select body from logs")).await.expect("as ever");
}

/// A live query ends with the reason when it fails on a row.
#[tokio::test]
async fn a_failure_ends_a_live_query() {
    let store = filled();
    let engine = engine(&store);
    let mut follower = engine
        .follow(query("select cast(body as int) from logs"))
        .await
        .expect("a live query");
    ingest(&store, vec![log("app-a", 900, "12")]);
    assert!(matches!(follower.next().await, Some(Ok(Live::Rows(_)))));
    ingest(&store, vec![log("app-a", 901, "twelve")]);
    assert!(matches!(follower.next().await, Some(Err(QueryError::Failed { .. }))));
    assert!(follower.next().await.is_none());
}

async fn panics(follower: ResultSender) {
    follower.send(Ok(Live::Missed(7))).await.expect("somebody listens");
    panic!("a fault of ours");
}

/// A live query whose task panics returns an error after its earlier results, and not just their end.
#[tokio::test]
async fn a_panic_is_reported_as_an_error() {
    let engine = engine(&filled());
    let mut follower = engine
        .listen(Arc::new(Schema::empty()), Interrupt::default(), panics)
        .expect("a live query");
    assert!(matches!(follower.next().await, Some(Ok(Live::Missed(7)))));
    let error = follower.next().await.expect("a last word").expect_err("it panicked");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(follower.next().await.is_none());
}

/// Only queries that can be evaluated row by row can be followed, and the error says what prevents it.
#[tokio::test]
async fn queries_over_several_rows_cannot_be_followed() {
    let engine = engine(&filled());
    for (sql, expected) in [
        ("select body from logs order by timestamp", "`ORDER BY` needs an end"),
        (
            "select body from logs limit 5",
            "`LIMIT` counts rows that are yet to come",
        ),
        ("select count(*) from logs", "aggregates need an end"),
        ("select distinct body from logs", "`DISTINCT` remembers every row"),
        (
            "select row_number() over () from logs",
            "window functions look at other rows",
        ),
        (
            "select a.body from logs a join counters b on a.seq = b.seq",
            "joins look at other rows",
        ),
        (
            "select body from logs union all select name from counters",
            "it reads several tables",
        ),
        (
            "select body from logs where seq = (select max(seq) from logs)",
            "subqueries look at other rows",
        ),
        ("select 1", "it is more than columns and a condition"),
    ] {
        assert_eq!(reason(&engine, sql).await, expected, "{sql}");
    }
    assert!(matches!(
        engine.compile_live(query("delete from logs")).await,
        Err(QueryError::ReadOnly { .. })
    ));
    assert!(
        engine
            .compile_live(query("select * from gauges where name = 'cpu' and value > 0.5"))
            .await
            .is_ok()
    );
}
