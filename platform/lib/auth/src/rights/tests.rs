//! What is asked for, what is kept, and what counts while nobody answers.

use weir_service::{Context, ManualClock};

use super::*;
use crate::testing::TestIssuer;

/// A time to begin with.
const BEGIN: i64 = 1_767_434_000;

struct Setup {
    issuer: Arc<TestIssuer>,
    rights: ByRights,
    clock: ManualClock,
}

impl Setup {
    fn new() -> Self {
        let (clock, shown) = Clock::manual(BEGIN * 1_000_000_000);
        let issuer = TestIssuer::new();
        let rights = ByRights::new(Arc::clone(&issuer) as Arc<dyn Issuer>, shown);
        Self { issuer, rights, clock }
    }

    async fn reads(&self, claims: &Claims) -> Result<Scope, Denied> {
        self.rights.scope(claims).await
    }
}

/// A token of alice's, issued so many seconds after the beginning.
fn alice(scopes: &[&str], issued: i64) -> Claims {
    Claims {
        user_id: Some("id-of-alice".to_owned()),
        client_id: "cf".to_owned(),
        issued_at: BEGIN + issued,
        ..Claims::with_scopes(scopes.iter().copied())
    }
}

/// Only tokens that say so are asked about: others say themselves what they open.
#[tokio::test]
async fn only_where_the_token_says_so() {
    let setup = Setup::new();
    setup.issuer.set_rights("alice", &["web", "a/b", ""]);
    for (scopes, reads) in [
        (&["openid"][..], Scope::sources([""; 0])),
        (&["logs.read.own"], Scope::sources(["own"])),
        (&["logs.read", "logs.admin"], Scope::Everything),
    ] {
        assert_eq!(setup.reads(&alice(scopes, 0)).await, Ok(reads));
    }
    assert_eq!(setup.issuer.questions(), 0);
    let reads = setup.reads(&alice(&["logs.read", "logs.read.gone"], 0)).await;
    assert_eq!(
        reads,
        Ok(Scope::sources(["web", "a/b"])),
        "UAA knows better than the token"
    );
    assert_eq!(setup.issuer.questions(), 1);
}

/// An answer is asked for once in a while, and one that stays is one list.
#[tokio::test]
async fn answers_are_kept_for_a_while() {
    let setup = Setup::new();
    setup.issuer.set_rights("alice", &["web"]);
    let claims = alice(&["logs.read"], 0);
    let first = setup.reads(&claims).await.expect("known");
    for _ in 0..100 {
        assert!(setup.reads(&claims).await.expect("known").is(&first));
    }
    assert_eq!(setup.issuer.questions(), 1);
    setup.clock.advance(FRESH);
    assert!(setup.reads(&claims).await.expect("known").is(&first));
    assert_eq!(setup.issuer.questions(), 2);
    setup.issuer.set_rights("alice", &["web", "worker"]);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web"])));
    setup.clock.advance(FRESH);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web", "worker"])));
}

/// A newer token begins with what is true then; an older one takes part in it.
#[tokio::test]
async fn a_new_token_asks_anew() {
    let setup = Setup::new();
    setup.issuer.set_rights("alice", &["web"]);
    let old = alice(&["logs.read"], 0);
    assert_eq!(setup.reads(&old).await, Ok(Scope::sources(["web"])));
    setup.issuer.set_rights("alice", &[]);
    let new = alice(&["logs.read"], 1);
    assert_eq!(setup.reads(&new).await, Ok(Scope::sources([""; 0])));
    assert_eq!(setup.reads(&old).await, Ok(Scope::sources([""; 0])));
    assert_eq!(setup.issuer.questions(), 2);
}

/// While UAA is away what it said last stands, and who was never asked about waits for it.
#[tokio::test]
async fn while_nobody_answers() {
    let setup = Setup::new();
    setup.issuer.set_rights("alice", &["web"]);
    let claims = alice(&["logs.read"], 0);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web"])));
    setup.issuer.set_away(true);
    setup.clock.advance(Duration::from_secs(600));
    for _ in 0..100 {
        assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web"])));
    }
    assert_eq!(setup.issuer.questions(), 2, "it is left alone for a while");
    assert_eq!(setup.reads(&alice(&["logs.read"], 1)).await, Err(Denied::Unavailable));
    let bob = Claims {
        user_id: Some("id-of-bob".to_owned()),
        ..claims.clone()
    };
    assert_eq!(setup.reads(&bob).await, Err(Denied::Unavailable));
    setup.issuer.set_away(false);
    setup.issuer.set_rights("alice", &[]);
    setup.clock.advance(PAUSE);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources([""; 0])));
}

/// An original UAA, which has no such answers, is no trouble: its tokens say what they open.
#[tokio::test]
async fn an_issuer_without_answers() {
    let setup = Setup::new();
    setup.issuer.set_missing(true);
    assert_eq!(
        setup.reads(&alice(&["logs.read"], 0)).await,
        Ok(Scope::sources([""; 0]))
    );
}

/// However many ask, what is kept has an end.
#[tokio::test]
async fn what_is_kept_is_bounded() {
    let setup = Setup::new();
    let names: Vec<String> = (0..MOST_SOURCES / 4).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for number in 0..9 {
        let name = format!("user-{number}");
        setup.issuer.set_rights(&name, &names);
        let claims = Claims {
            user_id: Some(format!("id-of-{name}")),
            ..alice(&["logs.read"], 0)
        };
        assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(names.iter().copied())));
        let answers = setup.rights.answers.lock();
        let kept: usize = answers.by_bearer.values().map(Entry::len).sum();
        assert_eq!(kept, answers.sources);
        assert!(kept <= MOST_SOURCES, "{kept}");
    }
}

/// Many requests of one bearer are one question; a caller that is remembered reads what is true now.
#[tokio::test]
async fn remembered_callers_read_what_is_true_now() {
    let (_trigger, context) = Context::new("face");
    let issuer = TestIssuer::new();
    issuer.set_rights("alice", &["web"]);
    let verifier = issuer.verifier(&context.shutdown, &context.tasks);
    let token = issuer.token("alice", &["logs.read"]);
    let checks = (0..50).map(|_| verifier.check(Some(&token)));
    for caller in futures::future::join_all(checks).await {
        assert!(caller.expect("good").may_read("web"));
    }
    assert_eq!(issuer.questions(), 1);
    issuer.set_rights("alice", &["worker"]);
    // A token of the same second, as far as anybody can tell, is a newer one all the same.
    let again = issuer.token("alice", &["logs.read"]);
    let newer = verifier.check(Some(&again)).await.expect("good");
    assert!(!newer.may_read("web"));
    for token in [&token, &again] {
        let caller = verifier.check(Some(token)).await.expect("good");
        assert!(
            caller.may_read("worker") && !caller.may_read("web"),
            "the older tokens too"
        );
    }
    assert!(verifier.stats().hits > 0);
}
