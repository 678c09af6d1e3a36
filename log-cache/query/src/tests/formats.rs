//! The formats of answers.

use arrow::ipc::reader::StreamReader;

use super::{engine, filled, query};
use crate::{Format, Layout, Query, Rendered};

const SQL: &str =
    "select timestamp, source_id, seq, tags, body from logs where source_id = 'app-a' order by seq limit 2";

pub(super) async fn render(format: Format, sql: &str) -> Rendered {
    let engine = engine(&filled());
    let rendered = engine.render(query(sql), format, Layout::default()).await;
    rendered.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Returns all pieces of an answer together, and asserts that each is within the weight of the answer.
pub(super) async fn whole(rendered: Rendered) -> Vec<u8> {
    let (mut text, mut rest) = (rendered.first, rendered.rest);
    assert!(text.len() <= rendered.weight);
    while let Some(pieces) = rest {
        let (piece, more) = pieces.next().await.expect("a piece");
        assert!(piece.len() <= rendered.weight);
        text.extend(piece);
        rest = more;
    }
    text
}

async fn rendered(format: Format, sql: &str) -> String {
    String::from_utf8(whole(render(format, sql).await).await).expect("text")
}

/// One answer has the expected text in each format.
#[tokio::test]
async fn every_format_is_written() {
    assert_eq!(
        rendered(
            Format::Table,
            "select seq, body from logs where source_id = 'app-a' order by seq limit 2"
        )
        .await,
        "+-----+-------------------------+\n\
         | seq | body                    |\n\
         +-----+-------------------------+\n\
         | 1   | error: line 0 of app-a  |\n\
         | 2   | info: line 3 of app-a   |\n\
         +-----+-------------------------+\n"
            .replace("app-a  |", "app-a |")
            .replace("app-a   |", "app-a  |")
            .replace("-------------------------+", "------------------------+")
            .replace("body                    |", "body                   |")
    );
    let object = |time: i64, seq: u64, body: &str| {
        format!(
            "{{\"timestamp\":\"1970-01-01T00:00:00.00000000{time}Z\",\"source_id\":\"app-a\",\"seq\":{seq},\
             \"tags\":{{\"app_name\":\"app-a-name\",\"source_type\":\"APP/PROC/WEB\"}},\"body\":\"{body}\"}}"
        )
    };
    let (first, second) = (
        object(0, 1, "error: line 0 of app-a"),
        object(3, 2, "info: line 3 of app-a"),
    );
    let first = first.replace("00.000000000Z", "00Z");
    assert_eq!(rendered(Format::Json, SQL).await, format!("[{first},{second}]\n"));
    assert_eq!(rendered(Format::Ndjson, SQL).await, format!("{first}\n{second}\n"));
    assert_eq!(
        rendered(Format::Csv, SQL).await,
        "timestamp,source_id,seq,tags,body\n\
         1970-01-01T00:00:00Z,app-a,1,\"{\"\"app_name\"\":\"\"app-a-name\"\",\"\"source_type\"\":\"\"APP/PROC/WEB\"\"}\",error: line 0 of app-a\n\
         1970-01-01T00:00:00.000000003Z,app-a,2,\"{\"\"app_name\"\":\"\"app-a-name\"\",\"\"source_type\"\":\"\"APP/PROC/WEB\"\"}\",info: line 3 of app-a\n"
    );
    let arrow = whole(render(Format::Arrow, SQL).await).await;
    let batches: Vec<_> = StreamReader::try_new(arrow.as_slice(), None)
        .expect("a stream")
        .collect();
    assert_eq!(
        batches
            .iter()
            .map(|batch| batch.as_ref().expect("a batch").num_rows())
            .sum::<usize>(),
        2
    );
}

/// A table that is wider than the terminal is written as records, and so is any answer in the vertical format.
#[tokio::test]
async fn wide_tables_become_records() {
    let sql = "select seq, body from logs where source_id = 'app-a' order by seq limit 2";
    let laid_out = |format, width| async move {
        let layout = Layout {
            width,
            ..Layout::default()
        };
        let rendered = engine(&filled()).render(query(sql), format, layout).await;
        String::from_utf8(whole(rendered.expect("an answer")).await).expect("text")
    };
    let table = laid_out(Format::Table, None).await;
    let width = table.lines().next().map(str::len);
    assert_eq!(laid_out(Format::Table, width).await, table);
    let records = "\
        -[ record 1 ]----------------\n\
        seq  | 1\n\
        body | error: line 0 of app-a\n\
        -[ record 2 ]----------------\n\
        seq  | 2\n\
        body | info: line 3 of app-a\n";
    assert_eq!(laid_out(Format::Table, width.map(|width| width - 1)).await, records);
    assert_eq!(laid_out(Format::Vertical, None).await, records);
}

/// An answer without rows shows its columns in every format that has column names.
#[tokio::test]
async fn empty_answers_show_their_columns() {
    let nothing = "select seq, tags from logs where source_id = 'nobody'";
    assert_eq!(rendered(Format::Json, nothing).await, "[]\n");
    assert_eq!(rendered(Format::Ndjson, nothing).await, "");
    assert_eq!(rendered(Format::Csv, nothing).await, "seq,tags\n");
    assert!(rendered(Format::Table, nothing).await.contains("| seq | tags |"));
}

/// An answer has its number of rows, and the limit that cut it short.
#[tokio::test]
async fn answers_name_the_limit_that_cut_them() {
    let limited = Query {
        max_rows: Some(7),
        ..query("select body from logs")
    };
    let rendered = engine(&filled())
        .render(limited, Format::Csv, Layout::default())
        .await
        .expect("an answer");
    assert_eq!(
        (rendered.rows, rendered.truncated.map(crate::Truncated::as_str)),
        (7, Some("rows"))
    );
}

/// A format is found by its name and by its media type.
#[test]
fn formats_are_found() {
    assert_eq!("csv".parse(), Ok(Format::Csv));
    let error = "jsn".parse::<Format>().expect_err("unknown");
    assert_eq!(
        weir_error::Classify::hint(&error).as_deref(),
        Some("did you mean `json`?")
    );
    assert_eq!(
        Format::from_accept("text/html, application/x-ndjson;q=0.5"),
        Some(Format::Ndjson)
    );
    assert_eq!(Format::from_accept("text/csv"), Some(Format::Csv));
    assert_eq!(Format::from_accept("text/plain"), Some(Format::Table));
    assert_eq!(Format::from_accept("*/*"), None);
}

/// The pieces of a long answer are, together, its text in one piece.
#[tokio::test]
async fn long_answers_come_in_pieces() {
    let sql = "select value, 'line ' || value as text from generate_series(1, 50000) order by value";
    let count = |format, end: &'static str| async move {
        let engine = engine(&filled());
        let long = Query {
            max_rows: Some(100_000),
            ..query(sql)
        };
        let rendered = engine.render(long, format, Layout::default()).await.expect("an answer");
        assert!(rendered.rest.is_some() && rendered.first.len() < 600_000, "{format:?}");
        assert_eq!((rendered.rows, rendered.truncated), (50_000, None));
        let text = whole(rendered).await;
        if format != Format::Arrow {
            assert!(text.ends_with(end.as_bytes()), "{format:?}");
        }
        text
    };
    let csv = String::from_utf8(count(Format::Csv, "50000,line 50000\n").await).expect("text");
    assert_eq!(csv.lines().count(), 50_001);
    assert_eq!(csv.lines().nth(40_000), Some("40000,line 40000"));
    let last = "{\"value\":50000,\"text\":\"line 50000\"}";
    let ndjson = String::from_utf8(count(Format::Ndjson, "\n").await).expect("text");
    assert_eq!(ndjson.lines().last(), Some(last));
    let json = String::from_utf8(count(Format::Json, "}]\n").await).expect("text");
    assert_eq!(json, format!("[{}]\n", ndjson.lines().collect::<Vec<_>>().join(",")));
    let table = String::from_utf8(count(Format::Table, "+\n").await).expect("text");
    assert_eq!(table.lines().count(), 50_004);
    let arrow = count(Format::Arrow, "").await;
    let batches = StreamReader::try_new(arrow.as_slice(), None).expect("a stream");
    let rows: usize = batches.map(|batch| batch.expect("a batch").num_rows()).sum();
    assert_eq!(rows, 50_000);
}
