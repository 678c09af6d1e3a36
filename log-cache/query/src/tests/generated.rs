//! Generated SQL texts: each has an answer or an error of its author, and never an internal error.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Runtime;

use super::formats::whole;
use super::hostile::{peak, start_peak};
use super::{filled, query};
use crate::{Engine, EngineLimits, Format, Layout, Query, QueryError, functions};

/// The memory that a query may take beyond the 32 MiB of its pool, together with the other tests of this process, in
/// bytes.
const MEMORY: usize = 700 << 20;

/// One engine for all cases.
static ENGINE: LazyLock<(Runtime, Engine)> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let limits = EngineLimits {
        memory: 32 << 20,
        threads: 2,
        ..EngineLimits::default()
    };
    (runtime, Engine::new(filled(), limits).expect("an engine"))
});

fn scalars() -> Vec<String> {
    functions::scalar()
        .iter()
        .map(|function| function.name().to_owned())
        .collect()
}

fn aggregates() -> Vec<String> {
    functions::aggregate()
        .iter()
        .map(|function| function.name().to_owned())
        .collect()
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(words).prop_map(str::to_owned)
}

fn literal() -> impl Strategy<Value = String> {
    word(&[
        "null",
        "true",
        "0",
        "1",
        "-1",
        "2",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "3.5",
        "-0.0",
        "1e308",
        "1e-320",
        "''",
        "'a'",
        "'é\u{1F600}'",
        "'%a_'",
        "'(['",
        "'(?i)x+'",
        "'NaN'",
        "'inf'",
        "'2024-02-30'",
        "'2024-01-02T03:04:05Z'",
        "'12:34'",
        "'1 day'",
        "'UTC'",
        "'cest'",
        "'%Y-%m-%d'",
        "'hour'",
        "'week'",
        "'utf-8'",
        "'base64'",
        "'sha256'",
        "'{\"a\":[1]}'",
        "interval '1 month'",
        "interval '-9999999 days'",
        "date '2024-01-31'",
        "timestamp '1677-09-21T00:12:44'",
        "timestamp '2262-04-11T23:47:16'",
        "time '12:00'",
        "x'ff00'",
        "[1, 2, null]",
        "['a', 'b']",
        "[]",
        "[[1], [2]]",
        "now()",
        "current_date",
        "$1",
        "?",
        "\"no such\"",
    ])
}

fn column() -> impl Strategy<Value = String> {
    word(&[
        "timestamp",
        "source_id",
        "instance_id",
        "seq",
        "tags",
        "tags['app_name']",
        "stream",
        "body",
        "body_bytes",
        "l.seq",
        "r.body",
        "name",
        "delta",
        "value",
        "start",
        "x",
    ])
}

fn data_type() -> impl Strategy<Value = String> {
    word(&[
        "int",
        "bigint",
        "smallint",
        "tinyint",
        "bigint unsigned",
        "double",
        "real",
        "decimal(10, 2)",
        "decimal(38, 0)",
        "decimal(76, 10)",
        "decimal(99, 99)",
        "text",
        "varchar(3)",
        "bytea",
        "boolean",
        "date",
        "time",
        "timestamp",
        "timestamp(3)",
        "timestamp with time zone",
        "interval",
        "int[]",
        "json",
        "uuid",
        "struct<a int>",
    ])
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![3 => literal(), 2 => column()];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let operator = word(&[
            "+", "-", "*", "/", "%", "||", "=", "<>", "<", ">=", "and", "or", "is distinct from", "&", "|", "#", "<<",
            ">>", "^", "like", "ilike", "not like", "~", "!~*", "similar to", "@>", "->", "in", "= any",
        ]);
        let list = vec(inner.clone(), 0..4).prop_map(|arguments| arguments.join(", "));
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone()).prop_map(|(left, operator, right)| format!("({left} {operator} ({right}))")),
            6 => (select(scalars()), list.clone()).prop_map(|(function, arguments)| format!("{function}({arguments})")),
            3 => (select(aggregates()), list.clone(), word(&["", " over ()", " over (order by seq)",
                " over (partition by stream order by timestamp rows between 1 preceding and 2 following)",
                " filter (where true)", " within group (order by seq)"]), word(&["", "distinct "]))
                .prop_map(|(function, arguments, behind, before)| format!("{function}({before}{arguments}){behind}")),
            2 => (word(&["row_number", "lag", "lead", "rank", "ntile", "nth_value", "first_value", "cume_dist"]), list)
                .prop_map(|(function, arguments)| format!("{function}({arguments}) over (order by seq)")),
            3 => (inner.clone(), word(&["cast", "try_cast"]), data_type()).prop_map(|(value, cast, kind)| format!("{cast}({value} as {kind})")),
            2 => (inner.clone(), data_type()).prop_map(|(value, kind)| format!("({value})::{kind}")),
            1 => (inner.clone(), literal()).prop_map(|(value, zone)| format!("({value} at time zone {zone})")),
            1 => (word(&["year", "dow", "epoch", "century", "nanosecond", "nothing"]), inner.clone()).prop_map(|(part, value)| format!("extract({part} from {value})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(when, then, otherwise)| format!("case when {when} then {then} else {otherwise} end")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(value, low, high)| format!("({value} between {low} and {high})")),
            1 => inner.clone().prop_map(|value| format!("(select {value} from logs limit 1)")),
            1 => inner.clone().prop_map(|value| format!("exists (select 1 from counters where {value})")),
            1 => (inner.clone(), word(&["-", "not ", "~", "+", "@"])).prop_map(|(value, sign)| format!("{sign}({value})")),
            1 => (inner.clone(), inner).prop_map(|(value, index)| format!("({value})[{index}]")),
        ]
    })
}

fn source() -> impl Strategy<Value = String> {
    word(&[
        "",
        "logs",
        "logs l",
        "counters",
        "gauges",
        "timers",
        "events",
        "drops",
        "drain_status",
        "router_requests",
        "logs l join logs r on l.seq = r.seq",
        "logs l natural join counters r",
        "logs l left join counters r using (seq)",
        "(values (1, 'a'), (null, 'b')) t(x, y)",
        "(select body as x from logs) t",
        "generate_series(1, 3) t(x)",
        "logs l cross join lateral (select 1 as x) r",
        "information_schema.columns",
        "information_schema.df_settings",
        "unnest([1]) t(x)",
    ])
}

fn statement() -> impl Strategy<Value = String> {
    let selected = vec(
        prop_oneof![4 => expression(), 1 => Just("*".to_owned()), 1 => Just("l.*".to_owned())],
        1..4,
    );
    let tail = prop_oneof![
        3 => Just(String::new()),
        1 => expression().prop_map(|value| format!(" group by {value}")),
        1 => expression().prop_map(|value| format!(" group by rollup({value}) having {value} is null")),
        2 => expression().prop_map(|value| format!(" order by {value} desc nulls first")),
        1 => Just(" order by 1 limit 2 offset 1".to_owned()),
        1 => literal().prop_map(|number| format!(" limit {number}")),
        1 => Just(" union all select 1".to_owned()),
        1 => Just(" intersect select 1, 2".to_owned()),
        1 => Just(" fetch first 1 rows only".to_owned()),
    ];
    let filter = prop_oneof![1 => Just(String::new()), 1 => expression().prop_map(|value| format!(" where {value}"))];
    let before = word(&[
        "",
        "",
        "",
        "",
        "explain ",
        "explain analyze ",
        "explain format tree ",
        "with w as (select 1 as x) ",
    ]);
    (
        before,
        word(&["", "", "distinct ", "distinct on (seq) "]),
        selected,
        source(),
        filter,
        tail,
    )
        .prop_map(|(before, distinct, selected, source, filter, tail)| {
            let from = if source.is_empty() {
                String::new()
            } else {
                format!(" from {source}")
            };
            format!("{before}select {distinct}{}{from}{filter}{tail}", selected.join(", "))
        })
}

/// Texts that are nearly valid statements, and some that are not at all.
fn text() -> impl Strategy<Value = String> {
    let broken = (
        statement(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        ".{0,3}",
    )
        .prop_map(|(text, start, len, with)| {
            let letters: Vec<char> = text.chars().collect();
            let start = start.index(letters.len());
            let end = (start + len.index(8)).min(letters.len());
            let (before, behind) = (&letters[..start], &letters[end..]);
            before
                .iter()
                .copied()
                .chain(with.chars())
                .chain(behind.iter().copied())
                .collect()
        });
    let other = word(&[
        "show tables",
        "show columns from logs",
        "show all",
        "describe logs",
        "show functions",
        "show time zone",
        "set time zone 'CEST'",
        "explain",
        "select",
        "values (1), ('a')",
        "values (1, 2), (3)",
        "table logs",
        "select * from logs for update",
        "select 1 /* ",
        "select '",
        "select \"",
        "select 1;;",
        "execute p",
        "analyze logs",
        "select * from logs tablesample system (10)",
        "pivot logs on stream using count(*)",
        "select * exclude (body) from logs",
        "select * replace (1 as seq) from logs",
        "select $1::int",
        "select @x",
        "select :x",
        "from logs",
        "select all 1",
        "with recursive r as (select 1 as n union all select n + 1 from r where n < 5) select * from r",
        "select date_bin(interval '0 days', timestamp) from logs",
    ]);
    prop_oneof![6 => statement(), 2 => broken, 1 => other, 1 => ".{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("WEIR_SQL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1500),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    })]

    /// Each text has an answer in each format or an error with a hint, never an internal error, and takes little
    /// memory.
    #[test]
    fn no_text_causes_an_internal_error(text in text(), format in select(&Format::ALL[..])) {
        let (runtime, engine) = &*ENGINE;
        let asked = Query {
            timeout: Some(Duration::from_secs(20)),
            ..query(&text)
        };
        let before = start_peak();
        let answer = runtime.block_on(async {
            let rendered = engine.render(asked, format, Layout::default()).await?;
            Ok::<_, QueryError>(whole(rendered).await)
        });
        let grown = peak().saturating_sub(before);
        prop_assert!(grown < MEMORY, "{} took {} MiB", text, grown >> 20);
        if let Err(error) = answer {
            prop_assert!(!matches!(error, QueryError::Internal(_) | QueryError::Stopping), "{}: {:?}", text, error);
            prop_assert!(weir_error::Classify::hint(&error).is_some(), "{}: {:?}", text, error);
        }
    }
}
