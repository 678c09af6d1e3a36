//! A revocation also covers what could be exchanged for new tokens, in whatever order it and the issue come.

use super::*;

/// The events that revoke tokens of a user or a client.
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
    /// Whether the event covers the user's tokens with all clients.
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

/// A request that has read user and client cannot issue anything after they were revoked. A request that reads them afterwards
/// can, if they still exist.
pub(super) async fn revoked_meanwhile(server: &Server) {
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
        // Access tokens with and without a refresh token are refused.
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
            assert_eq!(renewed, Renewed::ChangedMeanwhile, "{end:?}");
        }
        let redeemed = store
            .redeem_code(&shown.code_hash, (&user, &client), "jti", "family", Some(&late))
            .await;
        assert_eq!(redeemed.unwrap(), Redeemed::ChangedMeanwhile, "{end:?}");
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
        // A client's own token depends on the client only.
        let own = store.issue(None, &client, None).await.unwrap();
        let of_client = matches!(end, End::ClientRevoked | End::ClientSecret | End::ClientRemoved);
        assert_eq!(own, !of_client, "{end:?}");
        // A request that begins now reads the present rows.
        let fresh = store.user(&user.id).await.unwrap().filter(|user| user.active);
        if let (Some(user), Some(client)) = (fresh, store.client(&client.id).await.unwrap()) {
            let late = refresh(&name("fresh"), &user, &client);
            assert!(store.issue(Some(&user), &client, Some(&late)).await.unwrap(), "{end:?}");
        }
    }
    store.close().await;
}

/// A revocation covers refresh tokens, codes, passcodes and sessions, and those of no other user or client. A user who left a
/// group loses access tokens only. A redeemed code is kept, so that a replay is recognised.
pub(super) async fn ended_with_the_rest(server: &Server) {
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
        // A code that was removed during its redemption does not count as redeemed.
        if store.user(&user.id).await.unwrap().is_some() {
            let user = again(&store, &user).await;
            let redeemed = store
                .redeem_code("never there", (&user, &elsewhere), "j", "f", None)
                .await
                .unwrap();
            let expected = if user.active {
                Redeemed::Gone
            } else {
                Redeemed::ChangedMeanwhile
            };
            assert_eq!(redeemed, expected, "{end:?}");
        }
    }
    store.close().await;
}

/// An issue and a revocation at the same time wait for each other.
pub(super) async fn one_waits_for_the_other(server: &Server) {
    let (store, _hands) = store(server).await;
    let user = user(&store, "user").await;
    let client = client(&store, "client").await;
    // The issue comes first: its token is revoked.
    let mut issuing = store.db.begin().await.unwrap();
    assert!(
        locks::lock_unrevoked(&mut issuing, Some(&user), Some(&client))
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
    // The revocation comes first: nothing is issued.
    let user = again(&store, &user).await;
    let mut ending = store.db.begin().await.unwrap();
    assert!(locks::lock_user(&mut ending, &user.id).await.unwrap());
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

/// A change and its revocation are one transaction: if the revocation cannot be written, nothing has changed, and a repeated
/// request does both.
pub(super) async fn both_or_neither(server: &Server) {
    let (store, _hands) = store(server).await;
    // A row with the number of the next revocation makes the transaction fail at its end.
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
    // A large group is renamed and removed in one transaction each.
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
        // The transaction fails near its end.
        block(i64::try_from(CROWD).unwrap() - 10).await;
        change().await.unwrap_err();
        unblock().await;
        assert_eq!(store.members(&crowd.id).await.unwrap().len(), CROWD);
        assert!(change().await.unwrap());
        let (page, more) = store.revocations(before).await.unwrap();
        let hit: BTreeSet<String> = page
            .into_iter()
            .map(|revocation| match revocation.tokens {
                TokenSet::User(user) => user,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(!more && hit == ids, "{hit:?}");
    }
    store.close().await;
}

/// More users than fit into one statement.
const CROWD: usize = 250;
