//! Single values, by name.

use weir_db::{DbError, Executor as _, sql};

use super::Store;

/// The value of the setting `seed` when the first start is done.
const DONE: &str = "done";

/// The state of the first start of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstStartState {
    /// This node does the first start.
    Ours,
    /// The named node does the first start, or was killed while it did.
    UnderWay(String),
    /// The first start is done.
    Done,
}

impl Store {
    /// Claims the first start for `node`, if no node has claimed it.
    pub async fn take_first_start(&self, node: &str) -> Result<FirstStartState, DbError> {
        let take = sql("update uaa_settings set content = ? where name = 'seed' and content = ''").bind(node);
        if self.db.execute(take).await? == 1 {
            return Ok(FirstStartState::Ours);
        }
        let content = self.setting("seed").await?.unwrap_or_default();
        Ok(if content == DONE {
            FirstStartState::Done
        } else {
            FirstStartState::UnderWay(content)
        })
    }

    /// Claims the first start from a node that seems to be dead. Returns `false` if it is done, or another node has claimed it.
    pub async fn take_over_first_start(&self, node: &str, from: &str) -> Result<bool, DbError> {
        let take = sql("update uaa_settings set content = ? where name = 'seed' and content = ?");
        Ok(from != DONE && self.db.execute(take.bind(node).bind(from)).await? == 1)
    }

    /// Records that the first start is done.
    pub async fn first_start_is_done(&self) -> Result<(), DbError> {
        self.set_setting("seed", DONE).await
    }

    /// Returns the value of a setting.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, DbError> {
        let query = sql("select content from uaa_settings where name = ?").bind(name);
        self.db.first(query).await?.map(|row| row.get("content")).transpose()
    }

    /// Writes the value of a setting.
    pub async fn set_setting(&self, name: &str, content: &str) -> Result<(), DbError> {
        let values = vec![name.into(), content.into()];
        if !(&self.db)
            .insert_new("uaa_settings", &["name", "content"], values)
            .await?
        {
            let update = sql("update uaa_settings set content = ? where name = ?");
            self.db.execute(update.bind(content).bind(name)).await?;
        }
        Ok(())
    }
}
