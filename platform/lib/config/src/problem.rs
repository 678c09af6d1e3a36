//! The problems of a configuration, collected for one report.

use std::fmt;

use serde::Serialize;
use weir_error::{Classify, ErrorKind};

/// A problem of one setting, or of the configuration as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key with its levels, such as `ingress.listen`. Empty if the problem concerns the file as a whole.
    pub key: String,
    /// The value as it was given, unless it is a secret or a table.
    pub value: Option<String>,
    /// The place where the value was given: `doppler.toml:3`, `env DOPPLER__INGRESS__LISTEN` or `flag`. `None` if the
    /// problem was found by validation, which does not know the place.
    pub origin: Option<String>,
    /// What is wrong, or which values are allowed.
    pub reason: String,
    /// What the operator probably meant.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(formatter, "`{}`", self.key)?;
            if let Some(value) = &self.value {
                write!(formatter, " = `{value}`")?;
            }
        }
        match (&self.origin, self.key.is_empty()) {
            (Some(origin), true) => write!(formatter, "{origin}: ")?,
            (Some(origin), false) => write!(formatter, " ({origin}): ")?,
            (None, true) => {}
            (None, false) => formatter.write_str(": ")?,
        }
        formatter.write_str(&self.reason)?;
        match &self.hint {
            Some(hint) => write!(formatter, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The problems of a configuration, shown one per line. Validation collects problems in it and ends with
/// [`Problems::into_result`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Adds a problem with `key` unless `holds` is true. `allowed` completes the sentence "must be".
    pub fn require(&mut self, holds: bool, key: &str, value: impl fmt::Display, allowed: impl fmt::Display) {
        if !holds {
            self.push(Problem {
                key: key.to_owned(),
                value: Some(value.to_string()),
                origin: None,
                reason: format!("must be {allowed}"),
                hint: None,
            });
        }
    }

    /// Adds a problem with `key`, whose value is not allowed. `allowed` completes the sentence "must be".
    pub fn refuse(&mut self, key: &str, value: &impl Serialize, allowed: impl fmt::Display) {
        let shown = toml::Value::try_from(value).ok().map(|value| match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        });
        self.push(Problem {
            key: key.to_owned(),
            value: shown,
            origin: None,
            reason: format!("must be {allowed}"),
            hint: None,
        });
    }

    /// Returns the value, and adds a problem with `key` if there is none.
    pub fn required<T>(&mut self, value: Option<T>, key: &str) -> Option<T> {
        if value.is_none() {
            self.reject(key, "must be set");
        }
        value
    }

    /// Returns the value of a conversion, and adds its error as a problem with `key` if it has failed.
    pub fn accept<T, E: fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.reject(key, error)).ok()
    }

    /// Adds a problem with `key` without showing its value.
    pub fn reject(&mut self, key: &str, reason: impl fmt::Display) {
        self.push(Problem {
            key: key.to_owned(),
            value: None,
            origin: None,
            reason: reason.to_string(),
            hint: None,
        });
    }

    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Adds the problems of a part of the configuration, whose keys are below `prefix`.
    pub fn nest(&mut self, prefix: &str, part: Self) {
        self.list.extend(part.list.into_iter().map(|problem| {
            let key = if problem.key.is_empty() {
                prefix.to_owned()
            } else {
                format!("{prefix}.{}", problem.key)
            };
            Problem { key, ..problem }
        }));
    }

    /// Adds those problems whose keys have none yet. A value that could not be read was replaced by its default, so
    /// that the result of its validation means nothing.
    pub(crate) fn merge(&mut self, later: Self) {
        let known: Vec<String> = self.list.iter().map(|problem| problem.key.clone()).collect();
        self.list
            .extend(later.list.into_iter().filter(|problem| !known.contains(&problem.key)));
    }

    /// Whether there are no problems so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Returns `value` if there are no problems.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Returns the result of `make` if there are no problems. It is for configurations that can only be made of valid
    /// values.
    ///
    /// # Errors
    /// The problems, if there are any. If `make` returns `None`, the problem is that the configuration is incomplete.
    pub fn into_result_with<T>(mut self, make: impl FnOnce() -> Option<T>) -> Result<T, Self> {
        if !self.is_empty() {
            return Err(self);
        }
        make().ok_or_else(|| {
            self.reject("", "configuration is incomplete");
            self
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.as_slice() {
            [] => formatter.write_str("configuration is fine"),
            [problem] => write!(formatter, "configuration is not usable: {problem}"),
            problems => {
                write!(formatter, "configuration has {} problems:", problems.len())?;
                problems
                    .iter()
                    .try_for_each(|problem| write!(formatter, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}

impl Classify for Problems {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Problems are collected, get the prefix of their part, and are shown in one report.
    #[test]
    fn problems_are_collected_into_one_report() {
        let mut part = Problems::default();
        part.require(true, "listen", "a", "b");
        part.require(false, "queue", 0, "1 to 10");
        let mut all = Problems::default();
        assert_eq!(all.clone().into_result(1), Ok(1));
        all.nest("ingress", part);
        assert_eq!(all.required::<u8>(None, "token"), None);
        assert_eq!(all.accept("port", "x".parse::<u16>()), None);
        assert_eq!(all.accept("port", "1".parse::<u16>()), Some(1));
        assert_eq!(
            all.into_result(()).unwrap_err().to_string(),
            "configuration has 3 problems:\n  `ingress.queue` = `0`: must be 1 to 10\n  `token`: must be set\n  \
             `port`: invalid digit found in string"
        );
    }

    /// A single problem is shown in one line, and a key that has a problem gets no second one.
    #[test]
    fn each_key_has_one_problem() {
        let mut first = Problems::default();
        first.reject("a", "is odd");
        let mut second = first.clone();
        second.require(false, "a", 1, "even");
        first.merge(second);
        assert_eq!(first.to_string(), "configuration is not usable: `a`: is odd");
        assert!(Problems::default().into_result_with(|| None::<()>).is_err());
        assert_eq!(Problems::default().into_result_with(|| Some(4)), Ok(4));
    }
}
