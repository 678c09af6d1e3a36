//! The correctness of answers (decision 0020).

use weir_error::{Classify, ErrorKind};

use super::formats::{render, whole};
use super::{ask, counter, engine, filled, filled_with, ingest, query, rows};
use crate::{Format, Layout, QueryError};

/// Returns the answer as text.
async fn rendered(format: Format, sql: &str) -> String {
    String::from_utf8(whole(render(format, sql).await).await).expect("text")
}

async fn refused(sql: &str) -> (String, String) {
    let engine = engine(&filled());
    let answer = engine.render(query(sql), Format::Json, Layout::default()).await;
    let error = answer.expect_err(sql);
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{sql}: {error}");
    let hint = error.hint().unwrap_or_else(|| panic!("{sql}: {error} without a hint"));
    (error.to_string(), hint)
}

/// Columns of one name get the name of their table, and a number if the tables have one name too. Other names are kept.
#[tokio::test]
async fn columns_have_different_names() {
    let header = async |sql: &str| {
        let text = rendered(Format::Csv, sql).await;
        text.lines().next().unwrap_or_default().to_owned()
    };
    for (sql, expected) in [
        (
            "select l.seq, r.seq, l.body from logs l join logs r on l.seq = r.seq and l.source_id = r.source_id",
            "l.seq,r.seq,body",
        ),
        (
            "select l.source_id, c.source_id, name from logs l join counters c on l.source_id = c.source_id order by 1 limit 1",
            "l.source_id,c.source_id,name",
        ),
        (
            "select * from (select source_id from logs) a cross join (select source_id from logs) b limit 1",
            "a.source_id,b.source_id",
        ),
        ("select seq, source_id from logs limit 1", "seq,source_id"),
        ("select l.seq from logs l limit 1", "seq"),
    ] {
        assert_eq!(header(sql).await, expected, "{sql}");
    }
    let all = header("select * from logs l join logs r on l.seq = r.seq and l.source_id = r.source_id limit 1").await;
    assert_eq!(all.split(',').count(), 18);
    assert!(
        all.starts_with("l.timestamp,l.source_id,") && all.contains(",r.timestamp,r.source_id,"),
        "{all}"
    );
    for sql in [
        "select seq, seq from logs",
        "select 1, 1",
        "select seq, 1 as seq from logs",
    ] {
        let (message, hint) = refused(sql).await;
        assert!(
            hint.contains("another name") || hint.contains("say in which"),
            "{sql}: {message}: {hint}"
        );
    }
}

/// Time zones are accepted in any case, and offsets in any form. Unknown ones are refused in every place.
#[tokio::test]
async fn unknown_time_zones_are_refused() {
    for (zone, shown) in [
        ("utc", "1970-01-01T00:00:00Z"),
        ("Z", "1970-01-01T00:00:00Z"),
        ("europe/BERLIN", "1970-01-01T01:00:00+01:00"),
        ("+5:30", "1970-01-01T05:30:00+05:30"),
        ("-3", "1969-12-31T21:00:00-03:00"),
    ] {
        let sql = format!("select min(timestamp) at time zone '{zone}' as t from logs");
        assert_eq!(rendered(Format::Csv, &sql).await, format!("t\n{shown}\n"), "{zone}");
        let nested = format!("select case when max(timestamp at time zone '{zone}') is null then 1 end from logs");
        rendered(Format::Json, &nested).await;
    }
    for sql in [
        "select timestamp at time zone 'CEST' from logs",
        "select now() at time zone ''",
        "select from_unixtime(0, 'Mars/Olympus')",
        "select array_agg(t) from (select timestamp at time zone 'nowhere' as t from logs)",
        "explain select timestamp at time zone 'nowhere' from logs",
    ] {
        let (message, hint) = refused(sql).await;
        assert!(message.contains("time zone `"), "{sql}: {message}");
        assert!(
            hint.contains("Europe/Berlin") || hint.contains("did you mean"),
            "{sql}: {hint}"
        );
    }
    assert_eq!(
        refused("select now() at time zone 'Europe/Berln'").await.1,
        "did you mean `Europe/Berlin`?"
    );
}

/// Integer overflow is an error, in constants and in columns.
#[tokio::test]
async fn integers_do_not_wrap() {
    let store = filled_with(&["app-a"]);
    ingest(
        &store,
        vec![
            counter("app-a", 50, "huge", u64::MAX / 10),
            counter("app-a", 51, "huge", 1),
        ],
    );
    let engine = engine(&store);
    let mut wrong: Vec<String> = Vec::new();
    for sql in [
        "select 9223372036854775807 + 1",
        "select -9223372036854775807 - 2",
        "select 4611686018427387904 * 2",
        "select -x from (values (-9223372036854775808)) t(x)",
        "select abs(x) from (values (-9223372036854775808)) t(x)",
        "select x / -1 from (values (-9223372036854775808)) t(x)",
        "select x + 9223372036854775807 from (values (1), (2)) t(x)",
        "select x * x from (values (4294967296)) t(x)",
        "select delta - total from counters where name = 'huge'",
        "select total * total from counters where name = 'huge'",
        "select sum(x) from (values (9223372036854775807), (1)) t(x)",
        "select source_id, sum(total) from counters where name = 'huge' group by source_id",
        "select name, sum(total) + sum(total) from counters where name = 'huge' group by name",
        "select sum(x) over (order by x) from (values (9223372036854775807), (1)) t(x)",
        "select sum(distinct x) from (values (9223372036854775807), (1)) t(x)",
        "select cast(3000000000 as int)",
        "select cast(-1 as bigint unsigned)",
        "select cast(1e30 as bigint)",
        "select 1 / 0",
        "select seq % 0 from logs",
        "select count(*) from logs where seq - seq - seq > 0",
        "select to_timestamp(9223372036854775807)",
        "select timestamp + interval '9223372036854775807 days' from logs",
        "select timestamp + interval '300 years' from logs",
        "select date '2020-01-01' + interval '1000000 years'",
    ] {
        match ask(&engine, sql).await {
            Ok(answer) => wrong.push(format!("{sql}: {:?}", super::cells(&answer))),
            Err(error) if error.kind() == ErrorKind::InvalidInput && error.hint().is_some() => {}
            Err(error) => wrong.push(format!("{sql}: {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (sql, expected) in [
        ("select 9223372036854775806 + 1", "9223372036854775807"),
        ("select -9223372036854775807 - 1", "-9223372036854775808"),
        ("select 2 + 3 * 4 - 5", "9"),
        ("select -cast(seq as bigint) from logs order by seq limit 1", "-1"),
        (
            "select sum(x) from (values (9223372036854775807), (1), (-2)) t(x)",
            "9223372036854775806",
        ),
        (
            "select sum(cast(total as decimal(38, 0))) from counters where name = 'huge'",
            "18446744073709551620",
        ),
        ("select sum(delta) from counters where name = 'requests'", "30"),
        (
            "select sum(x) over (order by x) from (values (1), (2)) t(x) order by 1 desc limit 1",
            "3",
        ),
        ("select sum(distinct x) from (values (2), (2), (3)) t(x)", "5"),
        ("select sum(x) from (values (1.5), (2.25)) t(x)", "3.75"),
        ("select sum(x) from (values (1)) t(x) where x > 1", ""),
        ("select 1.0 / 0", "inf"),
        ("select null + 1", ""),
        (
            "select cast(total as double) - delta > 0 from counters where name = 'huge' and delta > 1",
            "true",
        ),
    ] {
        assert_eq!(rows(&engine, sql).await, [expected], "{sql}");
    }
}

/// A value that has no text is an error, and never the text of an error among the values.
#[tokio::test]
async fn values_without_a_text_are_errors() {
    for sql in [
        "select cast(2147483647 as date)",
        "select array_agg(d) from (select cast(2147483647 as date) as d)",
        "select arrow_typeof(1) as t, cast(-2147483648 as date) as d",
    ] {
        for format in Format::ALL {
            let answer = engine(&filled()).render(query(sql), format, Layout::default()).await;
            let error = answer.expect_err(sql);
            assert!(
                matches!(error, QueryError::Failed { .. }),
                "{sql} as {format:?}: {error:?}"
            );
        }
    }
}

/// Every value can be read back from JSON and CSV.
#[tokio::test]
async fn exports_can_be_read_back() {
    let sql = "select '' as empty, null as nothing, 'a,\"b\"\nc' as text, \
               cast('NaN' as double) as nan, cast('inf' as double) as inf, -cast('inf' as double) as ninf, 0.1 as tenth, \
               18446744073709551615 as most, [1, null] as list, [cast('NaN' as double)] as nans, true as yes, \
               date '2020-02-29' as day, to_timestamp_nanos(1) as instant";
    assert_eq!(
        rendered(Format::Csv, sql).await,
        "empty,nothing,text,nan,inf,ninf,tenth,most,list,nans,yes,day,instant\n\
         \"\",,\"a,\"\"b\"\"\nc\",NaN,inf,-inf,0.1,18446744073709551615,\"[1,null]\",\"[\"\"NaN\"\"]\",true,2020-02-29,\
         1970-01-01T00:00:00.000000001\n"
    );
    let json: serde_json::Value = serde_json::from_str(&rendered(Format::Json, sql).await).expect("JSON");
    let row = &json[0];
    assert_eq!(row["empty"], "");
    assert!(row["nothing"].is_null());
    assert_eq!(
        (&row["nan"], &row["inf"], &row["ninf"]),
        (&"NaN".into(), &"Infinity".into(), &"-Infinity".into())
    );
    assert_eq!(row["nans"][0], "NaN");
    assert_eq!(row["most"].as_u64(), Some(u64::MAX));
    assert!(row["list"][1].is_null());
    let tags = rendered(Format::Csv, "select tags from logs where source_id = 'app-a' limit 1").await;
    assert_eq!(
        tags,
        "tags\n\"{\"\"app_name\"\":\"\"app-a-name\"\",\"\"source_type\"\":\"\"APP/PROC/WEB\"\"}\"\n"
    );
}
