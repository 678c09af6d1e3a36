//! Keys that change, an issuer that goes away, tokens that end while somebody is being served.

use weir_service::Clock;

use super::*;
use crate::access::{Access, ScopeFuture};
use crate::claims::Claims;
use tokio::sync::watch;

/// A token is verified once; what could make it bad makes it be verified again.
#[tokio::test]
async fn verified_tokens_are_remembered() {
    let setup = Setup::new();
    let token = setup.issuer.token("admin", &["doppler.firehose"]);
    for _ in 0..10 {
        setup.check(&format!("bearer {token}")).await.unwrap();
    }
    let stats = setup.verifier.stats();
    assert_eq!((stats.verified, stats.hits, stats.refused, stats.keys), (1, 9, 0, 1));
    setup.issuer.revoke(What::Token {
        jti: "other".to_owned(),
    });
    eventually("the revocation is seen", || setup.verifier.stats().revocations == 1).await;
    setup.check(&token).await.unwrap();
    assert_eq!(setup.verifier.stats().verified, 2);
}

/// An unknown key is asked for, and a token signed with it is good at once: nobody is refused during a rotation.
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

/// A key that is withdrawn takes its tokens with it, also those that are being served.
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

/// However many unknown keys are shown, the issuer is asked once in five seconds.
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

/// A verifier that starts knows nothing of what was revoked before: until it does, no token counts.
#[tokio::test(start_paused = true)]
async fn what_was_revoked_before_the_start() {
    let (trigger, context) = Context::new("face");
    let issuer = TestIssuer::new();
    let (revoked, good) = (
        issuer.token("admin", &["doppler.firehose"]),
        issuer.token("dev", &["logs.read.app"]),
    );
    issuer.revoke(What::User {
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

/// A router that does not know UAA yet says that there is no feed: that is no word about what was revoked.
#[tokio::test(start_paused = true)]
async fn what_is_missing_at_first() {
    let (_trigger, context) = Context::new("face");
    let issuer = TestIssuer::new();
    let revoked = issuer.token("admin", &["doppler.firehose"]);
    issuer.revoke(What::User {
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

/// Without any key nothing can be said; with the keys of earlier, their tokens stay good while the issuer is away.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away() {
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

/// Each way of revoking ends the token and whoever is served with it, and nobody else.
#[tokio::test]
async fn revocation_ends_streams() {
    for what in [
        What::User {
            user_id: "id-of-dev".to_owned(),
            client_id: None,
        },
        What::Client {
            client_id: "cf".to_owned(),
        },
        What::Signature {
            rev_sig: "digest of dev".to_owned(),
        },
        What::Token {
            jti: "token-0".to_owned(),
        },
    ] {
        let setup = Setup::new();
        let token = setup.issuer.token("dev", &["logs.read.app"]);
        let caller = setup.check(&token).await.unwrap();
        assert_eq!(caller.standing(), Ok(()));
        assert!(futures::FutureExt::now_or_never(caller.ended()).is_none());
        setup.issuer.revoke(what.clone());
        let ended = tokio::time::timeout(Duration::from_secs(20), caller.ended()).await;
        assert_eq!(ended, Ok(Ended::Revoked), "{what:?}");
        assert_eq!(caller.standing(), Err(Ended::Revoked));
        assert_eq!(setup.denied(&token).await, Denied::Revoked);
        let mut other = setup.issuer.claims("other", &["logs.read.app"]);
        other["client_id"] = json!("other");
        setup.check(&setup.issuer.sign(&other)).await.unwrap();
    }
}

/// A caller ends when its token does, whatever the cache remembers; a clock that is set forward counts too.
#[tokio::test(start_paused = true)]
async fn expiry_ends_streams() {
    let issuer = TestIssuer::new();
    let (_trigger, context) = Context::new("face");
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
    // Not later than when the wall clock is looked at again.
    let ended = tokio::time::timeout(Duration::from_secs(31), ended).await;
    assert_eq!(ended.unwrap().unwrap(), Ended::Expired);
}

/// Answers as it is told, from events.
#[derive(Debug)]
struct Told {
    sources: Mutex<Vec<&'static str>>,
    changes: watch::Sender<u64>,
}

impl Access for Told {
    fn scope<'a>(&'a self, _claims: &'a Claims) -> ScopeFuture<'a> {
        let scope = Scope::sources(self.sources.lock().iter().copied());
        Box::pin(async { Ok(scope) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Who loses the right to read something while reading is told so; who gains some is not disturbed.
#[tokio::test]
async fn rights_that_change() {
    let issuer = TestIssuer::new();
    let (_trigger, context) = Context::new("face");
    let told = Arc::new(Told {
        sources: Mutex::new(vec!["a"]),
        changes: watch::Sender::new(0),
    });
    let verifier = Verifier::start(
        &issuer.config(),
        Arc::clone(&issuer) as Arc<dyn Issuer>,
        Arc::clone(&told) as Arc<dyn Access>,
        Clock::system(),
        &context.shutdown,
        &context.tasks,
    );
    let token = issuer.token("dev", &["cloud_controller.read"]);
    let caller = verifier.check(Some(&token)).await.unwrap();
    assert!(caller.may_read("a") && !caller.may_read("b"));
    *told.sources.lock() = vec!["a", "b"];
    told.changes.send_modify(|change| *change += 1);
    for _ in 0..1_000 {
        if verifier.check(Some(&token)).await.unwrap().may_read("b") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(verifier.check(Some(&token)).await.unwrap().may_read("b"));
    assert!(futures::FutureExt::now_or_never(caller.ended()).is_none());
    *told.sources.lock() = vec!["b"];
    told.changes.send_modify(|change| *change += 1);
    let ended = tokio::time::timeout(Duration::from_secs(20), caller.ended()).await;
    assert_eq!(ended, Ok(Ended::Withdrawn));
}
