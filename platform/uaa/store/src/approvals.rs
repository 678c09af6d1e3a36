//! What users have agreed to.

use weir_db::{DbError, sql};

use super::Store;

/// One answer of a user: a client may, or may not, have a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The client that the answer is about.
    pub client_id: String,
    /// The scope that the answer is about.
    pub scope: String,
    /// Whether the user agreed.
    pub approved: bool,
    /// Until when the answer counts (milliseconds since 1970).
    pub expires_at: i64,
    /// When the user answered (milliseconds since 1970).
    pub modified_at: i64,
}

impl Store {
    /// A user's answers that still count.
    pub async fn approvals(&self, user: &str) -> Result<Vec<Approval>, DbError> {
        let query = sql(
            "select client_id, scope, approved, expires_at, modified_at from uaa_approvals \
             where user_id = ? and expires_at > ? order by client_id, scope",
        );
        self.db
            .all(query.bind(user).bind(self.now()))
            .await?
            .iter()
            .map(|row| {
                Ok(Approval {
                    client_id: row.get("client_id")?,
                    scope: row.get("scope")?,
                    approved: row.get("approved")?,
                    expires_at: row.get("expires_at")?,
                    modified_at: row.get("modified_at")?,
                })
            })
            .collect()
    }

    /// Notes answers.
    pub async fn set_approvals(&self, user: &str, approvals: &[Approval]) -> Result<(), DbError> {
        let statement = self.db.dialect().insert_or_replace(
            "uaa_approvals",
            &["user_id", "client_id", "scope"],
            &["approved", "expires_at", "modified_at"],
        );
        for approval in approvals {
            let insert = sql(statement.clone())
                .bind(user)
                .bind(&approval.client_id)
                .bind(&approval.scope)
                .bind(approval.approved)
                .bind(approval.expires_at)
                .bind(approval.modified_at);
            self.db.execute(insert).await?;
        }
        Ok(())
    }
}
