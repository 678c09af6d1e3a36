//! A caller reads the rows of its sources only: the answer to each of its queries is that of a store without other
//! sources.

use weir_log_cache_store::table::DROPPED;
use weir_log_cache_store::{Store, Visibility};
use weir_proto::loggregator_v2 as v2;

use super::formats::whole;
use super::{cells, counter, engine, filled, filled_with, ingest, log, seen_by};
use crate::{Engine, Format, Layout};

/// Queries that ask for all rows in different ways.
const WAYS: [&str; 23] = [
    "select * from logs",
    "select * from logs where true",
    "select * from logs where source_id <> 'app-a'",
    "select * from logs where source_id = 'app-b'",
    "select * from logs where source_id in ('app-b', 'app-c')",
    "select * from logs where source_id = 'app-a' or true",
    "select * from logs where source_id like 'app-%' order by timestamp desc limit 1000",
    "select * from logs where tags['app_name'] = 'app-b-name'",
    "with a as (select * from logs) select * from a",
    "with logs as (select * from public.logs) select * from logs",
    "select * from weir.public.logs",
    "select * from (select * from logs) x",
    "select a.* from logs a join logs b on a.seq = b.seq",
    "select * from logs union select * from logs",
    "select * from logs where exists (select 1 from logs where source_id <> 'app-a')",
    "select * from logs where source_id in (select source_id from logs)",
    "select source_id, count(*), min(body), max(body) from logs group by source_id",
    "select array_agg(source_id order by timestamp), array_agg(body order by timestamp) from logs",
    "select string_agg(body, ',' order by timestamp) from logs",
    "select last_value(body) over (order by timestamp), body from logs",
    "select min(source_id), max(source_id), max(body) from logs",
    "select count(*) from logs",
    "select approx_distinct(source_id) from logs",
];

/// Returns the lines of the answer, sorted, or the error.
async fn text(engine: &Engine, visibility: &Visibility, sql: &str) -> String {
    match engine.query(seen_by(visibility, sql)).await {
        Ok(answer) => {
            let mut cells = cells(&answer);
            cells.sort_unstable();
            cells.join("\n")
        }
        Err(error) => format!("{error} {error:?}"),
    }
}

/// Asserts that a caller with `visibility` gets the same answers from `store` as from `alone`, which has only its
/// sources. The answers must also differ from those of a caller that may read all sources, or the query would prove
/// nothing.
async fn assert_as_if_alone(store: &Store, alone: &Store, visibility: &Visibility, ways: &[&str]) {
    let (engine, alone) = (engine(store), engine(alone));
    for sql in ways {
        let seen = text(&engine, visibility, sql).await;
        assert_eq!(seen, text(&alone, &Visibility::All, sql).await, "{sql}");
        assert_ne!(
            seen,
            text(&engine, &Visibility::All, sql).await,
            "{sql} asks for nothing"
        );
    }
}

/// The answer to every form of query is that of a store without the other sources.
#[tokio::test]
async fn no_form_of_query_shows_other_sources() {
    let (store, alone) = (filled(), filled_with(&["app-a"]));
    let visibility = Visibility::sources(["app-a", "not there"]);
    assert_as_if_alone(&store, &alone, &visibility, &WAYS).await;
    let engine = engine(&store);
    for nothing in [Visibility::Nothing, Visibility::sources([""; 0])] {
        assert_eq!(text(&engine, &nothing, "select count(*) from logs").await, "0");
        assert_eq!(text(&engine, &nothing, "select count(*) from counters").await, "0");
    }
}

/// Returns a doppler's report of lost envelopes of `source`.
fn loss(source: &str, timestamp: i64, count: u64) -> v2::Envelope {
    let mut envelope = counter(source, timestamp, DROPPED, count);
    let tags = [("component", "doppler"), ("hop", "egress"), ("reason", "slow_consumer")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    envelope.tags.extend(tags);
    envelope
}

/// Losses of two apps are reported in turn. A caller that may read an app sees its losses, and an administrator sees
/// both, also in sums and joins.
#[tokio::test]
async fn losses_are_visible_with_their_source() {
    let (store, alone) = (filled_with(&[]), filled_with(&[]));
    ingest(
        &store,
        vec![loss("app-a", 400, 3), loss("app-b", 401, 5), loss("app-a", 402, 7)],
    );
    ingest(&alone, vec![loss("app-a", 400, 3), loss("app-a", 402, 7)]);
    let a = Visibility::sources(["app-a", "not there"]);
    let ways = [
        "select * from drops",
        "select * from drops where source_id <> 'app-a'",
        "select * from drops where source_id = 'app-b' or count = 5",
        "select sum(count), max(count), min(source_id) from drops",
        "select reason, count(distinct source_id) from drops group by reason",
        "select d.source_id, sum(d.count) from drops d join counters c on c.source_id = d.source_id group by 1",
    ];
    assert_as_if_alone(&store, &alone, &a, &ways).await;
    let engine = engine(&store);
    let sql = "select source_id, component, hop, reason, count from drops";
    let [first, theirs, last] = [("app-a", 3), ("app-b", 5), ("app-a", 7)]
        .map(|(app, count)| format!("{app} | doppler | egress | slow_consumer | {count}"));
    assert_eq!(text(&engine, &a, sql).await, format!("{first}\n{last}"));
    assert_eq!(text(&engine, &Visibility::sources(["app-b"]), sql).await, theirs);
    assert_eq!(text(&engine, &Visibility::Nothing, sql).await, "");
    assert_eq!(
        text(&engine, &Visibility::All, sql).await,
        format!("{first}\n{last}\n{theirs}")
    );
}

/// A plan does not depend on other sources, not even in its number of partitions. The measurements of a plan depend on
/// the chunks, which all sources share, so only callers that may read all sources get them; for others `EXPLAIN
/// ANALYZE` is `EXPLAIN`. That includes counts below a limit: how many of the caller's rows are in the newest chunks,
/// and at which of them a sort stopped, reveals how much other sources wrote.
#[tokio::test]
async fn plans_reveal_nothing_of_other_sources() {
    let (full, alone, empty) = (filled(), filled_with(&["app-a"]), filled_with(&[]));
    assert!(full.snapshot(weir_envelope::batch::Kind::Log).chunks().len() > 2);
    let visibility = Visibility::sources(["app-a"]);
    let [full, alone, empty] = [&full, &alone, &empty].map(engine);
    for sql in [
        "explain select * from logs",
        "explain verbose select source_id, count(*) from logs group by source_id order by 2",
        "explain format tree select * from logs where body like '%error%'",
    ] {
        let plan = text(&full, &visibility, sql).await;
        assert!(plan.to_lowercase().contains("storescan"), "{plan}");
        assert_eq!(plan, text(&alone, &visibility, sql).await);
        assert_eq!(plan, text(&empty, &visibility, sql).await);
    }
    let like = "select body from logs where body like '%line%'";
    for (analyzed, planned, query) in [
        ("explain analyze", "explain", like),
        ("explain analyze verbose", "explain verbose", like),
        (
            "explain (analyze, format pgjson, level dev, metrics 'all')",
            "explain (format pgjson)",
            like,
        ),
        (
            "explain analyze",
            "explain",
            "select body from logs order by timestamp desc limit 1",
        ),
        (
            "explain analyze",
            "explain",
            "select body from logs where body like '%line%' order by timestamp desc limit 10",
        ),
        ("explain analyze", "explain", "select body from logs limit 1"),
    ] {
        let (analyzed, planned) = (format!("{analyzed} {query}"), format!("{planned} {query}"));
        let plan = text(&full, &visibility, &analyzed).await;
        for engine in [&alone, &empty] {
            assert_eq!(plan, text(engine, &visibility, &analyzed).await, "{analyzed}");
        }
        assert_eq!(plan, text(&full, &visibility, &planned).await, "{analyzed}");
        for told in ["metrics=", "output_rows", "elapsed_compute", "Actual Rows"] {
            assert!(!plan.contains(told), "{analyzed}: {told}: {plan}");
        }
    }
    let all = text(&full, &Visibility::All, &format!("explain analyze {like}")).await;
    assert!(
        all.contains("output_rows=300") && all.contains("elapsed_compute"),
        "{all}"
    );
}

/// An expression that failed on a hidden row would reveal the row and its contents. It is never evaluated on one. Each
/// of these expressions fails for a caller that may read the row.
#[tokio::test]
async fn errors_reveal_nothing_of_other_sources() {
    let store = filled_with(&[]);
    ingest(&store, vec![log("hidden", 500, "a secret"), log("number", 501, "42")]);
    let alone = filled_with(&[]);
    ingest(&alone, vec![log("number", 501, "42")]);
    let visibility = Visibility::sources(["number"]);
    let ways = [
        "select cast(body as int) from logs",
        "select sum(cast(body as int)) from logs where cast(body as int) > 0",
        "select body from logs where cast(body as int) = 42",
        "select count(*) from logs where cast(case when source_id = 'hidden' then tags['app_name'] else '1' end as int) = 1",
        "select 1 / (case when source_id = 'hidden' then 0 else 1 end) from logs",
        "select count(*) from logs where 1 / (case when source_id = 'hidden' then 0 else 1 end) = 1",
        "select max(cast(a.body as int)) from logs a join logs b on cast(a.body as int) = cast(b.body as int)",
    ];
    assert_as_if_alone(&store, &alone, &visibility, &ways).await;
    let engine = engine(&store);
    for sql in ways {
        let error = engine.query(seen_by(&Visibility::All, sql)).await.expect_err(sql);
        let told = error.to_string();
        let expected = ["a secret", "hidden-name", "Divide by zero"];
        assert!(expected.iter().any(|text| told.contains(text)), "{sql}: {told}");
    }
}

/// The buffers of an answer contain only its rows, in every format.
#[tokio::test]
async fn answers_contain_no_other_values() {
    let engine = engine(&filled());
    let visibility = Visibility::sources(["app-a"]);
    for format in Format::ALL {
        for sql in [
            "select * from logs",
            "select * from logs limit 3",
            "select source_id, body, tags from logs where seq > 50",
            "select array_agg(body) as a, array_agg(source_id) from logs",
            "select substr(body, 1, 100), source_id || '' from logs",
        ] {
            let rendered = engine
                .render(seen_by(&visibility, sql), format, Layout::default())
                .await
                .expect("an answer");
            let text = whole(rendered).await;
            for hidden in ["app-b", "app-c"] {
                let found = text.windows(hidden.len()).any(|window| window == hidden.as_bytes());
                assert!(!found, "{format:?} {sql}: {hidden}");
            }
        }
    }
}
