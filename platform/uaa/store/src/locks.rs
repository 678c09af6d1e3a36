//! Locks that order the issue of a token and a revocation of its user or client.
//!
//! A row of a user or a client carries the number of the last revocation when it was read (`as_of`). A request then waits for a
//! hash or the database before it issues a token. So a transaction that issues something locks the user and the client (shared),
//! and checks that no later revocation covers them. A transaction that revokes something locks the user or the client
//! (exclusive), and writes the revocation before it commits. Of two at the same time, one waits for the other: either the token
//! is stored and is revoked, or it is not issued.
//!
//! Locks are taken in this order: the row `groups` of uaa_settings, a group, users (by id), clients, what was issued, the number
//! of revocations.

use std::collections::BTreeSet;

use weir_db::{DbError, Row, Transaction, sql};

use super::{Client, User};

/// The column of a `select` with the number of the last revocation.
pub(super) const AS_OF: &str = "(select content from uaa_settings where name = 'revocations') as as_of";

/// The number of rows in one statement.
const CHUNK: usize = 100;

/// Returns the value of the column [`AS_OF`].
pub(super) fn as_of(row: &Row) -> Result<i64, DbError> {
    let text: Option<String> = row.get("as_of")?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Locks a user and a client (shared). Returns whether both exist, the user is active, and no revocation covers them since they
/// were read.
pub(super) async fn lock_unrevoked(
    transaction: &mut Transaction,
    user: Option<&User>,
    client: Option<&Client>,
) -> Result<bool, DbError> {
    let lock = transaction.dialect().for_share();
    if let Some(user) = user {
        let query = sql(format!("select active from uaa_users where id = ?{lock}"));
        let row = transaction.first(query.bind(&user.id)).await?;
        if !row.map_or(Ok(false), |row| row.get("active"))? {
            return Ok(false);
        }
    }
    if let Some(client) = client {
        let query = sql(format!("select id from uaa_clients where id = ?{lock}"));
        if transaction.first(query.bind(&client.id)).await?.is_none() {
            return Ok(false);
        }
        let later = sql("select seq from uaa_revocations where seq > ? and kind = 'client' and subject = ? limit 1");
        let later = later.bind(client.as_of).bind(&client.id);
        if transaction.first(later).await?.is_some() {
            return Ok(false);
        }
    }
    match user {
        Some(user) => Ok(!revoked_since(transaction, user, client).await?),
        None => Ok(true),
    }
}

/// Whether a revocation covers a user, or the user with a client, since the user was read.
pub(super) async fn revoked_since(
    transaction: &mut Transaction,
    user: &User,
    client: Option<&Client>,
) -> Result<bool, DbError> {
    let later = sql(
        "select seq from uaa_revocations where seq > ? and kind = 'user' and subject = ? \
         and (client_id is null or client_id = ?) limit 1",
    );
    let client = client.map(|client| client.id.as_str()).unwrap_or_default();
    let later = later.bind(user.as_of).bind(&user.id).bind(client);
    Ok(transaction.first(later).await?.is_some())
}

/// Locks a user (exclusive). Returns whether there is one.
pub(super) async fn lock_user(transaction: &mut Transaction, id: &str) -> Result<bool, DbError> {
    let lock = transaction.dialect().for_update();
    let query = sql(format!("select id from uaa_users where id = ?{lock}"));
    Ok(transaction.first(query.bind(id)).await?.is_some())
}

/// Locks a client (exclusive). Returns whether there is one.
pub(super) async fn lock_client(transaction: &mut Transaction, id: &str) -> Result<bool, DbError> {
    let lock = transaction.dialect().for_update();
    let query = sql(format!("select id from uaa_clients where id = ?{lock}"));
    Ok(transaction.first(query.bind(id)).await?.is_some())
}

/// Locks users (exclusive), by id: all transactions use this order, so that no two wait for each other.
pub(super) async fn lock_users(transaction: &mut Transaction, ids: &BTreeSet<String>) -> Result<(), DbError> {
    let lock = transaction.dialect().for_update();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for chunk in ids.chunks(CHUNK) {
        let marks = vec!["?"; chunk.len()].join(", ");
        let query = sql(format!(
            "select id from uaa_users where id in ({marks}) order by id{lock}"
        ));
        transaction.all(query.bind_all(chunk.iter().copied())).await?;
    }
    Ok(())
}
