//! The flags beside a job file, as Go's `flag` package takes them: one dash or two, a value behind `=` or in the next word.

use std::path::PathBuf;

use thiserror::Error;

use super::TimeFormat;

/// The flags of the original.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// `-config`: the job file.
    pub config: PathBuf,
    /// `-ip`: the address at which routers reach the routing API.
    pub ip: String,
    /// `-devMode`: tokens are not checked.
    pub dev_mode: bool,
    /// `-logLevel`: `debug`, `info`, `error` or `fatal`; empty: `info`.
    pub log_level: String,
}

/// Flags cannot be used. The texts are the original's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlagsError {
    /// A flag that the original does not have.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// A flag needs a value and there is none.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// A value that is neither true nor false.
    #[error("invalid boolean value `{1}` for -{0}")]
    Boolean(String, String),
    /// There is no job file.
    #[error("no configuration file provided")]
    NoFile,
    /// There is no address.
    #[error("no ip address provided")]
    NoAddress,
}

impl Flags {
    /// The form of log lines that the words ask for, also if they are wrong otherwise.
    pub(super) fn time_format(words: &[String]) -> TimeFormat {
        let asks = |word: &String| word == "rfc3339" || word.ends_with("timeFormat=rfc3339");
        if words.iter().any(asks) {
            TimeFormat::Rfc3339
        } else {
            TimeFormat::UnixEpoch
        }
    }

    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, FlagsError> {
        let mut flags = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let word = word.as_ref();
            let Some(flag) = word
                .strip_prefix('-')
                .map(|flag| flag.strip_prefix('-').unwrap_or(flag))
            else {
                break;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if name == "devMode" {
                flags.dev_mode = boolean(name, value)?;
                continue;
            }
            if !matches!(name, "config" | "ip" | "logLevel" | "timeFormat") {
                return Err(FlagsError::Unknown(name.to_owned()));
            }
            let value = value.or_else(|| words.next().map(|word| word.as_ref().to_owned()));
            let value = value.ok_or_else(|| FlagsError::NoValue(name.to_owned()))?;
            match name {
                "config" => flags.config = value.into(),
                "ip" => flags.ip = value,
                "logLevel" => flags.log_level = value,
                _ => {}
            }
        }
        if flags.config.as_os_str().is_empty() {
            return Err(FlagsError::NoFile);
        }
        if flags.ip.is_empty() {
            return Err(FlagsError::NoAddress);
        }
        Ok(flags)
    }
}

fn boolean(name: &str, value: Option<String>) -> Result<bool, FlagsError> {
    let value = value.unwrap_or_else(|| "true".to_owned());
    match value.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(FlagsError::Boolean(name.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form of a flag, and what the original says of wrong ones.
    #[test]
    fn flags_are_read() {
        let expected = Flags {
            config: "a.yml".into(),
            ip: "1.2.3.4".to_owned(),
            dev_mode: true,
            log_level: "debug".to_owned(),
        };
        for line in [
            "-config a.yml -ip 1.2.3.4 -devMode -logLevel debug",
            "--config=a.yml --ip=1.2.3.4 -devMode=true -logLevel=debug -timeFormat rfc3339 rest -x",
        ] {
            assert_eq!(Flags::parse(line.split(' ')), Ok(expected.clone()), "{line}");
        }
        for (line, said) in [
            ("-ip x", "no configuration file provided"),
            ("-config x", "no ip address provided"),
            ("-config", "flag needs an argument: -config"),
            ("-check", "flag provided but not defined: -check"),
            ("-devMode=maybe", "invalid boolean value `maybe` for -devMode"),
        ] {
            let error = Flags::parse(line.split(' ')).unwrap_err();
            assert_eq!(error.to_string(), said, "{line}");
        }
    }
}
