//! The differences between the SQL dialects of the servers.

use std::borrow::Cow;

/// The greatest number of characters of an `{id}`.
const LONGEST_ID: usize = 255;

/// The SQL dialect of a server.
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
    /// Whether the server is MySQL or MariaDB.
    #[must_use]
    pub const fn is_mysql(self) -> bool {
        matches!(self, Self::MySql | Self::MariaDb)
    }

    /// The suffix of a `select` that locks its rows until the transaction ends. SQLite needs none, because only one
    /// transaction writes at a time.
    #[must_use]
    pub const fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres | Self::MySql | Self::MariaDb => " for update",
        }
    }

    /// The suffix of a `select` whose rows no other transaction can change until this one ends. Several transactions
    /// can hold such a lock on a row.
    #[must_use]
    pub const fn for_share(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for share",
            // The older form, which is the only one that MariaDB accepts.
            Self::MySql | Self::MariaDb => " lock in share mode",
        }
    }

    /// Returns an expression for the position of `?` in `column`, counted from 1; 0 if the text is not found. The
    /// collation of the column applies.
    #[must_use]
    pub fn position_in(self, column: &str) -> String {
        match self {
            Self::Postgres => format!("strpos({column}, ?)"),
            Self::Sqlite | Self::MySql | Self::MariaDb => format!("instr({column}, ?)"),
        }
    }

    /// Returns an `insert` that leaves an existing row with its key unchanged.
    ///
    /// On MySQL it fails if the row exists, which does not end a transaction there. `insert ignore` would also ignore
    /// other errors.
    pub(crate) fn insert_new(self, table: &str, columns: &[&str]) -> String {
        let end = if self.is_mysql() { "" } else { " on conflict do nothing" };
        format!(
            "insert into {table} ({}) values ({}){end}",
            columns.join(", "),
            marks(columns.len())
        )
    }

    /// Returns an `insert` that overwrites an existing row with its `key`, which must be the primary key of the table.
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
            // The older form, because MariaDB does not support the alias that MySQL prefers.
            Self::MySql | Self::MariaDb => format!(
                "insert into {table} ({names}) values ({marks}) on duplicate key update {}",
                assign(&|name| format!("{name} = values({name})"))
            ),
        }
    }

    /// Replaces the names of column types in a statement by the types of the server:
    ///
    /// | Name | Meaning |
    /// |---|---|
    /// | `{id}` | text of at most 255 characters, which can be a key and is compared by its bytes |
    /// | `{text}` | text of at most 16 MiB |
    /// | `{integer}` | an integer of 64 bits |
    /// | `{boolean}` | true or false |
    /// | `{bytes}` | at most 16 MiB of bytes |
    /// | `{serial}` | a primary key that is assigned in ascending order |
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

    /// The collation that compares text by its bytes and does not ignore trailing blanks.
    const fn collation(self) -> &'static str {
        match self {
            Self::MariaDb => "utf8mb4_nopad_bin",
            Self::MySql => "utf8mb4_0900_bin",
            Self::Sqlite | Self::Postgres => "",
        }
    }

    /// Returns a statement with each `?` in the server's form. Text in quotes is not changed.
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

/// Adds a check of its length to each `{id}` for SQLite, which ignores the lengths of text types. So a value that fits
/// here fits on a server too.
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

/// Returns `count` question marks: `?, ?, ?`.
fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Question marks outside quotes become numbers for PostgreSQL, and are not changed for others.
    #[test]
    fn placeholders_are_numbered() {
        let text = Cow::Borrowed("select '?', \"a?\" from t where a = ? and b = ?");
        assert_eq!(
            Dialect::Postgres.placeholders(&text),
            "select '?', \"a?\" from t where a = $1 and b = $2"
        );
        assert_eq!(Dialect::Sqlite.placeholders(&text), text);
    }

    /// One text makes a table on every server, and for MySQL and MariaDB the collation is added.
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
