//! Tests of the content and the size of the feed of revocations.

use super::*;

/// A subject has one entry, which never covers fewer tokens than before. Above the limit of individually revoked tokens, all
/// tokens of the user with the client are revoked.
pub(super) async fn one_entry_each(server: &Server) {
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
    // The clock is set back: the revocation still covers what it did.
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
        // Some tokens are revoked twice.
        let jti = format!("token {}", number - number % 10 % 2);
        store.revoke_token(&jti, NOW + 60, Some(owner)).await.unwrap();
    }
    for number in 300..500 {
        let jti = format!("token {number}");
        store.revoke_token(&jti, NOW + 60, Some(owner)).await.unwrap();
    }
    let (page, more) = store.revocations(start).await.unwrap();
    let whole =
        |revocation: &&Revocation| revocation.tokens == TokenSet::UserOfClient(user.id.clone(), "client".to_owned());
    assert!(!more && page.len() <= 257, "{}", page.len());
    assert_eq!(page.iter().filter(whole).count(), 1);
    // Every server refuses a text that is longer than the column.
    for (length, fits) in [(255, true), (256, false)] {
        let result = store.revoke_token(&"x".repeat(length), NOW + 60, None).await;
        assert_eq!(result.is_ok(), fits, "{result:?}");
    }
    store.close().await;
}

/// A page of the feed is not larger than its readers accept, whatever ids the tokens have, and the pages leave nothing out.
pub(super) async fn pages_have_an_end(server: &Server) {
    let (store, _hands) = store(server).await;
    let name = |number: usize| format!("{number:04}{}", "\u{1}".repeat(251));
    let all = 800;
    let list: Vec<TokenSet> = (0..all).map(|number| TokenSet::Token(name(number))).collect();
    let mut transaction = store.db.begin().await.unwrap();
    store.revoke_within(&mut transaction, &list).await.unwrap();
    transaction.commit().await.unwrap();
    let (mut since, mut read, mut pages) = (0, Vec::new(), 0);
    loop {
        let (page, more) = store.revocations(since).await.unwrap();
        let json: usize = page
            .iter()
            .map(|revocation| match &revocation.tokens {
                TokenSet::Token(jti) => serde_json::to_string(jti).unwrap().len() + 100,
                other => panic!("{other:?}"),
            })
            .sum();
        assert!(json < 2 << 20, "{json}");
        since = page.last().unwrap().seq;
        pages += 1;
        read.extend(page.into_iter().map(|revocation| revocation.tokens));
        if !more {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(read, list);
    store.close().await;
}

/// A revocation covers tokens of a node whose clock is ahead, and the last token of this node.
pub(super) async fn clocks_apart(server: &Server) {
    let (store, _hands) = store(server).await;
    let user = user(&store, "user").await;
    store.end_user(&user.id).await.unwrap();
    let (page, _) = store.revocations(0).await.unwrap();
    assert_eq!(page[0].before, NOW + LEEWAY);
    assert!(page[0].until >= page[0].before + LONGEST_VALIDITY + 60);
    store.issued(NOW + 50);
    store.end_user(&user.id).await.unwrap();
    let (page, _) = store.revocations(0).await.unwrap();
    assert_eq!(page[0].before, NOW + 50);
    store.close().await;
}
