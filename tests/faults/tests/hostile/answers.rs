//! Short SQL with large results: long answers as text, large plans, and expensive patterns. During each query others
//! are served, and the stack stays below one gibibyte.

use std::fmt::Write as _;
use std::time::Duration;

use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_faults::{assert_no_panics, assert_serves};
use weir_testkit::{Answer, LogCache, Mode, Stack, eventually, served};

/// The limit of memory in bytes: for the stack itself, queries, and answers that are being read.
const GIBIBYTE: u64 = 1 << 30;

/// The largest answer as text in bytes: four times the 64 MiB that it may have as arrays.
const TEXT: usize = 256 << 20;

/// How long a simple query may take during a hostile one, on a busy machine.
const SERVED: Duration = Duration::from_secs(30);

/// The number of lines of the source `wide`. All but one are short.
const LINES: u64 = 20_000;

fn of_lines(lines: &[String]) -> Batch {
    let mut builder = BatchBuilder::new();
    for line in lines {
        builder.push_with(|envelope| {
            let mut writer = Writer::new(envelope);
            writer.timestamp(1).source_id("wide");
            writer.log(line.as_bytes(), Stream::Out);
        });
    }
    builder.finish()
}

/// Returns a stack that holds 20,000 short lines and one of 61,440 characters.
async fn filled() -> anyhow::Result<(Stack, LogCache)> {
    let stack = Stack::start(Mode::Embedded).await?;
    let emitter = stack.emitter().await?;
    for number in 0..LINES / 500 {
        let lines = (0..500).map(|line| format!("line {number}-{line}")).collect::<Vec<_>>();
        emitter.send(&of_lines(&lines)).await?;
    }
    emitter.send(&of_lines(&["w".repeat(61_440)])).await?;
    emitter.finish().await?;
    let log_cache = stack.log_cache()?;
    eventually("all lines", async || {
        let found = log_cache
            .number("select count(*) as n from logs where source_id = 'wide'")
            .await?;
        anyhow::ensure!(found == LINES + 1, "{found}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok((stack, log_cache))
}

/// Runs a hostile query, and checks that a simple one is answered meanwhile, and that the stack stays within its
/// memory.
async fn beside(
    stack: &Stack,
    log_cache: &LogCache,
    parameters: &str,
    query: &str,
    accept: &str,
) -> anyhow::Result<Answer> {
    let head: String = query.chars().take(80).collect();
    let what = format!("a count beside `{head}` as {accept}");
    let simple = log_cache.ask("select count(*) as n from logs", "application/json");
    let simple = served(&what, SERVED, simple);
    let (hostile, simple) = tokio::join!(log_cache.ask_with(parameters, query, accept), simple);
    assert!(simple?.status.is_success(), "beside {head}");
    let peak = stack.peak_bytes()?;
    assert!(peak < GIBIBYTE, "{head}: {} MiB", peak >> 20);
    hostile
}

/// Setup: queries whose rows are small and whose text is large. Must hold: the answer has no more text than its limit,
/// and says where it was cut. A table shows the beginning of a wide cell, or all of it.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_long_as_text() -> anyhow::Result<()> {
    let (stack, log_cache) = filled().await?;
    let all = "select * from logs where source_id = 'wide' order by length(body) desc";
    let table = beside(&stack, &log_cache, "", all, "text/plain").await?;
    assert!(table.status.is_success(), "{}", table.text());
    let text = table.text();
    assert!(text.len() < 64 << 20, "{} bytes", text.len());
    assert!(text.contains("www… |") && !text.contains(&"w".repeat(1_000)));
    let whole = beside(&stack, &log_cache, "wide=true", all, "text/plain").await?;
    assert!(whole.text().contains(&"w".repeat(61_440)));
    assert_eq!(whole.header("x-weir-truncated"), "bytes");
    assert!(whole.body.len() <= TEXT, "{} bytes", whole.body.len());
    for accept in ["application/json", "text/csv", "application/x-ndjson"] {
        let answer = beside(&stack, &log_cache, "", all, accept).await?;
        assert!(answer.status.is_success() && answer.text().contains(&"w".repeat(61_440)));
    }
    let repeated = "select case when value = 1 then repeat('x', 60000) else 'y' end from generate_series(1, 150000)";
    let shared = "select l.body, value from logs l cross join generate_series(1, 20000) where length(l.body) > 60000";
    let mut names = "select 0 as c".to_owned();
    for number in 0..300 {
        write!(names, ", null as c{number}{}", "n".repeat(200))?;
    }
    let names = format!("{names} from generate_series(1, 1000000)");
    for query in [repeated, shared, &names] {
        for accept in ["text/plain", "application/json", "text/csv"] {
            let answer = beside(&stack, &log_cache, "", query, accept).await?;
            let head: String = query.chars().take(60).collect();
            assert!(answer.status.is_success(), "{head}: {}", answer.text());
            assert!(answer.body.len() <= TEXT + (1 << 20), "{head}: {}", answer.body.len());
        }
    }
    let name = format!("select body as {} from logs", "n".repeat(100_000));
    let answer = beside(&stack, &log_cache, "", &name, "application/json").await?;
    assert_eq!(answer.status.as_u16(), 413);
    assert!(
        answer.text().contains("a column has a name of `100000` bytes"),
        "{}",
        answer.text()
    );
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: short queries with large plans, and patterns from a column. Must hold: each is refused before it is planned,
/// with a limit and a hint.
#[tokio::test(flavor = "multi_thread")]
async fn plans_and_patterns_without_end() -> anyhow::Result<()> {
    let (stack, log_cache) = filled().await?;
    let list = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let relations = format!(
        "with a as (select {}) select 1 from {}",
        list(6_000, &|number| number.to_string()),
        list(420, &|alias| format!("a a{alias}"))
    );
    let columns = format!("select {}", list(16_000, &|number| number.to_string()));
    let doubled = |step: &str| {
        let steps = list(30, &|level| {
            format!("t{} as ({})", level + 1, step.replace('?', &level.to_string()))
        });
        format!("with t0 as (select * from logs), {steps} select * from t30")
    };
    let (size, literal) = ("is more than the", "is not a literal");
    let queries = [
        (relations, size),
        (columns, size),
        (doubled("select a.body from t? a, t? b"), size),
        (doubled("select body || body as body from t? where body <> ''"), size),
        ("select count(*) from logs where body ~ body".to_owned(), literal),
        (
            "select count(*) from logs where body like '%' || body || '_'".to_owned(),
            literal,
        ),
        (
            "select regexp_replace(body, body || seq, '') from logs".to_owned(),
            literal,
        ),
        (
            "select count(*) from logs a, logs b where a.body ~* b.body".to_owned(),
            literal,
        ),
        (
            r"select count(*) from logs where body ~ '((\w{90}){90}){90}'".to_owned(),
            "when it is compiled",
        ),
        (
            format!("select count(*) from logs where body ~ '{}'", "(a|b)".repeat(2_000)),
            size,
        ),
    ];
    for (query, reason) in &queries {
        let answer = beside(&stack, &log_cache, "", query, "application/json").await?;
        let (head, text) = (query.chars().take(80).collect::<String>(), answer.text());
        assert!(answer.status.is_client_error(), "{head}: {} {text}", answer.status);
        assert!(text.contains(reason) && text.contains("\"hint\""), "{head}: {text}");
    }
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}
