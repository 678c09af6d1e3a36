//! Replaces time zones in a query by their names in the IANA time zone database, or by an offset.
//!
//! DataFusion accepts any text after `AT TIME ZONE`, and fails only when it writes the answer. Here the zone is looked
//! up first, without regard to case, and replaced by the name that readers of the answer know.

use std::ops::ControlFlow;

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Schema};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Value, ValueWithSpan, visit_expressions_mut,
};

use crate::error::QueryError;
use weir_error::nearest;

/// Returns `statement` with the standard names of all time zones in it.
///
/// # Errors
/// If a time zone does not exist.
pub(crate) fn resolve(mut statement: Statement) -> Result<Statement, QueryError> {
    let mut inner = &mut statement;
    let ast = loop {
        match inner {
            Statement::Explain(explain) => inner = &mut explain.statement,
            Statement::Statement(ast) => break ast,
            _ => return Ok(statement),
        }
    };
    let visited = visit_expressions_mut(&mut **ast, |expression| {
        let Some(name) = named(expression) else {
            return ControlFlow::Continue(());
        };
        match canonical(name) {
            Some(known) => {
                *name = known;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(unknown(name)),
        }
    });
    match visited {
        ControlFlow::Continue(()) => Ok(statement),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Checks that the time zones of all columns exist.
///
/// # Errors
/// If one of them does not exist.
pub(crate) fn check(schema: &Schema) -> Result<(), QueryError> {
    schema
        .fields()
        .iter()
        .try_for_each(|field| check_type(field.data_type()))
}

fn check_type(data_type: &DataType) -> Result<(), QueryError> {
    match data_type {
        DataType::Timestamp(_, Some(zone)) if zone.parse::<Tz>().is_err() => Err(unknown(zone)),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => check_type(field.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_type(field.data_type())),
        DataType::Dictionary(_, values) => check_type(values),
        _ => Ok(()),
    }
}

/// Returns the time zone that an expression names, if it names one.
fn named(expression: &mut Expr) -> Option<&mut String> {
    match expression {
        Expr::AtTimeZone { time_zone, .. } => literal(time_zone),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("from_unixtime") => {
            let FunctionArguments::List(arguments) = &mut function.args else {
                return None;
            };
            match arguments.args.get_mut(1)? {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(zone)) => literal(zone),
                _ => None,
            }
        }
        _ => None,
    }
}

fn literal(expression: &mut Expr) -> Option<&mut String> {
    match expression {
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text),
            ..
        }) => Some(text),
        _ => None,
    }
}

/// Returns the standard name of a time zone, or its offset as `+HH:MM`; `None` if it does not exist.
fn canonical(name: &str) -> Option<String> {
    let name = name.trim();
    if ["utc", "z", "gmt"].iter().any(|utc| name.eq_ignore_ascii_case(utc)) {
        return Some("UTC".to_owned());
    }
    let listed = || {
        chrono_tz::TZ_VARIANTS
            .iter()
            .find(|zone| zone.name().eq_ignore_ascii_case(name))
    };
    offset(name).or_else(|| listed().map(|zone| zone.name().to_owned()))
}

/// Returns an offset such as `+5:30`, `+0530` or `+5` in the form `+05:30`.
fn offset(text: &str) -> Option<String> {
    let sign = text.chars().next().filter(|sign| matches!(sign, '+' | '-'))?;
    let digits = &text[1..];
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() > 2 => digits.split_at_checked(digits.len() - 2)?,
        None => (digits, "00"),
    };
    let number = |text: &str| {
        let plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u8>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then(|| format!("{sign}{hours:02}:{minutes:02}"))
}

/// Returns the error for a time zone that does not exist.
fn unknown(name: &str) -> QueryError {
    let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    // A text of 4 letters or fewer is similar to many names by chance.
    let hint = match nearest(name, names).filter(|_| name.len() > 4) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "write a name of the IANA's list, as `Europe/Berlin`, or an offset, as `+02:00`".to_owned(),
    };
    QueryError::Invalid {
        message: format!("time zone `{name}` is not known"),
        hint: Some(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in any case and offsets in any form are accepted. Ambiguous abbreviations are refused: `IST` stands for
    /// three zones.
    #[test]
    fn zones_are_known() {
        for (written, known) in [
            ("UTC", "UTC"),
            ("utc", "UTC"),
            ("z", "UTC"),
            ("europe/berlin", "Europe/Berlin"),
            ("AMERICA/NEW_YORK", "America/New_York"),
            ("est", "EST"),
            ("+5:30", "+05:30"),
            ("-0930", "-09:30"),
            ("+2", "+02:00"),
            ("+00:00", "+00:00"),
        ] {
            let found = canonical(written).unwrap_or_else(|| panic!("{written} is known"));
            assert_eq!(found, known);
            assert!(found.parse::<Tz>().is_ok(), "{found}");
        }
        for unknown in [
            "CEST",
            "IST",
            "",
            "+",
            "+24:00",
            "+5:60",
            "+1:2:3",
            "+é0",
            "Mars/Olympus",
            "UTC+2",
            "+123456",
        ] {
            assert_eq!(canonical(unknown), None, "{unknown}");
        }
    }
}
