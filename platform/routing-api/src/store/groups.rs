//! Router groups in their table.

use uuid::Uuid;
use weir_db::{DbError, Executor, Row, sql};
use weir_routing_api_client::models::{ReservablePorts, RouterGroup, RouterGroupType};

/// The table of router groups, on a connection.
pub(crate) struct Groups<X>(pub(crate) X);

const COLUMNS: &str = "guid, name, kind, reservable_ports";

impl<X: Executor> Groups<X> {
    /// All groups, the oldest first.
    pub(crate) async fn all(&mut self) -> Result<Vec<RouterGroup>, DbError> {
        let query = sql(format!(
            "select {COLUMNS} from routing_router_groups order by created_at, guid"
        ));
        self.0.all(query).await?.iter().map(read).collect()
    }

    pub(crate) async fn get(&mut self, guid: &str) -> Result<Option<RouterGroup>, DbError> {
        let query = sql(format!("select {COLUMNS} from routing_router_groups where guid = ?")).bind(guid);
        self.0.first(query).await?.as_ref().map(read).transpose()
    }

    pub(crate) async fn named(&mut self, name: &str) -> Result<Option<RouterGroup>, DbError> {
        let query = sql(format!("select {COLUMNS} from routing_router_groups where name = ?")).bind(name);
        self.0.first(query).await?.as_ref().map(read).transpose()
    }

    /// Adds a group. [`DbError::Duplicate`] if there is one of this name or guid.
    pub(crate) async fn add(&mut self, group: &RouterGroup, now: i64) -> Result<(), DbError> {
        let insert = sql(
            "insert into routing_router_groups (guid, name, kind, reservable_ports, created_at) values (?, ?, ?, ?, ?)",
        );
        let insert = insert.bind(&group.guid).bind(&group.name).bind(&group.kind.0);
        let insert = insert.bind(&group.reservable_ports.0).bind(now);
        self.0.execute(insert).await.map(drop)
    }

    /// Changes the ports of a group; `false` if there is none.
    pub(crate) async fn set_ports(&mut self, guid: &str, ports: &ReservablePorts) -> Result<bool, DbError> {
        let update = sql("update routing_router_groups set reservable_ports = ? where guid = ?");
        let update = update.bind(&ports.0).bind(guid);
        Ok(self.0.execute(update).await? > 0)
    }

    /// Removes a group; `false` if there is none.
    pub(crate) async fn remove(&mut self, guid: &str) -> Result<bool, DbError> {
        let delete = sql("delete from routing_router_groups where guid = ?").bind(guid);
        Ok(self.0.execute(delete).await? > 0)
    }

    /// The groups that a routing API of the original has kept in the same database, with their guids. None if it never ran
    /// there.
    pub(crate) async fn of_the_original(&mut self) -> Result<Vec<RouterGroup>, DbError> {
        let query = sql("select guid, name, type as kind, reservable_ports from router_groups order by created_at");
        match self.0.all(query).await {
            Ok(rows) => rows.iter().map(read).collect(),
            // There is no such table.
            Err(DbError::Statement(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// A new guid.
pub(crate) fn new_guid() -> String {
    Uuid::new_v4().to_string()
}

fn read(row: &Row) -> Result<RouterGroup, DbError> {
    Ok(RouterGroup {
        guid: row.get("guid")?,
        name: row.get("name")?,
        kind: RouterGroupType(row.get("kind")?),
        reservable_ports: ReservablePorts(row.get::<Option<String>>("reservable_ports")?.unwrap_or_default()),
    })
}
