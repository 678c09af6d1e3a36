//! Lets a query through to the planner if it is one statement that only reads, of a size that can be planned safely.
//!
//! Parser and planner process trees by recursion. The parser limits its own depth, but an expression that it parses in
//! a loop, such as `1 + 1 + 1 …`, becomes a tree as deep as the expression is long. So the tokens that can make a tree
//! deeper are counted first, and planning runs on threads with stacks for that depth. Lists of values (`IN (…)`,
//! `VALUES`) stay flat. [`size`] then bounds the size of the plan.

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{Query, Statement as Ast};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::QueryError;

mod size;

use size::MAX_NAME;
pub(crate) use size::MAX_TERMS;

/// The longest text of a query, in bytes.
pub(crate) const MAX_TEXT: usize = 256 << 10;

/// The greatest number of tokens, not counting values, commas and white space.
pub(crate) const MAX_TOKENS: usize = 1_000;

/// The recursion limit of the parser.
const MAX_DEPTH: usize = 50;

/// The deepest nesting of parentheses and brackets. The parser reads their contents twice, so each level doubles its
/// time.
const MAX_PARENTHESES: usize = 10;

/// Parses `sql`, and checks that it is one statement that only reads and is not too large.
///
/// # Errors
/// If it is not.
pub(crate) fn parse(sql: &str) -> Result<Statement, QueryError> {
    if sql.len() > MAX_TEXT {
        return Err(QueryError::TooComplex {
            what: "a text of bytes",
            found: sql.len(),
            allowed: MAX_TEXT,
        });
    }
    let dialect = PostgreSqlDialect {};
    let invalid = |message: String| QueryError::Invalid { message, hint: None };
    // The tokenizer needs linear time, so everything that can be counted on tokens is checked before parsing.
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize()
        .map_err(|error| invalid(error.to_string()))?;
    let found = tokens.iter().filter(|token| deepens(token)).count();
    if found > MAX_TOKENS {
        return Err(QueryError::TooComplex {
            what: "a number of words and operators",
            found,
            allowed: MAX_TOKENS,
        });
    }
    let found = deepest(&tokens);
    if found > MAX_PARENTHESES {
        return Err(QueryError::TooComplex {
            what: "a nesting of parentheses",
            found,
            allowed: MAX_PARENTHESES,
        });
    }
    let names = tokens.iter().map(|token| match token {
        Token::Word(word) => word.value.len(),
        _ => 0,
    });
    if let Some(found) = names.max().filter(|found| *found > MAX_NAME) {
        return Err(QueryError::NameTooLong {
            found,
            allowed: MAX_NAME,
        });
    }
    let mut statements = DFParserBuilder::new(sql)
        .with_dialect(&dialect)
        .with_recursion_limit(MAX_DEPTH)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| QueryError::from_datafusion(&error, 0))?;
    match (statements.pop_front(), statements.len()) {
        (None, _) => Err(invalid("it is empty".to_owned())),
        (Some(statement), 0) => check(&statement).map(|()| statement),
        (Some(_), more) => Err(invalid(format!("{} statements where one is expected", more + 1))),
    }
}

/// Returns the depth of the deepest nesting of parentheses and brackets.
fn deepest(tokens: &[Token]) -> usize {
    let (mut open, mut deepest) = (0usize, 0);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open += 1;
                deepest = deepest.max(open);
            }
            Token::RParen | Token::RBracket | Token::RBrace => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether a token can make the syntax tree deeper.
fn deepens(token: &Token) -> bool {
    !matches!(
        token,
        Token::Whitespace(_)
            | Token::Comma
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::EOF
    )
}

/// Checks that a statement only reads.
fn check(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(statement) => match &**statement {
            Ast::Query(query) => check_query(query),
            Ast::ShowTables { .. } | Ast::ShowColumns { .. } | Ast::ExplainTable { .. } => Ok(()),
            other => Err(read_only(&other.to_string())),
        },
        Statement::Explain(explain) => check(&explain.statement),
        other => Err(read_only(&other.to_string())),
    }
}

/// Checks a query. Its body may write (`WITH … INSERT`) or lock rows. The planner refuses statements that write further
/// inside.
fn check_query(query: &Query) -> Result<(), QueryError> {
    use datafusion::sql::sqlparser::ast::SetExpr;
    if !query.locks.is_empty() {
        return Err(read_only("SELECT FOR UPDATE"));
    }
    match &*query.body {
        SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
            Err(read_only(&statement.to_string()))
        }
        SetExpr::Select(select) if select.into.is_some() => Err(read_only("SELECT INTO")),
        _ => size::check(query),
    }
}

/// Returns the error for a statement that writes, which names its leading words.
fn read_only(statement: &str) -> QueryError {
    let words: Vec<&str> = statement
        .split_whitespace()
        .take_while(|word| is_keyword(word))
        .take(2)
        .collect();
    let statement = if words.is_empty() {
        "this statement".to_owned()
    } else {
        words.join(" ").to_uppercase()
    };
    QueryError::ReadOnly { statement }
}

fn is_keyword(word: &str) -> bool {
    word.chars().all(|letter| letter.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statements that read are accepted.
    #[test]
    fn reading_is_allowed() {
        for sql in [
            "select * from logs",
            "SELECT count(*) FROM logs WHERE body ~ 'x' -- comment",
            "with a as (select 1) select * from a union all select 2;",
            "values (1), (2)",
            "explain select 1",
            "show tables",
            "describe logs",
            "show columns from logs",
            "select tags['app_name'] from logs",
        ] {
            parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    /// Statements that write are refused, and the error names the statement.
    #[test]
    fn writing_is_refused() {
        for (sql, statement) in [
            ("create table x as select 1", "CREATE TABLE"),
            (
                "create external table x stored as csv location '/etc/passwd'",
                "CREATE EXTERNAL",
            ),
            ("copy (select 1) to '/tmp/x.csv'", "COPY"),
            ("insert into logs values (1)", "INSERT INTO"),
            ("with a as (select 1) insert into logs select * from a", "INSERT INTO"),
            ("delete from logs", "DELETE FROM"),
            ("update logs set body = ''", "UPDATE"),
            ("drop table logs", "DROP TABLE"),
            ("set datafusion.execution.batch_size = 1", "SET"),
            ("explain delete from logs", "DELETE FROM"),
            ("prepare x as select 1", "PREPARE"),
            ("select 1 into x", "SELECT INTO"),
        ] {
            match parse(sql) {
                Err(QueryError::ReadOnly { statement: found }) => assert_eq!(found, statement, "{sql}"),
                other => panic!("{sql}: {other:?}"),
            }
        }
    }

    /// A text that is not exactly one statement is refused.
    #[test]
    fn a_query_is_one_statement() {
        for sql in ["", "  -- nothing", "select 1; drop table logs", "select 1; select 2"] {
            assert!(parse(sql).is_err(), "{sql}");
        }
    }

    /// Queries that could overflow a stack are refused before a tree is built.
    #[test]
    fn size_and_depth_are_limited() {
        // The engine parses on threads with this stack too.
        let thread = std::thread::Builder::new()
            .stack_size(crate::engine::STACK)
            .spawn(limits)
            .expect("a thread");
        thread.join().expect("no overflow");
    }

    fn limits() {
        let many = |count: usize, what: &str| format!("select 1 {}", what.repeat(count));
        for sql in [
            many(100_000, "+ 1"),
            many(3_000, "union all select 1 "),
            many(3_000, ", a.b"),
            format!("select {}1{}", "(".repeat(500), ")".repeat(500)),
            format!("select {}1", "- ".repeat(1_000)),
            format!("select {} true", "not ".repeat(900)),
            "x".repeat(MAX_TEXT + 1),
        ] {
            assert!(parse(&sql).is_err(), "{}…", &sql[..40]);
        }
        let values: Vec<String> = (0..20_000).map(|value| value.to_string()).collect();
        parse(&format!("select * from logs where seq in ({})", values.join(", "))).expect("a long list is flat");
    }

    /// Short texts with large plans are refused, for each construct that makes plans large. Common queries are
    /// accepted.
    #[test]
    fn plans_are_limited() {
        let thread = std::thread::Builder::new()
            .stack_size(crate::engine::STACK)
            .spawn(plans)
            .expect("a thread");
        thread.join().expect("no overflow");
    }

    fn plans() {
        let list = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
        let number = |number: usize| number.to_string();
        let nested = |levels: usize, step: &dyn Fn(usize) -> String| {
            let steps = list(levels, &|level| format!("t{} as ({})", level + 1, step(level)));
            format!("with t0 as (select body as x from logs), {steps} select * from t{levels}")
        };
        for sql in [
            // Long lists of columns, in each clause that has one.
            format!("select {}", list(6_000, &number)),
            format!("values ({})", list(6_000, &number)),
            format!("select 1 order by {}", list(6_000, &|_| "1".to_owned())),
            format!("select 1 group by {}", list(6_000, &|_| "1".to_owned())),
            format!("select 1 in ({})", list(100_000, &|_| "1".to_owned())),
            // Many columns of many relations.
            format!(
                "with a as (select {}) select 1 from {}",
                list(400, &number),
                list(200, &|alias| format!("a a{alias}"))
            ),
            format!("select 1 from {}", list(200, &|alias| format!("logs a{alias}"))),
            format!("select 1 from logs {}", "cross join (select * from logs) ".repeat(90)),
            // Common table expressions that name the one before twice, in relations, unions and subqueries.
            nested(30, &|level| format!("select a.x from t{level} a, t{level} b")),
            nested(30, &|level| {
                format!("select x from t{level} union all select x from t{level}")
            }),
            nested(30, &|level| {
                format!("select (select max(x) from t{level}) as x from t{level}")
            }),
            nested(30, &|level| {
                format!("select x from t{level} where x in (select x from t{level})")
            }),
            nested(30, &|level| format!("select * from t{level} natural join t{level} u")),
            // Columns that use the one before twice, under any name.
            nested(30, &|level| format!("select x || x as x from t{level} where x <> ''")),
            nested(30, &|level| format!("select X || \"x\" as X from t{level}")),
            nested(30, &|level| format!("select y || y from t{level} as u(y)")),
            nested(30, &|level| {
                format!("select case when x = '' then x else x end as x from t{level} order by 1")
            }),
            nested(30, &|level| format!("select (select u.x || u.x) as x from t{level} u")),
            // Grouping sets.
            format!("select count(*) from logs group by cube ({})", list(14, &number)),
            format!(
                "select count(*) from logs group by {}",
                list(9, &|_| "rollup (1, 2, 3)".to_owned())
            ),
            // Nestings that the parser reads twice at each level.
            format!("select {}body{} from logs", "upper(".repeat(40), ")".repeat(40)),
            format!("select 1 from {}logs{}", "(".repeat(40), ")".repeat(40)),
            format!("select {}1{}", "array[".repeat(40), "]".repeat(40)),
            // Long names.
            format!("select 1 as {}", "x".repeat(2_000)),
            format!("select '{}'", "x".repeat(2_000)),
            format!("select * from logs as {}", "x".repeat(2_000)),
        ] {
            match parse(&sql) {
                Err(QueryError::TooComplex { .. } | QueryError::NameTooLong { .. }) => {}
                other => panic!("{}…: {:?}", &sql[..sql.len().min(200)], other.map(|_| "allowed")),
            }
        }
        for sql in [
            format!("select {} from logs", list(300, &number)),
            format!("select 1 from {}", list(20, &|alias| format!("logs a{alias}"))),
            nested(20, &|level| {
                format!("select x, length(x) as n from t{level} where x like 'a%' and x <> 'b'")
            }),
            nested(8, &|level| format!("select x || '-' || x as x from t{level}")),
            "select source_id, stream, count(*) from logs group by cube (source_id, stream, instance_id)".to_owned(),
            "with recursive t as (select 1 as n union all select n + 1 from t where n < 9) select n from t".to_owned(),
        ] {
            parse(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
}
