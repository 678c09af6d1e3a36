//! Tests of the issue and the revocation of tokens in every order, on all database servers.

#![allow(clippy::disallowed_methods, reason = "tests spawn as they like")]

mod ends;
mod feed;

use std::collections::BTreeSet;
use std::time::Duration;

use weir_db::servers::{Kind, Server};
use weir_service::{Clock, ManualClock};

use super::*;

const NOW: i64 = 1_700_000_000;

/// Returns a store in a new database, and the control of its clock.
async fn store(server: &Server) -> (Store, ManualClock) {
    let (hands, clock) = Clock::manual(NOW * 1_000_000_000);
    let url = server.database().await;
    (Store::open(&url, clock).await.unwrap(), hands)
}

/// Adds a user and returns it as the database has it.
pub(super) async fn user(store: &Store, name: &str) -> User {
    let user = User {
        id: format!("id of {name}"),
        origin: "uaa".to_owned(),
        user_name: name.to_owned(),
        external_id: None,
        given_name: None,
        family_name: None,
        emails: Vec::new(),
        phones: Vec::new(),
        active: true,
        verified: true,
        password_hash: Some("old".to_owned()),
        password_changed_at: None,
        created_at: 0,
        modified_at: 0,
        version: 0,
        last_logon: None,
        previous_logon: None,
        as_of: 0,
    };
    store.add_user(&user).await.unwrap();
    again(store, &user).await
}

async fn again(store: &Store, user: &User) -> User {
    store.user(&user.id).await.unwrap().unwrap()
}

/// Adds a client and returns it as the database has it.
pub(super) async fn client(store: &Store, id: &str) -> Client {
    let client = Client {
        id: id.to_owned(),
        name: None,
        secret_hash: "old".to_owned(),
        second_hash: None,
        detail: ClientDetail::default(),
        created_at: 0,
        modified_at: 0,
        as_of: 0,
    };
    store.add_client(&client).await.unwrap();
    store.client(id).await.unwrap().unwrap()
}

async fn group(store: &Store, name: &str, members: &[&User]) -> Group {
    let group = Group {
        id: format!("id of {name}"),
        display_name: name.to_owned(),
        description: None,
        created_at: 0,
        modified_at: 0,
        version: 0,
    };
    let members: Vec<Member> = members.iter().map(|user| member(user)).collect();
    store.add_group(&group, &members).await.unwrap();
    group
}

fn member(user: &User) -> Member {
    Member {
        id: user.id.clone(),
        kind: MemberKind::User,
        origin: "uaa".to_owned(),
    }
}

/// Returns a refresh token with the digest `name`.
pub(super) fn refresh(name: &str, user: &User, client: &Client) -> RefreshToken {
    RefreshToken {
        token_hash: name.to_owned(),
        jti: format!("{name}-r"),
        user_id: user.id.clone(),
        client_id: client.id.clone(),
        scopes: Vec::new(),
        family: format!("family of {name}"),
        grant_type: "password".to_owned(),
        auth_time: NOW,
        issued_at: NOW * 1000,
        expires_at: (NOW + 3600) * 1000,
        revoked_at: None,
    }
}

fn code(name: &str, user: &User, client: &Client) -> Code {
    Code {
        code_hash: name.to_owned(),
        client_id: client.id.clone(),
        user_id: user.id.clone(),
        redirect_uri: None,
        scopes: Vec::new(),
        challenge: None,
        nonce: None,
        auth_time: NOW,
        expires_at: (NOW + 300) * 1000,
        used_at: None,
        access_jti: None,
        family: None,
    }
}

/// Whether a refresh token is still valid.
async fn is_good(store: &Store, hash: &str) -> bool {
    let token = store.refresh_token(hash).await.unwrap();
    token.is_some_and(|token| token.revoked_at.is_none())
}

async fn everything(kind: Kind) {
    let Some(server) = Server::start(kind).await else {
        return;
    };
    Box::pin(ends::revoked_meanwhile(&server)).await;
    Box::pin(ends::ended_with_the_rest(&server)).await;
    Box::pin(ends::one_waits_for_the_other(&server)).await;
    Box::pin(ends::both_or_neither(&server)).await;
    Box::pin(feed::one_entry_each(&server)).await;
    Box::pin(feed::pages_have_an_end(&server)).await;
    Box::pin(feed::clocks_apart(&server)).await;
    Box::pin(one_takes_over(&server)).await;
    Box::pin(versions_of_groups(&server)).await;
}

#[tokio::test]
async fn sqlite() {
    everything(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres() {
    everything(Kind::Postgres).await;
}

#[tokio::test]
async fn mariadb() {
    everything(Kind::MariaDb).await;
}

/// Of several nodes that wait too long for another, one takes over its first start, and none takes over a start that is done.
async fn one_takes_over(server: &Server) {
    let (store, _hands) = store(server).await;
    assert_eq!(store.take_first_start("a").await.unwrap(), FirstStartState::Ours);
    let under_way = |node: &str| FirstStartState::UnderWay(node.to_owned());
    for node in ["b", "c"] {
        assert_eq!(store.take_first_start(node).await.unwrap(), under_way("a"));
    }
    assert!(store.take_over_first_start("b", "a").await.unwrap());
    assert!(!store.take_over_first_start("c", "a").await.unwrap());
    assert_eq!(store.take_first_start("c").await.unwrap(), under_way("b"));
    store.first_start_is_done().await.unwrap();
    assert!(!store.take_over_first_start("c", "b").await.unwrap());
    assert!(!store.take_over_first_start("c", "done").await.unwrap());
    assert_eq!(store.take_first_start("c").await.unwrap(), FirstStartState::Done);
    store.close().await;
}

/// Each change of a group's members raises its version.
async fn versions_of_groups(server: &Server) {
    let (store, _hands) = store(server).await;
    let (one, two) = (user(&store, "one").await, user(&store, "two").await);
    let group = group(&store, "group", &[&one]).await;
    let version = async || store.group(&group.id).await.unwrap().unwrap().version;
    assert!(store.add_member(&group.id, &member(&two)).await.unwrap());
    assert_eq!(version().await, 1);
    assert!(!store.add_member(&group.id, &member(&two)).await.unwrap());
    assert_eq!(version().await, 1);
    assert!(!store.add_member("nobody", &member(&two)).await.unwrap());
    assert!(store.remove_member(&group.id, &two.id).await.unwrap());
    assert!(!store.remove_member(&group.id, &two.id).await.unwrap());
    assert_eq!(version().await, 2);
    let mapped = BTreeSet::from([group.id.clone()]);
    assert!(
        store
            .sync_memberships(&two.id, "idp", &mapped)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(version().await, 3);
    assert!(
        store
            .sync_memberships(&two.id, "idp", &mapped)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(version().await, 3);
    let left = store.sync_memberships(&two.id, "idp", &BTreeSet::new()).await.unwrap();
    assert_eq!((left, version().await), (vec![group.id.clone()], 4));
    assert!(store.remove_user(&one.id).await.unwrap());
    assert_eq!(version().await, 5);
    store.close().await;
}
