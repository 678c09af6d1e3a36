//! Whether what something is to be issued on still stands when it is.
//!
//! A user and a client that were read know the number of the last revocation at that moment (`as_of`). Between then and the
//! token a request waits: for a hash, for the database. So whoever issues something holds the rows of the user and the
//! client at the end, together with others who issue, and looks whether a later revocation means them; whoever ends
//! something holds the row alone, and writes the revocation before letting it go. Of the two who meet, one sees the other:
//! either what was issued is there to be ended, or it is not issued.
//!
//! Locks are taken in this order: the row `groups` of uaa_settings, a group, users (by id), clients, what was issued, the
//! number of revocations.

use std::collections::BTreeSet;

use weir_db::{DbError, Row, Transaction, sql};

use super::{Client, User};

/// A column for `select`: the number of the last revocation.
pub(super) const AS_OF: &str = "(select content from uaa_settings where name = 'revocations') as as_of";

/// Rows in one statement.
const CHUNK: usize = 100;

/// What [`AS_OF`] says.
pub(super) fn as_of(row: &Row) -> Result<i64, DbError> {
    let text: Option<String> = row.get("as_of")?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Holds a user and a client as they are; whether they are there, and nothing of theirs was revoked since they were read.
pub(super) async fn stands(
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

/// Whether something of a user, or of that user with a client, was revoked since the user was read.
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

/// Holds a user alone; whether there is one.
pub(super) async fn hold_user(transaction: &mut Transaction, id: &str) -> Result<bool, DbError> {
    let lock = transaction.dialect().for_update();
    let query = sql(format!("select id from uaa_users where id = ?{lock}"));
    Ok(transaction.first(query.bind(id)).await?.is_some())
}

/// Holds a client alone; whether there is one.
pub(super) async fn hold_client(transaction: &mut Transaction, id: &str) -> Result<bool, DbError> {
    let lock = transaction.dialect().for_update();
    let query = sql(format!("select id from uaa_clients where id = ?{lock}"));
    Ok(transaction.first(query.bind(id)).await?.is_some())
}

/// Holds users alone, in the order in which everybody does.
pub(super) async fn hold_users(transaction: &mut Transaction, ids: &BTreeSet<String>) -> Result<(), DbError> {
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
