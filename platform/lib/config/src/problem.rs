//! Everything that is wrong with a configuration, for one report.

use std::fmt;

use serde::Serialize;
use weir_error::{Classify, ErrorKind};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key with its levels: `ingress.listen`. Empty if the file as a whole is meant.
    pub key: String,
    /// The value as it was given, unless it is a secret or a table.
    pub value: Option<String>,
    /// Where it was given: `doppler.toml:3`, `env DOPPLER__INGRESS__LISTEN`, `flag`. `None` for validated values.
    pub origin: Option<String>,
    /// What is wrong, or what is allowed.
    pub reason: String,
    /// What probably was meant.
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

/// All that is wrong, one per line. Empty while nothing is: collect into it, then [`Problems::into_result`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Notes a problem with `key` unless `holds`. `allowed` completes the sentence "must be".
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

    /// Notes that the value of `key` is out of its range. `allowed` completes the sentence "must be".
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

    /// The value if there is one; notes a problem with `key` if not.
    pub fn required<T>(&mut self, value: Option<T>, key: &str) -> Option<T> {
        if value.is_none() {
            self.reject(key, "must be set");
        }
        value
    }

    /// The value of a conversion; notes its error as a problem with `key` if it failed.
    pub fn accept<T, E: fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.reject(key, error)).ok()
    }

    /// Notes a problem with `key`, whose value is not worth showing.
    pub fn reject(&mut self, key: &str, reason: impl fmt::Display) {
        self.push(Problem {
            key: key.to_owned(),
            value: None,
            origin: None,
            reason: reason.to_string(),
            hint: None,
        });
    }

    /// Notes a problem.
    pub fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Takes over the problems of a part whose keys are below `prefix`.
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

    /// Takes over problems with keys that have none yet: a value that could not be read need not be validated too.
    pub(crate) fn merge(&mut self, later: Self) {
        let known: Vec<String> = self.list.iter().map(|problem| problem.key.clone()).collect();
        self.list
            .extend(later.list.into_iter().filter(|problem| !known.contains(&problem.key)));
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// `value` if nothing is wrong.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// What `make` makes if nothing is wrong: for configurations that cannot be made otherwise.
    ///
    /// # Errors
    /// The problems, if there are any, or if `make` has nothing without saying why.
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

    /// Problems collect, nest under their part, and turn into one report.
    #[test]
    fn collects_into_one_report() {
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

    /// A single problem is told in one line; what has one already gets no second.
    #[test]
    fn says_each_thing_once() {
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
