//! Translates SCIM filters (`userName eq "marissa" and active eq true`) into SQL conditions.
//!
//! Only names of a fixed table reach the SQL, and values are bound as parameters. Depth, length and the number of comparisons are
//! limited.

use chrono::DateTime;
use weir_db::{Dialect, Value};
use weir_platform_uaa_store::group_key;

use crate::http::ApiError;

/// The most bytes of a filter.
const LONGEST: usize = 64 * 1024;

/// The most comparisons of a filter. The Cloud Controller looks up hundreds of users with one filter.
const MOST: usize = 600;

/// The most levels of parentheses, which bounds the recursion of the parser.
const DEEPEST: usize = 32;

/// An attribute that a filter may compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) column: &'static str,
    pub(crate) kind: Kind,
}

/// The way in which an attribute is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text, compared exactly.
    Exact,
    /// A text, compared in lower case. The column is in lower case.
    Lower,
    /// The name of a group. A whole name is compared by its key (see [`group_key`]), a part of a name without case.
    Group,
    /// `true` or `false`.
    Boolean,
    /// A time. The column has milliseconds since 1970.
    Time,
}

/// An SQL condition and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl Condition {
    /// Returns the condition that all rows meet.
    pub(crate) fn all() -> Self {
        Self {
            sql: "1 = 1".to_owned(),
            values: Vec::new(),
        }
    }
}

/// Returns the column of an attribute.
pub(crate) fn column(attributes: &[Attribute], name: &str) -> Option<&'static str> {
    find(attributes, name).map(|attribute| attribute.column)
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes
        .iter()
        .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// Parses a filter.
pub(crate) fn parse(text: &str, attributes: &[Attribute], dialect: Dialect) -> Result<Condition, ApiError> {
    read(text, attributes, dialect, false)
}

/// Parses a filter with `eq` only. Other operators would let a caller find names by trying prefixes.
pub(crate) fn parse_equality(text: &str, attributes: &[Attribute], dialect: Dialect) -> Result<Condition, ApiError> {
    read(text, attributes, dialect, true)
}

fn read(text: &str, attributes: &[Attribute], dialect: Dialect, equality: bool) -> Result<Condition, ApiError> {
    let invalid = || {
        ApiError::bad_request(
            "scim",
            format!("Invalid filter expression: [{}]", super::super::error::excerpt(text)),
        )
    };
    if text.len() > LONGEST {
        return Err(invalid());
    }
    let tokens = tokens(text).ok_or_else(invalid)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        comparisons: 0,
        attributes,
        dialect,
        equality,
        values: Vec::new(),
    };
    let sql = parser
        .disjunction(0)
        .filter(|_| parser.at == tokens.len())
        .ok_or_else(invalid)?;
    Ok(Condition {
        sql,
        values: parser.values,
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            // The cf CLI and uaac send double quotes. The original also accepts single quotes.
            '"' | '\'' => {
                let mut value = String::new();
                loop {
                    match characters.next()? {
                        '\\' => match characters.next()? {
                            'n' => value.push('\n'),
                            't' => value.push('\t'),
                            escaped @ ('"' | '\'' | '\\' | '/') => value.push(escaped),
                            _ => return None,
                        },
                        end if end == character => break,
                        other => value.push(other),
                    }
                }
                tokens.push(Token::Text(value));
            }
            first if first.is_ascii_alphanumeric() || matches!(first, '-' | '+') => {
                let mut word = String::from(first);
                while let Some(next) = characters
                    .next_if(|next| next.is_ascii_alphanumeric() || matches!(next, '.' | '_' | '-' | '+' | ':' | '$'))
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            _ => return None,
        }
    }
    Some(tokens)
}

struct Parser<'p> {
    tokens: &'p [Token],
    at: usize,
    comparisons: usize,
    attributes: &'p [Attribute],
    dialect: Dialect,
    equality: bool,
    values: Vec<Value>,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<&Token> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    fn accepts_word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        if found {
            self.at += 1;
        }
        found
    }

    /// Parses `a or b or c`.
    fn disjunction(&mut self, depth: usize) -> Option<String> {
        let mut parts = vec![self.conjunction(depth)?];
        while self.accepts_word("or") {
            parts.push(self.conjunction(depth)?);
        }
        Some(joined(parts, " or "))
    }

    /// Parses `a and b and c`.
    fn conjunction(&mut self, depth: usize) -> Option<String> {
        let mut parts = vec![self.term(depth)?];
        while self.accepts_word("and") {
            parts.push(self.term(depth)?);
        }
        Some(joined(parts, " and "))
    }

    fn term(&mut self, depth: usize) -> Option<String> {
        if depth >= DEEPEST {
            return None;
        }
        if !self.equality && self.accepts_word("not") {
            return Some(format!("not ({})", self.term(depth + 1)?));
        }
        if self.tokens.get(self.at) == Some(&Token::Open) {
            self.at += 1;
            let inner = self.disjunction(depth + 1)?;
            return (self.next()? == &Token::Close).then(|| format!("({inner})"));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Option<String> {
        self.comparisons += 1;
        if self.comparisons > MOST {
            return None;
        }
        let Token::Word(name) = self.next()? else { return None };
        let name = name.clone();
        let attribute = *find(self.attributes, &name)?;
        let Token::Word(operator) = self.next()? else {
            return None;
        };
        let operator = operator.to_ascii_lowercase();
        if self.equality && operator != "eq" {
            return None;
        }
        let column = attribute.column;
        if operator == "pr" {
            return Some(match attribute.kind {
                Kind::Exact | Kind::Lower | Kind::Group => format!("({column} is not null and {column} <> '')"),
                Kind::Boolean | Kind::Time => format!("{column} is not null"),
            });
        }
        let value = self.next()?.clone();
        let value: Value = match (attribute.kind, value) {
            (Kind::Exact, Token::Text(text)) => text.into(),
            (Kind::Group, Token::Text(text)) if matches!(operator.as_str(), "eq" | "ne") => group_key(&text).into(),
            (Kind::Lower | Kind::Group, Token::Text(text)) => text.to_lowercase().into(),
            (Kind::Boolean, Token::Word(word) | Token::Text(word)) => match word.to_ascii_lowercase().as_str() {
                "true" => true.into(),
                "false" => false.into(),
                _ => return None,
            },
            (Kind::Time, Token::Text(text)) => DateTime::parse_from_rfc3339(&text).ok()?.timestamp_millis().into(),
            _ => return None,
        };
        let text = matches!(attribute.kind, Kind::Exact | Kind::Lower | Kind::Group);
        let ordered = attribute.kind != Kind::Boolean;
        let part = match attribute.kind {
            Kind::Group => format!("lower({column})"),
            _ => column.to_owned(),
        };
        let sql = match operator.as_str() {
            "eq" => format!("{column} = ?"),
            "ne" => format!("({column} <> ? or {column} is null)"),
            "co" if text => format!("{} > 0", self.dialect.position_in(&part)),
            "sw" if text => format!("{} = 1", self.dialect.position_in(&part)),
            "gt" if ordered => format!("{part} > ?"),
            "ge" if ordered => format!("{part} >= ?"),
            "lt" if ordered => format!("{part} < ?"),
            "le" if ordered => format!("{part} <= ?"),
            _ => return None,
        };
        self.values.push(value);
        Some(sql)
    }
}

fn joined(mut parts: Vec<String>, word: &str) -> String {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    format!("({})", parts.join(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ATTRIBUTES: &[Attribute] = &[
        Attribute {
            name: "id",
            column: "id",
            kind: Kind::Exact,
        },
        Attribute {
            name: "userName",
            column: "user_key",
            kind: Kind::Lower,
        },
        Attribute {
            name: "displayName",
            column: "display_key",
            kind: Kind::Group,
        },
        Attribute {
            name: "active",
            column: "active",
            kind: Kind::Boolean,
        },
        Attribute {
            name: "meta.created",
            column: "created_at",
            kind: Kind::Time,
        },
    ];

    fn sql_of(text: &str) -> Option<(String, Vec<Value>)> {
        let condition = parse(text, ATTRIBUTES, Dialect::Sqlite).ok()?;
        Some((condition.sql, condition.values))
    }

    /// Filters of the cf CLI, uaac and the Cloud Controller are translated.
    #[test]
    fn filters_of_clients_are_translated() {
        for (text, sql, values) in [
            (r#"userName eq "Marissa""#, "user_key = ?", vec!["marissa".into()]),
            (r#"username Eq "a\"b\\""#, "user_key = ?", vec!["a\"b\\".into()]),
            (
                r#"id eq "1" or id eq "2" or id eq '3'"#,
                "(id = ? or id = ? or id = ?)",
                vec!["1".into(), "2".into(), "3".into()],
            ),
            (
                r#"userName co "x" and (active eq true or id pr)"#,
                "(instr(user_key, ?) > 0 and ((active = ? or (id is not null and id <> ''))))",
                vec!["x".into(), true.into()],
            ),
            (
                r#"displayName eq "Cloud_Controller.Read""#,
                "display_key = ?",
                vec!["cloud_controller.read".into()],
            ),
            (
                r#"displayName eq "logs.read.Web""#,
                "display_key = ?",
                vec!["logs.read.Web".into()],
            ),
            (
                r#"displayName sw "logs.read.W""#,
                "instr(lower(display_key), ?) = 1",
                vec!["logs.read.w".into()],
            ),
            (r#"not (id sw "a")"#, "not ((instr(id, ?) = 1))", vec!["a".into()]),
            (
                r#"meta.created ge "2026-01-03T10:11:12.345Z""#,
                "created_at >= ?",
                vec![1_767_435_072_345_i64.into()],
            ),
        ] {
            assert_eq!(sql_of(text), Some((sql.to_owned(), values)), "{text}");
        }
    }

    /// Unknown names, wrong types, trailing text, open quotes and SQL are refused.
    #[test]
    fn malformed_filters_are_refused() {
        for text in [
            "",
            "userName",
            "userName eq",
            "userName eq x",
            r#"password_hash eq "x""#,
            r#"userName eq "x" or"#,
            r#"userName eq "x" userName eq "y""#,
            r#"userName eq "x"#,
            r#"userName eq "x\q""#,
            r#"(userName eq "x""#,
            r#"active eq "maybe""#,
            "active gt true",
            r#"meta.created gt "yesterday""#,
            r#"userName eq "x"; drop table uaa_users"#,
            "1=1",
            "id eq \"x\" -- ",
        ] {
            assert_eq!(sql_of(text), None, "{text}");
        }
        assert_eq!(sql_of(&format!("{}id pr{}", "(".repeat(100), ")".repeat(100))), None);
        assert_eq!(sql_of(&vec!["id pr"; MOST + 1].join(" or ")), None);
        assert!(sql_of(&vec!["id pr"; MOST].join(" or ")).is_some());
        let equality = |text: &str| parse_equality(text, ATTRIBUTES, Dialect::Sqlite).is_ok();
        assert!(equality(r#"id eq "1" or (id eq "2" and userName eq "x co y")"#));
        assert!(!equality("id pr") && !equality(r#"userName co "x""#) && !equality(r#"not (id eq "1")"#));
    }

    proptest! {
        /// No input makes the parser panic, and no value becomes part of the SQL.
        #[test]
        fn no_input_panics(text in "\\PC{0,200}", value in "[a-zA-Z;=*%_ ()-]{1,40}") {
            drop(sql_of(&text));
            let (sql, values) = sql_of(&format!("userName eq \"{value}\"")).unwrap();
            prop_assert_eq!(sql, "user_key = ?");
            prop_assert_eq!(values, vec![Value::from(value.to_lowercase())]);
        }
    }
}
