//! Approvals: the answers of users to the question which scopes a client may have.

use weir_db::{DbError, sql};

use super::Store;

/// The answer of a user whether a client may have a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The client of the answer.
    pub client_id: String,
    /// The scope of the answer.
    pub scope: String,
    /// Whether the user agreed.
    pub approved: bool,
    /// The time when the answer expires, in milliseconds since 1970.
    pub expires_at: i64,
    /// The time of the answer, in milliseconds since 1970.
    pub modified_at: i64,
}

impl Store {
    /// Returns a user's answers that have not expired.
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

    /// Writes answers of a user. Each replaces the earlier one for the client and scope.
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
