//! The URL of a database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{DbError, Dialect};

/// The URL of a database with its secrets. `Display` and `Debug` show it without user, password and parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    dialect: Dialect,
    text: String,
    shown: String,
}

impl DatabaseUrl {
    /// Returns the URL of a SQLite file.
    #[must_use]
    pub fn sqlite(path: &Path) -> Self {
        let text = format!("sqlite://{}", path.display());
        Self {
            dialect: Dialect::Sqlite,
            shown: text.clone(),
            text,
        }
    }

    /// The SQL dialect that the scheme names. For MySQL and MariaDB, only the server tells which of them it is.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The whole URL, with its secrets.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// The whole URL, for tests that pass it to another program.
    #[cfg(feature = "test-servers")]
    #[must_use]
    pub fn reveal_for_tests(&self) -> String {
        self.text.clone()
    }

    /// The path of a SQLite file; `None` for a server.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        (self.dialect == Dialect::Sqlite)
            .then(|| self.text.strip_prefix("sqlite://"))
            .flatten()
            .map(PathBuf::from)
    }
}

impl FromStr for DatabaseUrl {
    type Err = DbError;

    fn from_str(text: &str) -> Result<Self, DbError> {
        let invalid = || DbError::Url {
            scheme: text.split(':').next().unwrap_or_default().chars().take(16).collect(),
        };
        if let Some(path) = text.strip_prefix("sqlite://") {
            if path.is_empty() || path.contains(['?', '\0']) {
                return Err(invalid());
            }
            return Ok(Self::sqlite(Path::new(path)));
        }
        let parsed = url::Url::parse(text).map_err(|_| invalid())?;
        let dialect = match parsed.scheme() {
            "postgres" | "postgresql" => Dialect::Postgres,
            // `Database::open` asks the server which of the two it is.
            "mysql" | "mariadb" => Dialect::MySql,
            _ => return Err(invalid()),
        };
        if parsed.path().trim_matches('/').is_empty() {
            return Err(invalid());
        }
        let text = match text.strip_prefix("mariadb:") {
            Some(rest) => format!("mysql:{rest}"),
            None => text.to_owned(),
        };
        let shown = format!(
            "{}://{}{}{}",
            parsed.scheme(),
            parsed.host_str().unwrap_or_default(),
            parsed.port().map(|port| format!(":{port}")).unwrap_or_default(),
            parsed.path()
        );
        Ok(Self { dialect, text, shown })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheme selects the dialect, and neither `Display` nor `Debug` shows user, password or parameters.
    #[test]
    fn urls_are_parsed_and_shown_without_secrets() {
        for (text, dialect, shown) in [
            ("sqlite:///var/uaa.db", Dialect::Sqlite, "sqlite:///var/uaa.db"),
            ("sqlite://uaa.db", Dialect::Sqlite, "sqlite://uaa.db"),
            (
                "postgres://me:pw@db.internal:5433/uaa?sslmode=require",
                Dialect::Postgres,
                "postgres://db.internal:5433/uaa",
            ),
            ("mysql://me:pw@db/uaa", Dialect::MySql, "mysql://db/uaa"),
            ("mariadb://me:pw@db/uaa", Dialect::MySql, "mariadb://db/uaa"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.dialect(), dialect, "{text}");
            assert_eq!(
                (url.to_string(), format!("{url:?}")),
                (shown.to_owned(), shown.to_owned())
            );
        }
        for text in [
            "",
            "sqlite://",
            "uaa.db",
            "postgres://host",
            "oracle://host/x",
            "sqlite://a?mode=ro",
        ] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
        let error = "s3cret-token-that-is-no-scheme".parse::<DatabaseUrl>().unwrap_err();
        assert!(!error.to_string().contains("no-scheme"), "{error}");
    }
}
