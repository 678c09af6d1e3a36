//! Answers as bytes.

use arrow::ipc::reader::StreamReader;

use super::{engine, filled, query};
use crate::{Format, Query};

const SQL: &str =
    "select timestamp, source_id, seq, tags, body from logs where source_id = 'app-a' order by seq limit 2";

async fn rendered(format: Format, sql: &str) -> String {
    let rendered = engine(&filled()).render(query(sql), format).await.expect("an answer");
    String::from_utf8(rendered.body).expect("text")
}

/// One answer in each of the formats.
#[tokio::test]
async fn formats() {
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
    let arrow = engine(&filled())
        .render(query(SQL), Format::Arrow)
        .await
        .expect("an answer")
        .body;
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

/// An answer without rows has its columns in every format that knows columns.
#[tokio::test]
async fn empty_answers() {
    let nothing = "select seq, tags from logs where source_id = 'nobody'";
    assert_eq!(rendered(Format::Json, nothing).await, "[]\n");
    assert_eq!(rendered(Format::Ndjson, nothing).await, "");
    assert_eq!(rendered(Format::Csv, nothing).await, "seq,tags\n");
    assert!(rendered(Format::Table, nothing).await.contains("| seq | tags |"));
}

/// The answer says how much there is, and whether that is all.
#[tokio::test]
async fn limits_are_stated() {
    let limited = Query {
        max_rows: Some(7),
        ..query("select body from logs")
    };
    let rendered = engine(&filled()).render(limited, Format::Csv).await.expect("an answer");
    assert_eq!(
        (rendered.rows, rendered.truncated.map(crate::Truncated::as_str)),
        (7, Some("rows"))
    );
}

/// Formats are chosen by name or by media type.
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
    assert_eq!(Format::from_accept("*/*"), None);
}
