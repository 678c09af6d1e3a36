//! Routes in their table, whatever their kind.

use std::marker::PhantomData;

use ring::digest::{Context, SHA256};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_db::{DbError, Executor, Row, sql};
use weir_routing_api_client::models::{ModificationTag, Route, TcpRoute};

/// Rows that are removed in one transaction when they expire.
const PAGE: usize = 500;

/// A kind of route.
pub(crate) trait Entry: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    /// The table of this kind.
    const TABLE: &'static str;

    /// The digest of what makes two routes one entry.
    fn key(&self) -> String;

    /// The digest of what a client connects to, for kinds whose entries must agree about it; `None`: they need not.
    fn frontend(&self) -> Option<String>;

    fn tag(&mut self) -> &mut ModificationTag;

    /// Seconds that the route lives.
    fn ttl(&self) -> i64;

    /// The entry after `self` was registered where `known` was: what registrations leave open stays.
    fn over(self, known: &Self) -> Self;

    /// Whether `self` takes the place of `known` as another one, and is no new version of it.
    fn replaces(&self, known: &Self) -> bool;
}

impl Entry for Route {
    const TABLE: &'static str = "routing_http_routes";

    fn key(&self) -> String {
        digest(&[&self.route, &self.port.to_string(), &self.ip, &self.route_service_url])
    }

    fn frontend(&self) -> Option<String> {
        None
    }

    fn tag(&mut self) -> &mut ModificationTag {
        &mut self.modification_tag
    }

    fn ttl(&self) -> i64 {
        self.ttl.unwrap_or_default()
    }

    fn over(mut self, known: &Self) -> Self {
        if self.log_guid.is_empty() {
            self.log_guid.clone_from(&known.log_guid);
        }
        self
    }

    fn replaces(&self, _: &Self) -> bool {
        false
    }
}

impl Entry for TcpRoute {
    const TABLE: &'static str = "routing_tcp_routes";

    fn key(&self) -> String {
        let sni = self.backend_sni_hostname.as_ref().map(|name| format!("sni {name}"));
        digest(&[
            &self.router_group_guid,
            &self.port.to_string(),
            &self.backend_ip,
            &self.backend_port.to_string(),
            &self.backend_tls_port.to_string(),
            &sni.unwrap_or_default(),
            if self.enable_backend_mtls { "mtls" } else { "" },
        ])
    }

    fn frontend(&self) -> Option<String> {
        let name = self.backend_sni_hostname.as_ref()?;
        Some(digest(&[&self.port.to_string(), name]))
    }

    fn tag(&mut self) -> &mut ModificationTag {
        &mut self.modification_tag
    }

    fn ttl(&self) -> i64 {
        self.ttl.unwrap_or_default()
    }

    fn over(self, _: &Self) -> Self {
        self
    }

    fn replaces(&self, known: &Self) -> bool {
        self.instance_id != known.instance_id
    }
}

/// A row: a route with its tag, and its times.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored<E> {
    pub(crate) entry: E,
    pub(crate) expires_at: i64,
    /// When the routers were told about it last.
    pub(crate) announced_at: i64,
}

/// The table of a kind, on a connection.
pub(crate) struct Entries<X, E> {
    on: X,
    kind: PhantomData<fn() -> E>,
}

impl<X: Executor, E: Entry> Entries<X, E> {
    pub(crate) const fn on(on: X) -> Self {
        Self { on, kind: PhantomData }
    }

    pub(crate) fn into_inner(self) -> X {
        self.on
    }

    /// The entry with this key, also if its time is over.
    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Stored<E>>, DbError> {
        let query = sql(format!("select {COLUMNS} from {} where entry_key = ?", E::TABLE)).bind(key);
        let row = self.on.first(query).await?;
        row.map(|row| read(&row)).transpose()
    }

    /// All entries whose time is not over, in the order of their keys.
    pub(crate) async fn all(&mut self, now: i64) -> Result<Vec<E>, DbError> {
        let table = E::TABLE;
        let query = sql(format!(
            "select {COLUMNS} from {table} where expires_at > ? order by entry_key"
        ))
        .bind(now);
        let rows = self.on.all(query).await?;
        rows.iter().map(|row| Ok(read(row)?.entry)).collect()
    }

    /// How many entries there are whose time is not over.
    pub(crate) async fn count(&mut self, now: i64) -> Result<i64, DbError> {
        let query = sql(format!(
            "select count(*) as entries from {} where expires_at > ?",
            E::TABLE
        ))
        .bind(now);
        self.on.first(query).await?.map_or(Ok(0), |row| row.get("entries"))
    }

    /// The entries that clients reach at one frontend, whose time is not over.
    pub(crate) async fn at_frontend(&mut self, frontend: &str, now: i64) -> Result<Vec<E>, DbError> {
        let query = sql(format!(
            "select {COLUMNS} from {} where frontend = ? and expires_at > ?",
            E::TABLE
        ));
        let rows = self.on.all(query.bind(frontend).bind(now)).await?;
        rows.iter().map(|row| Ok(read(row)?.entry)).collect()
    }

    /// Entries whose time is over, with their keys: a page of them.
    pub(crate) async fn expired(&mut self, now: i64) -> Result<Vec<(String, E)>, DbError> {
        let query = sql(format!(
            "select entry_key, {COLUMNS} from {} where expires_at <= ? order by expires_at limit {PAGE}",
            E::TABLE
        ));
        let rows = self.on.all(query.bind(now)).await?;
        let entry = |row: &Row| Ok((row.get("entry_key")?, read(row)?.entry));
        rows.iter().map(entry).collect()
    }

    /// Writes an entry that is new or was changed.
    pub(crate) async fn put(&mut self, key: &str, mut stored: Stored<E>) -> Result<(), DbError> {
        let tag = std::mem::take(stored.entry.tag());
        let content = serde_json::to_string(&stored.entry).unwrap_or_default();
        let write = self.on.dialect().insert_or_replace(
            E::TABLE,
            &["entry_key"],
            &[
                "content",
                "frontend",
                "tag_guid",
                "tag_index",
                "expires_at",
                "announced_at",
            ],
        );
        let write = sql(write)
            .bind(key)
            .bind(content)
            .bind(stored.entry.frontend())
            .bind(tag.guid)
            .bind(i64::from(tag.index))
            .bind(stored.expires_at)
            .bind(stored.announced_at);
        self.on.execute(write).await.map(drop)
    }

    /// Writes that an entry lives on and nothing else.
    pub(crate) async fn prolong(&mut self, key: &str, tag_index: u32, expires_at: i64) -> Result<(), DbError> {
        let update = sql(format!(
            "update {} set tag_index = ?, expires_at = ? where entry_key = ?",
            E::TABLE
        ));
        let update = update.bind(i64::from(tag_index)).bind(expires_at).bind(key);
        self.on.execute(update).await.map(drop)
    }

    pub(crate) async fn remove(&mut self, key: &str) -> Result<(), DbError> {
        let delete = sql(format!("delete from {} where entry_key = ?", E::TABLE)).bind(key);
        self.on.execute(delete).await.map(drop)
    }
}

/// What [`read`] needs.
const COLUMNS: &str = "content, tag_guid, tag_index, expires_at, announced_at";

fn read<E: Entry>(row: &Row) -> Result<Stored<E>, DbError> {
    let content: String = row.get("content")?;
    // What was written here is always readable; anything else was put there by somebody else.
    let mut entry: E = serde_json::from_str(&content).map_err(|_| DbError::Value(None))?;
    *entry.tag() = ModificationTag {
        guid: row.get("tag_guid")?,
        index: u32::try_from(row.get::<i64>("tag_index")?).unwrap_or(u32::MAX),
    };
    Ok(Stored {
        entry,
        expires_at: row.get("expires_at")?,
        announced_at: row.get("announced_at")?,
    })
}

/// The digest of several texts, each with its length, so that no two lists have the same one.
fn digest(parts: &[&str]) -> String {
    let mut digest = Context::new(&SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        text
    })
}
