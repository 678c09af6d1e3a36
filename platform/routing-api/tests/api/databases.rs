//! What depends on the database: each scenario on each kind of it, with a database of its own.

use std::sync::Arc;

use weir_db::servers::{Kind, Server};

use crate::common::Deployment;
use crate::{events, groups, instances, routes};

/// Runs scenarios, each against a routing API of its own.
macro_rules! each {
    ($server:ident: $($scenario:path),* $(,)?) => {$(
        let deployment = Deployment::on(&$server).await;
        let api = deployment.start().await;
        $scenario(&api).await;
        api.stop().await;
    )*};
}

async fn all_on(kind: Kind) {
    let Some(server) = Server::start(kind).await else {
        return;
    };
    let server = Arc::new(server);
    each!(server:
        events::changes_arrive,
        groups::a_group_lives,
        groups::groups_are_checked,
        routes::http_routes,
        routes::http_routes_are_checked,
        routes::tcp_routes,
        routes::tcp_routes_are_checked,
    );
    groups::groups_of_the_original_stay(&Deployment::on(&server).await).await;
    instances::another_instance_takes_over(&Deployment::on(&server).await).await;
}

#[tokio::test]
async fn on_sqlite() {
    all_on(Kind::Sqlite).await;
}

#[tokio::test]
async fn on_postgres() {
    all_on(Kind::Postgres).await;
}

#[tokio::test]
async fn on_mariadb() {
    all_on(Kind::MariaDb).await;
}
