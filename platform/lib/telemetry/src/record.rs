//! The fields of one event or span, collected once and with secrets redacted.

use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};

const REDACTED: &str = "[redacted]";

/// The fields in the order of the event. The message is separate.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) message: String,
    pub(crate) fields: Vec<(&'static str, Value)>,
    /// The target of an event from the `log` crate.
    pub(crate) log_target: Option<String>,
}

impl Record {
    fn put(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        match field.name() {
            "message" => self.message = text(value()),
            "log.target" => self.log_target = Some(text(value())),
            name if name.starts_with("log.") => {}
            name if is_secret(name) => self.fields.push((name, REDACTED.into())),
            name => self.fields.push((name, value())),
        }
    }

    /// Writes `message key=value …`.
    pub(crate) fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(&self.message)?;
        let mut separator = if self.message.is_empty() { "" } else { " " };
        for (name, value) in &self.fields {
            write!(out, "{separator}{name}=")?;
            separator = " ";
            write_value(out, value)?;
        }
        Ok(())
    }
}

impl Visit for Record {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, || value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, || value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, || value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, || value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, || value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, || weir_error::chain(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, || format!("{value:?}").into());
    }
}

/// Returns whether a field of this name contains a secret. The last word decides: `client_secret`, but not
/// `token_count`.
pub(crate) fn is_secret(name: &str) -> bool {
    let last = name.rsplit(['.', '_', '-']).next().unwrap_or(name);
    [
        "token",
        "password",
        "passwd",
        "authorization",
        "secret",
        "cookie",
        "credentials",
    ]
    .iter()
    .any(|secret| last.eq_ignore_ascii_case(secret))
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Writes a value for readers of `key=value` pairs: quoted if it is not one word.
fn write_value(out: &mut impl fmt::Write, value: &Value) -> fmt::Result {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"', '=', '\n', '\t']) => write!(out, "{text:?}"),
        Value::String(text) => out.write_str(text),
        other => write!(out, "{other}"),
    }
}

/// Appends `text` to `out`, cut at a character so that `out` has at most `limit` bytes.
pub(crate) fn push_cut(out: &mut String, text: &str, limit: usize) {
    const MARK: &str = "… [cut]";
    if out.len() + text.len() <= limit {
        out.push_str(text);
        return;
    }
    let room = limit.saturating_sub(out.len() + MARK.len());
    out.push_str(&text[..text.floor_char_boundary(room)]);
    let _infallible = out.write_str(MARK);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last word of the name decides.
    #[test]
    fn secrets_are_recognised_by_their_names() {
        for name in [
            "token",
            "Password",
            "client_secret",
            "http.authorization",
            "refresh-token",
            "cookie",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["token_count", "tokens", "secretary", "component", ""] {
            assert!(!is_secret(name), "{name}");
        }
    }

    /// A value is one word or quoted.
    #[test]
    fn values_stay_apart() {
        let record = Record {
            message: "consumer is slow".into(),
            fields: vec![
                ("peer", "a b".into()),
                ("count", 3.into()),
                ("shard", "s".into()),
                ("empty", "".into()),
            ],
            log_target: None,
        };
        let mut text = String::new();
        record.write(&mut text).unwrap();
        assert_eq!(text, "consumer is slow peer=\"a b\" count=3 shard=s empty=\"\"");
    }

    /// A long text is cut at a character and marked.
    #[test]
    fn long_texts_are_cut() {
        let mut out = String::new();
        push_cut(&mut out, &"ä".repeat(100), 50);
        assert!(out.len() <= 50 && out.ends_with("ä… [cut]"), "{out}");
        let mut out = String::from("a");
        push_cut(&mut out, "b", 2);
        assert_eq!(out, "ab");
    }
}
