//! SQL that tries to write, to read files, or to exhaust the machine.

use weir_faults::{assert_no_panics, assert_serves};
use weir_testkit::{Https, LogCache, Mode, Series, Shape, Stack, eventually};

use super::MEMORY;

const SIMPLE: &str = "select count(*) as n from logs";

async fn filled() -> anyhow::Result<(Stack, LogCache)> {
    let stack = Stack::start(Mode::Embedded).await?;
    let emitter = stack.emitter().await?;
    let mut series = Series::new("sql", Shape::SHORT);
    emitter.send_series(&mut series, 5000).await?;
    emitter.finish().await?;
    let log_cache = stack.log_cache()?;
    eventually("five thousand lines", async || {
        let found = log_cache
            .number("select count(*) as n from logs where source_id = 'sql'")
            .await?;
        anyhow::ensure!(found == 5000, "{found}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok((stack, log_cache))
}

/// Setup: statements that change data, or read or write files. Must hold: each is refused with 400 and a reason,
/// nothing is written to disk, and the data is unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn statements_that_write_or_read_files() -> anyhow::Result<()> {
    let (stack, log_cache) = filled().await?;
    let target = stack.state_dir().join("stolen");
    let target = target.display();
    let statements = [
        "create table x (a int)".to_owned(),
        "create table x as select * from logs".to_owned(),
        "create view x as select * from logs".to_owned(),
        "create schema x".to_owned(),
        "create database x".to_owned(),
        "create function f(int) returns int return $1".to_owned(),
        "drop table logs".to_owned(),
        "insert into logs select * from logs".to_owned(),
        "delete from logs".to_owned(),
        "update logs set body = ''".to_owned(),
        "truncate table logs".to_owned(),
        format!("copy logs to '{target}' stored as csv"),
        format!("copy (select 1) to '{target}.parquet'"),
        "create external table x stored as csv location '/etc/passwd'".to_owned(),
        "select * from '/etc/passwd'".to_owned(),
        "select * from read_csv('/etc/passwd')".to_owned(),
        "select * from \"file:///etc/passwd\"".to_owned(),
        "set datafusion.execution.batch_size = 1".to_owned(),
        "reset datafusion.execution.batch_size".to_owned(),
        "begin".to_owned(),
        "prepare p as select 1".to_owned(),
        "select 1; drop table logs".to_owned(),
        "explain analyze insert into logs select * from logs".to_owned(),
        String::new(),
        ";".to_owned(),
        "select".to_owned(),
        "select * from no_such_table".to_owned(),
        "select no_such_column from logs".to_owned(),
        "select no_such_function(1)".to_owned(),
        "select timestamp at time zone 'CEST' from logs".to_owned(),
        "select from_unixtime(0, 'nowhere')".to_owned(),
        "select 9223372036854775807 + 1".to_owned(),
        "select sum(x) from (values (9223372036854775807), (1)) t(x)".to_owned(),
        "select cast(2147483647 as date)".to_owned(),
        "select seq, seq from logs".to_owned(),
        "select 1 / 0".to_owned(),
        "\u{0}\u{1}\u{2}".to_owned(),
    ];
    for statement in &statements {
        let answer = log_cache.ask(statement, "application/json").await?;
        assert_eq!(answer.status.as_u16(), 400, "{statement:?}: {}", answer.text());
        assert!(answer.text().len() > 10, "{statement:?} is refused without a word");
        assert!(answer.text().contains("\"hint\":"), "{statement:?}: {}", answer.text());
    }
    assert!(!stack.state_dir().join("stolen").exists() && !stack.state_dir().join("stolen.parquet").exists());
    let found = log_cache
        .number("select count(*) as n from logs where source_id = 'sql'")
        .await?;
    assert_eq!(found, 5000);
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: queries that need more memory, time or depth than allowed. Must hold: each ends with an error that names the
/// limit. Memory stays within its limit, and simple queries are answered meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn queries_that_would_exhaust_the_machine() -> anyhow::Result<()> {
    let (stack, log_cache) = filled().await?;
    let deep = format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let wide = format!("select {}", vec!["1"; 200_000].join("+"));
    let many = format!("select 1 {}", "union all select 1 ".repeat(20_000));
    let (memory, time, size) = ("needs more than the", "not done after", "is more than the");
    let (joined, made) = ("cannot be combined with a join", "would make more than");
    // The allowed error texts of each query. Whether memory or time ends first depends on the machine.
    let queries: [(&str, &[&str]); 10] = [
        // The product of all lines with themselves, three times over, sorted, aggregated, or in one array.
        (
            "select a.body from logs a, logs b, logs c, logs d order by a.body, b.body, c.body, d.body",
            &[memory, time],
        ),
        (
            "select count(*) from logs a, logs b, logs c, logs d where a.body <> b.body or c.body <> d.body",
            &[memory, time],
        ),
        (
            "select array_agg(a.body || b.body || c.body) from logs a, logs b, logs c",
            &[joined],
        ),
        (
            "select string_agg(a.body || b.body, ',') from logs a, logs b, logs c",
            &[joined],
        ),
        (
            "select a.body || b.body || c.body as k, count(*) from logs a, logs b, logs c group by 1",
            &[memory, time],
        ),
        ("select repeat(body, 10000000) from logs", &[made]),
        (
            "with recursive r as (select 1 as n union all select n + 1 from r) select max(n) from r",
            &[time],
        ),
        (&deep, &[size]),
        (&wide, &[size]),
        (&many, &[size]),
    ];
    for (query, reasons) in queries {
        let head: String = query.chars().take(60).collect();
        // Simple queries are asked one after the other until the hostile one ends.
        let simple = async {
            loop {
                match log_cache.ask(SIMPLE, "application/json").await {
                    Ok(answer) if answer.status.is_success() => {}
                    Ok(answer) => return anyhow::anyhow!("beside {head}: {}", answer.text()),
                    Err(error) => return error,
                }
            }
        };
        let hostile = tokio::select! {
            hostile = log_cache.ask(query, "application/json") => hostile?,
            error = simple => return Err(error),
        };
        assert!(
            log_cache.ask(SIMPLE, "application/json").await?.status.is_success(),
            "after {head}"
        );
        let text = hostile.text();
        let refused = hostile.status.is_client_error() || hostile.status.as_u16() == 504;
        assert!(refused, "{head}: {} {text:.200}", hostile.status);
        assert!(
            reasons.iter().any(|reason| text.contains(reason)),
            "{head}: {text:.200} instead of {reasons:?}"
        );
        let resident = stack.resident_bytes()?;
        assert!(resident < MEMORY, "{head}: {} MiB", resident >> 20);
    }
    // This pattern needs exponential time in a backtracking engine, and linear time here.
    let backtracking = "select count(*) as n from logs where body ~ '(a*)*(a*)*(a*)*(a*)*b'";
    assert!(
        log_cache
            .ask(backtracking, "application/json")
            .await?
            .status
            .is_success()
    );
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: requests without a token, with a wrong one, and with an invalid query. Must hold: 401 without a valid token,
/// and 4xx for the others.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_refused() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let url = format!("{}/v1/sql", endpoints.sql_http);
    let nobody = Https::new(endpoints.trusting()?);
    for https in [
        nobody.clone(),
        nobody.clone().with_token("bearer wrong"),
        nobody.clone().with_token("Basic eDp5"),
    ] {
        let answer = https.post(&url, "text/plain", "application/json", "select 1").await?;
        assert_eq!(answer.status.as_u16(), 401, "{}", answer.text());
    }
    let somebody = nobody.with_token(&stack.token()?);
    let bodies: [(&str, Vec<u8>); 6] = [
        ("application/json", b"{".to_vec()),
        ("application/json", b"[]".to_vec()),
        ("application/json", br#"{"query": 7}"#.to_vec()),
        (
            "application/json",
            br#"{"query": "select 1", "format": "exe"}"#.to_vec(),
        ),
        (
            "application/json",
            br#"{"query": "select 1", "timeout": "eternity"}"#.to_vec(),
        ),
        ("text/plain", vec![0xff; 100]),
    ];
    for (kind, body) in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = somebody.post(&url, kind, "application/json", body).await?;
        assert!(
            answer.status.is_client_error(),
            "{shown}: {} {}",
            answer.status,
            answer.text()
        );
    }
    // A query of 100 MiB may be refused before it is read, which the client may see as a broken connection.
    if let Ok(answer) = somebody.post(&url, "text/plain", "*/*", vec![b' '; 100 << 20]).await {
        assert!(answer.status.is_client_error(), "{}", answer.status);
    }
    assert!(somebody.get(&url).await?.status.is_client_error());
    assert!(
        somebody
            .get(&format!("{}/nothing", endpoints.sql_http))
            .await?
            .status
            .is_client_error()
    );
    assert!(stack.resident_bytes()? < MEMORY);
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}
