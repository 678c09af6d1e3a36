//! The parsers of untrusted input, for the fuzz targets. They are not part of the interface.

use weir_db::Dialect;

use crate::http::form::Form;
use crate::http::redirect::is_registered;
use crate::http::scim;

/// Returns the fields of a form or a query string, in the order of their names; `None` if the text is refused.
#[must_use]
pub fn form(text: &[u8]) -> Option<Vec<(String, String)>> {
    let form = Form::parse(text).ok()?;
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Some(form.iter().map(owned).collect())
}

/// Returns the SQL condition of a SCIM filter of users, and the number of its values; `None` if the filter is refused.
#[must_use]
pub fn filter(text: &str, dialect: Dialect) -> Option<(String, usize)> {
    let condition = scim::filter::parse(text, scim::users::ATTRIBUTES, dialect).ok()?;
    Some((condition.sql, condition.values.len()))
}

/// Whether a client that registered the redirect URI `known` may use `named`.
#[must_use]
pub fn redirect(known: &str, named: &str) -> bool {
    is_registered(known, named)
}
