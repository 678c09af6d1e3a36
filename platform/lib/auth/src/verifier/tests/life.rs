//! Changes over time: keys that change, an issuer that becomes unreachable, tokens that end while their caller is
//! served.

use weir_service::Clock;

use super::*;
use crate::access::{Access, ScopeFuture};
use crate::claims::Claims;
use tokio::sync::watch;

/// A token is verified once, and again after a change that could make it invalid.
#[tokio::test]
async fn verified_tokens_are_remembered() {
    let setup = Setup::new();
    let token = setup.issuer.token("admin", &["doppler.firehose"]);
    for _ in 0..10 {
        setup.check(&format!("bearer {token}")).await.unwrap();
    }
    let stats = setup.verifier.stats();
    assert_eq!((stats.verified, stats.hits, stats.refused, stats.keys), (1, 9, 0, 1));
    setup.issuer.revoke(Revoked::Token {
        jti: "other".to_owned(),
    });
    eventually("the revocation is seen", || setup.verifier.stats().revocations == 1).await;
    setup.check(&token).await.unwrap();
    assert_eq!(setup.verifier.stats().verified, 2);
}

/// A token with an unknown key causes a fetch of keys and is accepted at once. Nobody is refused during a rotation.
#[tokio::test(start_paused = true)]
async fn rotation_with_overlap() {
    let setup = Setup::new();
    let old = setup.issuer.token("admin", &["doppler.firehose"]);
    setup.check(&old).await.unwrap();
    setup.issuer.rotate(true);
    let fresh = setup.issuer.token("admin", &["doppler.firehose"]);
    setup.check(&fresh).await.unwrap();
    setup.check(&old).await.unwrap();
}

/// When a key is withdrawn, its tokens are refused, and callers that are being served with them end.
#[tokio::test(start_paused = true)]
async fn rotation_without_overlap() {
    let setup = Setup::new();
    let old = setup.issuer.token("admin", &["doppler.firehose"]);
    let caller = setup.check(&old).await.unwrap();
    setup.issuer.rotate(false);
    let served = tokio::time::timeout(Duration::from_secs(61), caller.ended()).await;
    assert_eq!(served, Ok(Ended::Revoked));
    assert_eq!(setup.denied(&old).await, Denied::Invalid);
    setup
        .check(&setup.issuer.token("admin", &["doppler.firehose"]))
        .await
        .unwrap();
}

/// However many unknown keys are shown, keys are fetched at most once in five seconds.
#[tokio::test(start_paused = true)]
async fn unknown_keys_do_not_flood_the_issuer() {
    let setup = Setup::new();
    setup
        .check(&setup.issuer.token("admin", &["doppler.firehose"]))
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    let before = setup.issuer.fetches();
    let claims = setup.issuer.claims("admin", &["doppler.firehose"]);
    for round in 0..20 {
        let tokens: Vec<String> = (0..50)
            .map(|number| {
                setup
                    .issuer
                    .sign_as(&json!({"alg": "RS256", "kid": format!("{round}-{number}")}), &claims, 0)
            })
            .collect();
        let denied = futures::future::join_all(tokens.iter().map(|token| setup.denied(token))).await;
        assert!(denied.iter().all(|denied| *denied == Denied::Invalid));
    }
    let fetches = setup.issuer.fetches() - before;
    assert!(
        Duration::from_secs(5) * u32::try_from(fetches - 1).unwrap() <= began.elapsed(),
        "{fetches}"
    );
}

/// No token is accepted until the verifier has read the revocations from before its start.
#[tokio::test(start_paused = true)]
async fn revocations_from_before_the_start_count() {
    let (trigger, context) = Context::new("server");
    let issuer = TestIssuer::new();
    let (revoked, good) = (
        issuer.token("admin", &["doppler.firehose"]),
        issuer.token("dev", &["logs.read.app"]),
    );
    issuer.revoke(Revoked::User {
        user_id: "id-of-admin".to_owned(),
        client_id: None,
    });
    issuer.set_feed_away(true);
    let verifier = issuer.verifier(&context.shutdown, &context.tasks);
    assert_eq!(verifier.check(Some(&revoked)).await.unwrap_err(), Denied::Unavailable);
    assert_eq!(verifier.check(Some(&good)).await.unwrap_err(), Denied::Unavailable);
    issuer.set_feed_away(false);
    assert_eq!(verifier.check(Some(&revoked)).await.unwrap_err(), Denied::Revoked);
    verifier.check(Some(&good)).await.unwrap();
    drop(trigger);
}

/// A router that does not know UAA yet answers that there is no feed. No token is accepted because of that.
#[tokio::test(start_paused = true)]
async fn a_feed_that_is_missing_at_first_is_awaited() {
    let (_trigger, context) = Context::new("server");
    let issuer = TestIssuer::new();
    let revoked = issuer.token("admin", &["doppler.firehose"]);
    issuer.revoke(Revoked::User {
        user_id: "id-of-admin".to_owned(),
        client_id: None,
    });
    issuer.set_missing(true);
    let config = UaaConfig {
        revocations_interval: Duration::from_secs(10),
        ..issuer.config()
    };
    let verifier = Verifier::start(
        &config,
        Arc::clone(&issuer) as Arc<dyn Issuer>,
        Arc::new(ByGroups::new()),
        Clock::system(),
        &context.shutdown,
        &context.tasks,
    );
    assert_eq!(verifier.check(Some(&revoked)).await.unwrap_err(), Denied::Unavailable);
    issuer.set_missing(false);
    assert_eq!(verifier.check(Some(&revoked)).await.unwrap_err(), Denied::Revoked);
}

/// Without any key no token can be checked. With known keys, their tokens stay valid while the issuer is unreachable.
#[tokio::test(start_paused = true)]
async fn known_keys_are_used_while_the_issuer_is_unreachable() {
    let setup = Setup::new();
    let token = setup.issuer.token("admin", &["doppler.firehose"]);
    setup.issuer.set_away(true);
    assert_eq!(setup.denied(&token).await, Denied::Unavailable);
    setup.issuer.set_away(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    setup.check(&token).await.unwrap();
    setup.issuer.set_away(true);
    tokio::time::sleep(Duration::from_secs(300)).await;
    setup.check(&token).await.unwrap();
    setup
        .check(&setup.issuer.token("dev", &["logs.read.app"]))
        .await
        .unwrap();
    setup.issuer.rotate(true);
    assert_eq!(
        setup.denied(&setup.issuer.token("dev", &["logs.read.app"])).await,
        Denied::Unavailable
    );
}

/// Each kind of revocation ends the token and the caller that is served with it, and no other caller.
#[tokio::test]
async fn revocation_ends_streams() {
    for revoked in [
        Revoked::User {
            user_id: "id-of-dev".to_owned(),
            client_id: None,
        },
        Revoked::Client {
            client_id: "cf".to_owned(),
        },
        Revoked::Signature {
            rev_sig: "digest of dev".to_owned(),
        },
        Revoked::Token {
            jti: "token-0".to_owned(),
        },
    ] {
        let setup = Setup::new();
        let token = setup.issuer.token("dev", &["logs.read.app"]);
        let caller = setup.check(&token).await.unwrap();
        assert_eq!(caller.standing(), Ok(()));
        assert!(futures::FutureExt::now_or_never(caller.ended()).is_none());
        setup.issuer.revoke(revoked.clone());
        let ended = tokio::time::timeout(Duration::from_secs(20), caller.ended()).await;
        assert_eq!(ended, Ok(Ended::Revoked), "{revoked:?}");
        assert_eq!(caller.standing(), Err(Ended::Revoked));
        assert_eq!(setup.denied(&token).await, Denied::Revoked);
        let mut other = setup.issuer.claims("other", &["logs.read.app"]);
        other["client_id"] = json!("other");
        setup.check(&setup.issuer.sign(&other)).await.unwrap();
    }
}

/// A caller ends when its token expires, even if the token is in the cache. A clock that is set forward counts too.
#[tokio::test(start_paused = true)]
async fn expiry_ends_streams() {
    let issuer = TestIssuer::new();
    let (_trigger, context) = Context::new("server");
    let start = now();
    let (hands, clock) = Clock::manual(start * 1_000_000_000);
    let verifier = Verifier::start(
        &issuer.config(),
        Arc::clone(&issuer) as Arc<dyn Issuer>,
        Arc::new(ByGroups::new()),
        clock,
        &context.shutdown,
        &context.tasks,
    );
    let mut claims = issuer.claims("dev", &["logs.read.app"]);
    claims["iat"] = json!(start);
    claims["exp"] = json!(start + 100);
    let token = issuer.sign(&claims);
    let caller = verifier.check(Some(&token)).await.unwrap();
    assert_eq!(caller.expires_at(), Some(start + 100));
    let served = caller.clone();
    let ended = tokio::spawn(async move { served.ended().await });
    hands.advance(Duration::from_secs(104));
    assert!(verifier.check(Some(&token)).await.is_ok(), "the leeway");
    hands.advance(Duration::from_secs(1));
    assert_eq!(verifier.check(Some(&token)).await, Err(Denied::Expired));
    // The wall clock is read every 30 seconds.
    let ended = tokio::time::timeout(Duration::from_secs(31), ended).await;
    assert_eq!(ended.unwrap().unwrap(), Ended::Expired);
}

/// An access whose answers the test sets.
#[derive(Debug)]
struct ScriptedAccess {
    sources: Mutex<Vec<&'static str>>,
    changes: watch::Sender<u64>,
}

impl Access for ScriptedAccess {
    fn scope<'a>(&'a self, _claims: &'a Claims) -> ScopeFuture<'a> {
        let scope = Scope::sources(self.sources.lock().iter().copied());
        Box::pin(async { Ok(scope) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A caller that loses a right while it is served ends. One that gains a right goes on.
#[tokio::test]
async fn rights_that_change() {
    let issuer = TestIssuer::new();
    let (_trigger, context) = Context::new("server");
    let access = Arc::new(ScriptedAccess {
        sources: Mutex::new(vec!["a"]),
        changes: watch::Sender::new(0),
    });
    let verifier = Verifier::start(
        &issuer.config(),
        Arc::clone(&issuer) as Arc<dyn Issuer>,
        Arc::clone(&access) as Arc<dyn Access>,
        Clock::system(),
        &context.shutdown,
        &context.tasks,
    );
    let token = issuer.token("dev", &["cloud_controller.read"]);
    let caller = verifier.check(Some(&token)).await.unwrap();
    assert!(caller.may_read("a") && !caller.may_read("b"));
    *access.sources.lock() = vec!["a", "b"];
    access.changes.send_modify(|change| *change += 1);
    for _ in 0..1_000 {
        if verifier.check(Some(&token)).await.unwrap().may_read("b") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(verifier.check(Some(&token)).await.unwrap().may_read("b"));
    assert!(futures::FutureExt::now_or_never(caller.ended()).is_none());
    *access.sources.lock() = vec!["b"];
    access.changes.send_modify(|change| *change += 1);
    let ended = tokio::time::timeout(Duration::from_secs(20), caller.ended()).await;
    assert_eq!(ended, Ok(Ended::Withdrawn));
}
