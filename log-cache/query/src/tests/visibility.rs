//! A caller sees the rows of its sources, and no way of asking shows it more.

use ways::every_way;

use super::{cells, engine, filled, ingest, log, query};
use crate::{Engine, Format, Query, Visibility};

/// The ways of asking for everything.
mod ways {
    pub(super) fn every_way() -> Vec<String> {
        let plain = [
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
            "select * from logs where exists (select 1 from logs)",
            "select * from logs where source_id in (select source_id from logs)",
            "select source_id, count(*), min(body), max(body) from logs group by source_id",
            "select array_agg(source_id), array_agg(body) from logs",
            "select string_agg(body, ',') from logs",
            "select first_value(body) over (order by timestamp), body from logs",
            "select min(source_id), max(source_id), max(body) from logs",
            "select count(*) from logs",
            "select approx_distinct(source_id) from logs",
            "explain analyze select * from logs",
            "explain verbose select * from logs where source_id = 'app-a'",
        ];
        plain.map(str::to_owned).to_vec()
    }
}

fn seen_by(visibility: &Visibility, sql: &str) -> Query {
    Query {
        visibility: visibility.clone(),
        ..query(sql)
    }
}

async fn text(engine: &Engine, visibility: &Visibility, sql: &str) -> String {
    match engine.query(seen_by(visibility, sql)).await {
        Ok(answer) => cells(&answer).join("\n"),
        Err(error) => format!("{error} {error:?}"),
    }
}

/// However it is asked: nothing of the other sources, neither in an answer nor in an error.
#[tokio::test]
async fn no_way_of_asking_shows_more() {
    let engine = engine(&filled());
    let visibility = Visibility::sources(["app-a", "not there"]);
    for sql in every_way() {
        let text = text(&engine, &visibility, &sql).await;
        for hidden in ["of app-b", "of app-c", "app-b-name", "app-c-name"] {
            let asked = sql.contains(hidden);
            assert!(asked || !text.contains(hidden), "{sql}: {hidden} in {text}");
        }
    }
    assert_eq!(text(&engine, &visibility, "select count(*) from logs").await, "100");
    assert_eq!(
        text(&engine, &visibility, "select distinct source_id from logs").await,
        "app-a"
    );
    assert_eq!(
        text(
            &engine,
            &visibility,
            "select count(*) from logs where source_id = 'app-b'"
        )
        .await,
        "0"
    );
    assert_eq!(
        text(&engine, &Visibility::Nothing, "select count(*) from logs").await,
        "0"
    );
    assert_eq!(
        text(&engine, &Visibility::sources([""; 0]), "select count(*) from counters").await,
        "0"
    );
}

/// An expression that fails on a hidden row would tell that it is there: it is never evaluated on one.
#[tokio::test]
async fn errors_do_not_tell() {
    let store = filled();
    ingest(
        &store,
        vec![log("secret", 500, "not a number"), log("number", 501, "42")],
    );
    let engine = engine(&store);
    let visibility = Visibility::sources(["number"]);
    for sql in [
        "select cast(body as int) from logs",
        "select sum(cast(body as int)) from logs where cast(body as int) > 0",
        "select * from logs where cast(source_id as int) = 1 and source_id = 'secret'",
        "select 1 / (case when source_id = 'secret' then 0 else 1 end) from logs",
        "select * from logs where 1 / (case when source_id = 'secret' then 0 else 1 end) = 1",
        "select * from logs where cast(tags['app_name'] as int) = 1",
    ] {
        let text = text(&engine, &visibility, sql).await;
        assert!(
            !text.contains("secret-name") && !text.contains("not a number"),
            "{sql}: {text}"
        );
    }
    assert_eq!(
        text(&engine, &visibility, "select cast(body as int) from logs").await,
        "42"
    );
    let guarded = "select count(*) from logs where 1 / (case when source_id = 'secret' then 0 else 1 end) = 1";
    assert_eq!(
        text(&engine, &visibility, guarded).await,
        "1",
        "no division by zero on a hidden row"
    );
}

/// Buffers of an answer hold its rows and nothing else, whatever the format.
#[tokio::test]
async fn formats_carry_nothing_along() {
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
                .render(seen_by(&visibility, sql), format)
                .await
                .expect("an answer");
            for hidden in ["app-b", "app-c"] {
                let found = rendered
                    .body
                    .windows(hidden.len())
                    .any(|window| window == hidden.as_bytes());
                assert!(!found, "{format:?} {sql}: {hidden}");
            }
        }
    }
}
