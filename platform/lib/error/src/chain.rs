//! An error and its causes on one line.

use std::error::Error;

/// The texts of `error` and its causes, separated by `: `: the `error` field of a log line. A cause whose text its parent
/// repeats already, as libraries do, is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !next.is_empty() && !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("drain `a` is not reachable")]
    struct Unreachable(#[source] std::io::Error);

    #[derive(Debug, Error)]
    #[error("outer: {0}")]
    struct Repeating(#[source] std::io::Error);

    /// The cause comes after a colon.
    #[test]
    fn causes_follow() {
        let error = Unreachable(std::io::Error::other("refused"));
        assert_eq!(chain(&error), "drain `a` is not reachable: refused");
    }

    /// A cause that its parent's text repeats appears once.
    #[test]
    fn repeats_no_cause() {
        assert_eq!(chain(&Repeating(std::io::Error::other("inner"))), "outer: inner");
    }
}
