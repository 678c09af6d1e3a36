//! What the three servers do not share.

use std::borrow::Cow;

/// Most characters of an `{id}`.
const LONGEST_ID: usize = 255;

/// Which language a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 12 or later.
    Postgres,
    /// MySQL 8 or later.
    MySql,
    /// MariaDB 10.5 or later.
    MariaDb,
}

impl Dialect {
    /// Whether it is one of the MySQL family.
    #[must_use]
    pub const fn is_mysql(self) -> bool {
        matches!(self, Self::MySql | Self::MariaDb)
    }

    /// The suffix of a `select` that locks its rows until the transaction ends. SQLite needs none: a transaction that
    /// writes is alone.
    #[must_use]
    pub const fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres | Self::MySql | Self::MariaDb => " for update",
        }
    }

    /// The suffix of a `select` that keeps its rows as they are until the transaction ends, together with others who do
    /// the same: who wants to change them waits.
    #[must_use]
    pub const fn for_share(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for share",
            // The older form: MariaDB knows no other.
            Self::MySql | Self::MariaDb => " lock in share mode",
        }
    }

    /// An expression for the place of `?` in `column`, from 1; 0 if it is not there. Compares as the column does.
    #[must_use]
    pub fn position_in(self, column: &str) -> String {
        match self {
            Self::Postgres => format!("strpos({column}, ?)"),
            Self::Sqlite | Self::MySql | Self::MariaDb => format!("instr({column}, ?)"),
        }
    }

    /// An `insert` that leaves a row alone whose key is there already. On MySQL it fails then, which ends no transaction
    /// there; to be "ignored", mistakes would be too.
    pub(crate) fn insert_new(self, table: &str, columns: &[&str]) -> String {
        let end = if self.is_mysql() { "" } else { " on conflict do nothing" };
        format!(
            "insert into {table} ({}) values ({}){end}",
            columns.join(", "),
            marks(columns.len())
        )
    }

    /// An `insert` that overwrites the row with the same `key`, which is the table's primary key.
    #[must_use]
    pub fn insert_or_replace(self, table: &str, key: &[&str], others: &[&str]) -> String {
        let columns = [key, others].concat();
        let (names, marks) = (columns.join(", "), marks(columns.len()));
        let assign =
            |form: &dyn Fn(&str) -> String| others.iter().map(|name| form(name)).collect::<Vec<_>>().join(", ");
        match self {
            Self::Sqlite | Self::Postgres => format!(
                "insert into {table} ({names}) values ({marks}) on conflict ({}) do update set {}",
                key.join(", "),
                assign(&|name| format!("{name} = excluded.{name}"))
            ),
            // The older form: MariaDB does not know the alias that MySQL prefers.
            Self::MySql | Self::MariaDb => format!(
                "insert into {table} ({names}) values ({marks}) on duplicate key update {}",
                assign(&|name| format!("{name} = values({name})"))
            ),
        }
    }

    /// Column types written once, for every server:
    ///
    /// | written | meaning |
    /// |---|---|
    /// | `{id}` | text of at most 255 characters, may be a key; compares by its bytes |
    /// | `{text}` | text of at most 16 MiB |
    /// | `{integer}` | 64 bits |
    /// | `{boolean}` | true or false |
    /// | `{bytes}` | at most 16 MiB |
    /// | `{serial}` | a primary key that counts up |
    #[must_use]
    pub fn expand(self, statement: &str) -> String {
        let types: [(&str, &str); 6] = match self {
            Self::Sqlite => [
                ("{id}", "text"),
                ("{text}", "text"),
                ("{integer}", "integer"),
                ("{boolean}", "boolean"),
                ("{bytes}", "blob"),
                ("{serial}", "integer primary key autoincrement"),
            ],
            Self::Postgres => [
                ("{id}", "varchar(255) collate \"C\""),
                ("{text}", "text collate \"C\""),
                ("{integer}", "bigint"),
                ("{boolean}", "boolean"),
                ("{bytes}", "bytea"),
                ("{serial}", "bigserial primary key"),
            ],
            Self::MySql | Self::MariaDb => [
                ("{id}", "varchar(255)"),
                ("{text}", "mediumtext"),
                ("{integer}", "bigint"),
                ("{boolean}", "boolean"),
                ("{bytes}", "mediumblob"),
                ("{serial}", "bigint auto_increment primary key"),
            ],
        };
        let mut text = statement.trim().to_owned();
        if self == Self::Sqlite {
            text = with_lengths(&text);
        }
        for (name, means) in types {
            text = text.replace(name, means);
        }
        if self.is_mysql() && text.to_ascii_lowercase().starts_with("create table") {
            text.push_str(" engine = InnoDB default character set utf8mb4 collate ");
            text.push_str(self.collation());
        }
        text
    }

    /// The collation that compares bytes and does not ignore trailing blanks.
    const fn collation(self) -> &'static str {
        match self {
            Self::MariaDb => "utf8mb4_nopad_bin",
            Self::MySql => "utf8mb4_0900_bin",
            Self::Sqlite | Self::Postgres => "",
        }
    }

    /// `?` in the form that the server takes. Texts in quotes are left alone.
    pub(crate) fn placeholders<'t>(self, text: &Cow<'t, str>) -> Cow<'t, str> {
        if self != Self::Postgres || !text.contains('?') {
            return text.clone();
        }
        let mut numbered = String::with_capacity(text.len() + 16);
        let (mut quote, mut count) = (None, 0_u32);
        for character in text.chars() {
            match (quote, character) {
                (None, '?') => {
                    count += 1;
                    numbered.push('$');
                    numbered.push_str(&count.to_string());
                    continue;
                }
                (None, '\'' | '"') => quote = Some(character),
                (Some(open), _) if open == character => quote = None,
                _ => {}
            }
            numbered.push(character);
        }
        Cow::Owned(numbered)
    }
}

/// SQLite knows no lengths of texts: each `{id}` checks its own, so that what fits here fits on a server too.
fn with_lengths(statement: &str) -> String {
    const ID: &str = "{id}";
    let mut parts = statement.split(ID);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let column = text
            .trim_end()
            .rsplit([' ', '(', ',', '\n'])
            .next()
            .unwrap_or_default()
            .to_owned();
        text.push_str(&format!("{ID} check (length({column}) <= {LONGEST_ID})"));
        text.push_str(part);
    }
    text
}

/// `?, ?, ?`
fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Question marks become numbers for PostgreSQL only, and not within quotes.
    #[test]
    fn placeholders_are_numbered() {
        let text = Cow::Borrowed("select '?', \"a?\" from t where a = ? and b = ?");
        assert_eq!(
            Dialect::Postgres.placeholders(&text),
            "select '?', \"a?\" from t where a = $1 and b = $2"
        );
        assert_eq!(Dialect::Sqlite.placeholders(&text), text);
    }

    /// One text makes a table everywhere; MySQL is told how text compares.
    #[test]
    fn types_expand() {
        let text = "create table t (id {id} primary key, at {integer} not null)";
        assert_eq!(
            Dialect::Sqlite.expand(text),
            "create table t (id text check (length(id) <= 255) primary key, at integer not null)"
        );
        assert_eq!(
            Dialect::Sqlite.expand("alter table t add column colour {id}"),
            "alter table t add column colour text check (length(colour) <= 255)"
        );
        assert!(Dialect::MariaDb.expand(text).ends_with("collate utf8mb4_nopad_bin"));
        assert!(Dialect::MySql.expand(text).ends_with("collate utf8mb4_0900_bin"));
        assert!(!Dialect::MySql.expand("create index i on t (id)").contains("collate"));
    }
}
