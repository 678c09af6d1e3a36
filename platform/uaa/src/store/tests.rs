//! What is issued and what ends it, in every order, on all servers. Each test says what must hold.

#![allow(clippy::disallowed_methods, reason = "tests spawn as they like")]

use std::collections::BTreeSet;
use std::time::Duration;

use weir_db::servers::{Kind, Server};
use weir_service::{Clock, ManualClock};

use super::*;

const NOW: i64 = 1_700_000_000;

/// A store of its own, and the hands of its clock.
async fn store(server: &Server) -> (Store, ManualClock) {
    let (hands, clock) = Clock::manual(NOW * 1_000_000_000);
    let url = server.database().await;
    (
        Store::open(&url, clock, Duration::from_secs(3600)).await.unwrap(),
        hands,
    )
}

/// A user who is there.
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

/// A client that is there.
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

fn refresh(name: &str, user: &User, client: &Client) -> RefreshToken {
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

/// Whether what a refresh token gives is still good.
async fn is_good(store: &Store, hash: &str) -> bool {
    let token = store.refresh_token(hash).await.unwrap();
    token.is_some_and(|token| token.revoked_at.is_none())
}

async fn everything(kind: Kind) {
    let Some(server) = Server::start(kind).await else {
        return;
    };
    Box::pin(overtaken(&server)).await;
    Box::pin(ended_with_the_rest(&server)).await;
    Box::pin(one_waits_for_the_other(&server)).await;
    Box::pin(both_or_neither(&server)).await;
    Box::pin(one_entry_each(&server)).await;
    Box::pin(pages_have_an_end(&server)).await;
    Box::pin(clocks_apart(&server)).await;
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

/// What can end something of a user or a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Revoked,
    RevokedWithClient,
    Password,
    Inactive,
    Removed,
    LeftGroup,
    ClientRevoked,
    ClientSecret,
    ClientRemoved,
}

const ENDS: [End; 9] = [
    End::Revoked,
    End::RevokedWithClient,
    End::Password,
    End::Inactive,
    End::Removed,
    End::LeftGroup,
    End::ClientRevoked,
    End::ClientSecret,
    End::ClientRemoved,
];

impl End {
    /// Whether everything of the user is meant, whatever the client.
    fn is_users(self) -> bool {
        matches!(
            self,
            Self::Revoked | Self::Password | Self::Inactive | Self::Removed | Self::LeftGroup
        )
    }

    async fn happen(self, store: &Store, user: &User, client: &Client, group: &Group) -> Result<bool, DbError> {
        match self {
            Self::Revoked => store.end_user(&user.id).await,
            Self::RevokedWithClient => store.end_user_of_client(&user.id, &client.id).await,
            Self::Password => store.set_password(user, "new").await,
            Self::Inactive => {
                let idle = User {
                    active: false,
                    version: user.version + 1,
                    ..user.clone()
                };
                store.replace_user(&idle, user.version).await
            }
            Self::Removed => store.remove_user(&user.id).await,
            Self::LeftGroup => store.remove_member(&group.id, &user.id).await,
            Self::ClientRevoked => store.end_client(&client.id).await,
            Self::ClientSecret => store.change_client_secrets(client, "new", None, true).await,
            Self::ClientRemoved => store.remove_client(&client.id).await,
        }
    }
}

/// A request reads user and client, waits, and issues; what ended something of them meanwhile leaves it nothing to issue.
/// What is read afterwards counts, where there is still something to be read.
async fn overtaken(server: &Server) {
    let (store, _hands) = store(server).await;
    for (number, end) in ENDS.into_iter().enumerate() {
        let user = user(&store, &format!("user-{number}")).await;
        let client = client(&store, &format!("client-{number}")).await;
        let group = group(&store, &format!("group-{number}"), &[&user]).await;
        let name = |what: &str| format!("{what} {number}");
        let kept = refresh(&name("kept"), &user, &client);
        assert!(store.issue(Some(&user), &client, Some(&kept)).await.unwrap(), "{end:?}");
        let shown = code(&name("shown"), &user, &client);
        assert!(store.add_code(&shown, &user, &client).await.unwrap());
        assert!(end.happen(&store, &user, &client, &group).await.unwrap(), "{end:?}");
        // Access token with and without a refresh token.
        let late = refresh(&name("late"), &user, &client);
        assert!(
            !store.issue(Some(&user), &client, Some(&late)).await.unwrap(),
            "{end:?}"
        );
        assert!(!store.issue(Some(&user), &client, None).await.unwrap(), "{end:?}");
        assert!(
            store.refresh_token(&late.token_hash).await.unwrap().is_none(),
            "{end:?}"
        );
        for fresh in [None, Some(&late)] {
            let renewed = store.renew((&user, &client), &kept.token_hash, fresh).await.unwrap();
            assert_eq!(renewed, Renewed::Overtaken, "{end:?}");
        }
        let redeemed = store
            .redeem_code(&shown.code_hash, (&user, &client), "jti", "family", Some(&late))
            .await;
        assert_eq!(redeemed.unwrap(), Redeemed::Overtaken, "{end:?}");
        assert!(
            !store
                .add_code(&code(&name("code"), &user, &client), &user, &client)
                .await
                .unwrap()
        );
        let longest = Duration::from_secs(60);
        let session = store.add_session(&name("session"), &user, NOW, longest).await.unwrap();
        let passcode = store
            .add_passcode(&name("pass"), &user, NOW, (NOW + 60) * 1000)
            .await
            .unwrap();
        assert_eq!((session, passcode), (!end.is_users(), !end.is_users()), "{end:?}");
        // A client's own token rests on the client.
        let own = store.issue(None, &client, None).await.unwrap();
        let of_client = matches!(end, End::ClientRevoked | End::ClientSecret | End::ClientRemoved);
        assert_eq!(own, !of_client, "{end:?}");
        // Whoever begins now stands on what is.
        let fresh = store.user(&user.id).await.unwrap().filter(|user| user.active);
        if let (Some(user), Some(client)) = (fresh, store.client(&client.id).await.unwrap()) {
            let late = refresh(&name("fresh"), &user, &client);
            assert!(store.issue(Some(&user), &client, Some(&late)).await.unwrap(), "{end:?}");
        }
    }
    store.close().await;
}

/// With the tokens goes what could still be made into tokens, of the same user or client and of nobody else. What left a
/// group keeps everything but access tokens; a code that was redeemed is kept, to be known again.
async fn ended_with_the_rest(server: &Server) {
    let (store, _hands) = store(server).await;
    for (number, end) in ENDS.into_iter().enumerate() {
        let name = |what: &str| format!("{what} {number}");
        let (user, other) = (user(&store, &name("user")).await, user(&store, &name("other")).await);
        let (client, elsewhere) = (
            client(&store, &name("client")).await,
            client(&store, &name("else")).await,
        );
        let group = group(&store, &name("group"), &[&user]).await;
        for (who, user, client) in [("a", &user, &client), ("b", &user, &elsewhere), ("c", &other, &client)] {
            let token = refresh(&name(who), user, client);
            assert!(store.issue(Some(user), client, Some(&token)).await.unwrap());
            assert!(
                store
                    .add_code(&code(&name(who), user, client), user, client)
                    .await
                    .unwrap()
            );
        }
        let used = code(&name("used"), &user, &client);
        store.add_code(&used, &user, &client).await.unwrap();
        let redeemed = store
            .redeem_code(&used.code_hash, (&user, &client), "jti", "f", None)
            .await;
        assert_eq!(redeemed.unwrap(), Redeemed::Now);
        for (who, user) in [("p", &user), ("q", &other)] {
            store
                .add_passcode(&name(who), user, NOW, (NOW + 60) * 1000)
                .await
                .unwrap();
            store
                .add_session(&name(who), user, NOW, Duration::from_secs(60))
                .await
                .unwrap();
        }
        assert!(end.happen(&store, &user, &client, &group).await.unwrap());
        let whole = end.is_users() && end != End::LeftGroup;
        let with_client = matches!(end, End::ClientRevoked | End::ClientSecret | End::ClientRemoved);
        for (who, ends) in [("a", end != End::LeftGroup), ("b", whole), ("c", with_client)] {
            assert_eq!(is_good(&store, &name(who)).await, !ends, "{end:?} {who}");
            assert_eq!(store.code(&name(who)).await.unwrap().is_none(), ends, "{end:?} {who}");
        }
        let gone = matches!(end, End::Removed | End::ClientRemoved);
        assert_eq!(store.code(&used.code_hash).await.unwrap().is_none(), gone, "{end:?}");
        for (who, ends) in [("p", whole), ("q", false)] {
            assert_eq!(
                store.passcode(&name(who)).await.unwrap().is_none(),
                ends,
                "{end:?} {who}"
            );
            assert_eq!(store.take_passcode(&name(who)).await.unwrap(), !ends, "{end:?} {who}");
            let session = store.session(&name(who), Duration::from_secs(60)).await.unwrap();
            assert_eq!(session.is_none(), ends, "{end:?} {who}");
        }
        // A code that went amid its redemption is no redeemed one.
        if store.user(&user.id).await.unwrap().is_some() {
            let user = again(&store, &user).await;
            let redeemed = store
                .redeem_code("never there", (&user, &elsewhere), "j", "f", None)
                .await
                .unwrap();
            let expected = if user.active {
                Redeemed::Gone
            } else {
                Redeemed::Overtaken
            };
            assert_eq!(redeemed, expected, "{end:?}");
        }
    }
    store.close().await;
}

/// Who issues and who ends at the same moment see each other: the one waits until the other is done.
async fn one_waits_for_the_other(server: &Server) {
    let (store, _hands) = store(server).await;
    let user = user(&store, "user").await;
    let client = client(&store, "client").await;
    // Issued first: it is there to be ended.
    let mut issuing = store.db.begin().await.unwrap();
    assert!(
        standing::stands(&mut issuing, Some(&user), Some(&client))
            .await
            .unwrap()
    );
    let (ending, id) = (store.clone(), user.id.clone());
    let mut ending = tokio::spawn(async move { ending.end_user(&id).await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut ending).await;
    assert!(early.is_err(), "it does not wait");
    let token = refresh("first", &user, &client);
    refresh::insert(&mut issuing, &token).await.unwrap();
    issuing.commit().await.unwrap();
    assert!(ending.await.unwrap().unwrap());
    assert!(!is_good(&store, "first").await);
    // Ended first: nothing is issued.
    let user = again(&store, &user).await;
    let mut ending = store.db.begin().await.unwrap();
    assert!(standing::hold_user(&mut ending, &user.id).await.unwrap());
    let issuing = {
        let (store, user, client) = (store.clone(), user.clone(), client.clone());
        let token = refresh("second", &user, &client);
        tokio::spawn(async move { store.issue(Some(&user), &client, Some(&token)).await })
    };
    store.end_user_within(&mut ending, &user.id).await.unwrap();
    ending.commit().await.unwrap();
    assert!(!issuing.await.unwrap().unwrap());
    assert!(store.refresh_token("second").await.unwrap().is_none());
    store.close().await;
}

/// A change and the end of what it ends are one: where the revocation cannot be written, nothing has changed, and the same
/// request again does all of it.
async fn both_or_neither(server: &Server) {
    let (store, _hands) = store(server).await;
    // Somebody has the number that a revocation will have: whatever else the change does, it cannot be finished.
    let block = async |ahead: i64| {
        let seq = store.last_revocation().await.unwrap() + ahead;
        let insert = sql(
            "insert into uaa_revocations (seq, kind, subject, before_s, until_s) values (?, 'token', 'in the way', 0, 0)",
        );
        store.db.execute(insert.bind(seq)).await.unwrap();
    };
    let unblock = async || {
        let delete = sql("delete from uaa_revocations where subject = 'in the way'");
        store.db.execute(delete).await.unwrap();
    };
    for (number, end) in ENDS.into_iter().enumerate() {
        let name = |what: &str| format!("{what} {number}");
        let user = user(&store, &name("user")).await;
        let client = client(&store, &name("client")).await;
        let group = group(&store, &name("group"), &[&user]).await;
        let token = refresh(&name("token"), &user, &client);
        assert!(store.issue(Some(&user), &client, Some(&token)).await.unwrap());
        block(1).await;
        end.happen(&store, &user, &client, &group).await.unwrap_err();
        unblock().await;
        assert_eq!(again(&store, &user).await, user, "{end:?}");
        assert_eq!(store.client(&client.id).await.unwrap(), Some(client.clone()), "{end:?}");
        assert_eq!(store.group(&group.id).await.unwrap(), Some(group.clone()), "{end:?}");
        assert_eq!(store.members(&group.id).await.unwrap().len(), 1, "{end:?}");
        assert!(is_good(&store, &token.token_hash).await, "{end:?}");
        let before = store.last_revocation().await.unwrap();
        assert!(end.happen(&store, &user, &client, &group).await.unwrap(), "{end:?}");
        assert_eq!(store.last_revocation().await.unwrap(), before + 1, "{end:?}");
    }
    // A group of many, in one step: renamed, then removed.
    let mut users = Vec::new();
    for number in 0..CROWD {
        users.push(user(&store, &format!("one of many {number}")).await);
    }
    let all: Vec<&User> = users.iter().collect();
    let crowd = group(&store, "crowd", &all).await;
    let ids: BTreeSet<String> = users.iter().map(|user| user.id.clone()).collect();
    let renamed = Group {
        display_name: "others".to_owned(),
        version: 1,
        ..crowd.clone()
    };
    for step in 0..2 {
        let change = async || match step {
            0 => store.replace_group(&renamed, None, 0).await,
            _ => store.remove_group(&crowd.id).await,
        };
        let before = store.last_revocation().await.unwrap();
        // Far into it.
        block(i64::try_from(CROWD).unwrap() - 10).await;
        change().await.unwrap_err();
        unblock().await;
        assert_eq!(store.members(&crowd.id).await.unwrap().len(), CROWD);
        assert!(change().await.unwrap());
        let (page, more) = store.revocations(before).await.unwrap();
        let hit: BTreeSet<String> = page
            .into_iter()
            .map(|revocation| match revocation.what {
                What::User(user) => user,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(!more && hit == ids, "{hit:?}");
    }
    store.close().await;
}

/// More than go into one statement.
const CROWD: usize = 250;

/// A subject has one entry, however often it is revoked, which says no less than before; tokens that are revoked one by one
/// are counted, and beyond so many all of that user with that client end instead.
async fn one_entry_each(server: &Server) {
    let (store, hands) = store(server).await;
    let user = user(&store, "user").await;
    client(&store, "client").await;
    for _ in 0..3 {
        store.end_user(&user.id).await.unwrap();
        store.end_user_of_client(&user.id, "client").await.unwrap();
        store.end_client("client").await.unwrap();
        store.revoke_token("jti", NOW + 60, None).await.unwrap();
    }
    let (page, _) = store.revocations(0).await.unwrap();
    let numbers: Vec<i64> = page.iter().map(|revocation| revocation.seq).collect();
    assert_eq!(numbers, [9, 10, 11, 12]);
    // The clock goes back: what was revoked stays so.
    let before = page[0].before;
    hands.set_wall((NOW - 100) * 1_000_000_000);
    store.end_user(&user.id).await.unwrap();
    let (page, _) = store.revocations(12).await.unwrap();
    assert_eq!((page.len(), page[0].before), (1, before));
    hands.set_wall(NOW * 1_000_000_000);
    let start = store.last_revocation().await.unwrap();
    let owner = IssuedTo {
        user: Some(&user.id),
        client: "client",
    };
    for number in 0..300 {
        // Now and then the same once more.
        let jti = format!("token {}", number - number % 10 % 2);
        store.revoke_token(&jti, NOW + 60, Some(owner)).await.unwrap();
    }
    for number in 300..500 {
        let jti = format!("token {number}");
        store.revoke_token(&jti, NOW + 60, Some(owner)).await.unwrap();
    }
    let (page, more) = store.revocations(start).await.unwrap();
    let whole = |revocation: &&Revocation| revocation.what == What::UserOfClient(user.id.clone(), "client".to_owned());
    assert!(!more && page.len() <= 257, "{}", page.len());
    assert_eq!(page.iter().filter(whole).count(), 1);
    // What is longer than a key is none, on every server.
    for (length, fits) in [(255, true), (256, false)] {
        let result = store.revoke_token(&"x".repeat(length), NOW + 60, None).await;
        assert_eq!(result.is_ok(), fits, "{result:?}");
    }
    store.close().await;
}

/// However long the names are that somebody makes everybody remember: an answer of the feed is not larger than its readers
/// take, and leaves nothing out.
async fn pages_have_an_end(server: &Server) {
    let (store, _hands) = store(server).await;
    let name = |number: usize| format!("{number:04}{}", "\u{1}".repeat(251));
    let all = 800;
    let list: Vec<What> = (0..all).map(|number| What::Token(name(number))).collect();
    let mut transaction = store.db.begin().await.unwrap();
    store.revoke_within(&mut transaction, &list).await.unwrap();
    transaction.commit().await.unwrap();
    let (mut since, mut read, mut pages) = (0, Vec::new(), 0);
    loop {
        let (page, more) = store.revocations(since).await.unwrap();
        let json: usize = page
            .iter()
            .map(|revocation| match &revocation.what {
                What::Token(jti) => serde_json::to_string(jti).unwrap().len() + 100,
                other => panic!("{other:?}"),
            })
            .sum();
        assert!(json < 2 << 20, "{json}");
        since = page.last().unwrap().seq;
        pages += 1;
        read.extend(page.into_iter().map(|revocation| revocation.what));
        if !more {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(read, list);
    store.close().await;
}

/// A revocation reaches as far ahead as another node's clock may be, and as the last token of this node.
async fn clocks_apart(server: &Server) {
    let (store, _hands) = store(server).await;
    let user = user(&store, "user").await;
    store.end_user(&user.id).await.unwrap();
    let (page, _) = store.revocations(0).await.unwrap();
    assert_eq!(page[0].before, NOW + LEEWAY);
    assert!(page[0].until >= page[0].before + 3600 + 60);
    store.issued(NOW + 50);
    store.end_user(&user.id).await.unwrap();
    let (page, _) = store.revocations(0).await.unwrap();
    assert_eq!(page[0].before, NOW + 50);
    store.close().await;
}

/// Of several nodes that lose patience with another one takes its first start over, and nobody once it is done.
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

/// Whoever comes or goes gives a group another version, by whatever way.
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
