//! What is noted once.

use weir_db::{DbError, sql};

use super::Store;

/// What `seed` says when the first start is done.
const DONE: &str = "done";

impl Store {
    /// Whether the first start is still to be done. A node that was killed amid it leaves it to the next one.
    pub(crate) async fn claim_first_start(&self) -> Result<bool, DbError> {
        let query = sql("select content from uaa_settings where name = 'seed'");
        let content: String = match self.db.first(query).await? {
            Some(row) => row.get("content")?,
            None => String::new(),
        };
        Ok(content != DONE)
    }

    /// The first start is done.
    pub(crate) async fn first_start_is_done(&self) -> Result<(), DbError> {
        let update = sql("update uaa_settings set content = ? where name = 'seed'");
        self.db.execute(update.bind(DONE)).await.map(drop)
    }
}
