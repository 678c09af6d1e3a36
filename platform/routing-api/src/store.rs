//! What the routing API keeps, in tables of one of three kinds of database. Times are milliseconds since 1970.
//!
//! A route is a row with its key, its content as JSON, its modification tag and its times (`entries`). The key is a digest,
//! because MySQL has no index over several long texts.

use weir_db::{Database, DatabaseUrl, DbError};

mod entries;
mod groups;
mod schema;

pub(crate) use entries::{Entries, Entry, Stored};
pub(crate) use groups::{Groups, new_guid};

/// Opens the database and brings the tables up to date.
pub(crate) async fn open(url: &DatabaseUrl) -> Result<Database, DbError> {
    let db = Database::open(url).await?;
    db.migrate("routing-api", schema::MIGRATIONS).await?;
    Ok(db)
}
