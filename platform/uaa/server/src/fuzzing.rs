//! The parsers that read what strangers send, for the fuzz targets. No part of the interface.

use weir_db::Dialect;

use crate::http::form::Form;
use crate::http::redirect::is_registered;
use crate::http::scim;

/// The fields of a form or a query string, in the order of their names; `None` if it is refused.
#[must_use]
pub fn form(text: &[u8]) -> Option<Vec<(String, String)>> {
    let form = Form::parse(text).ok()?;
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Some(form.iter().map(owned).collect())
}

/// A SCIM filter of users as an SQL condition, and how many values it takes; `None` if it is refused.
#[must_use]
pub fn filter(text: &str, dialect: Dialect) -> Option<(String, usize)> {
    let condition = scim::filter::parse(text, scim::users::ATTRIBUTES, dialect).ok()?;
    Some((condition.sql, condition.values.len()))
}

/// Whether a client with the redirect URI `known` may name `named`.
#[must_use]
pub fn redirect(known: &str, named: &str) -> bool {
    is_registered(known, named)
}
