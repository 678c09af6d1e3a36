//! When UAA is asked for rights, how long answers are kept, and which are used while UAA does not answer.

use weir_service::{Context, ManualClock};

use super::*;
use crate::testing::TestIssuer;

/// The time at which the tests begin, in seconds since the Unix epoch.
const BEGIN: i64 = 1_767_434_000;

struct Setup {
    issuer: Arc<TestIssuer>,
    rights: ByRights,
    clock: ManualClock,
}

impl Setup {
    fn new() -> Self {
        let (hands, clock) = Clock::manual(BEGIN * 1_000_000_000);
        let issuer = TestIssuer::new();
        let rights = ByRights::new(Arc::clone(&issuer) as Arc<dyn Issuer>, clock);
        Self {
            issuer,
            rights,
            clock: hands,
        }
    }

    async fn reads(&self, claims: &Claims) -> Result<Scope, Denied> {
        self.rights.scope(claims).await
    }
}

/// The claims of a token of user `alice` that was issued `issued` seconds after the beginning.
fn alice(scopes: &[&str], issued: i64) -> Claims {
    Claims {
        user_id: Some("id-of-alice".to_owned()),
        client_id: "cf".to_owned(),
        issued_at: BEGIN + issued,
        ..Claims::with_scopes(scopes.iter().copied())
    }
}

/// UAA is asked only about tokens with the scope `logs.read` alone. Other tokens contain their rights.
#[tokio::test]
async fn only_some_tokens_need_rights() {
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
        "UAA's answer counts, and not the token's scopes"
    );
    assert_eq!(setup.issuer.questions(), 1);
}

/// An answer is kept for a while, and an unchanged answer keeps its list.
#[tokio::test]
async fn answers_are_kept_for_a_while() {
    let setup = Setup::new();
    setup.issuer.set_rights("alice", &["web"]);
    let claims = alice(&["logs.read"], 0);
    let first = setup.reads(&claims).await.expect("known");
    for _ in 0..100 {
        assert!(setup.reads(&claims).await.expect("known").shares_list(&first));
    }
    assert_eq!(setup.issuer.questions(), 1);
    setup.clock.advance(FRESH_FOR);
    assert!(setup.reads(&claims).await.expect("known").shares_list(&first));
    assert_eq!(setup.issuer.questions(), 2);
    setup.issuer.set_rights("alice", &["web", "worker"]);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web"])));
    setup.clock.advance(FRESH_FOR);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web", "worker"])));
}

/// UAA is asked again for a newer token, and the answer is used for older tokens as well.
#[tokio::test]
async fn a_newer_token_gets_current_rights() {
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

/// While UAA is unreachable, its last answer is used. A bearer that it was never asked about is refused.
#[tokio::test]
async fn the_last_answer_is_used_while_uaa_is_unreachable() {
    let setup = Setup::new();
    setup.issuer.set_rights("alice", &["web"]);
    let claims = alice(&["logs.read"], 0);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web"])));
    setup.issuer.set_away(true);
    setup.clock.advance(Duration::from_secs(600));
    for _ in 0..100 {
        assert_eq!(setup.reads(&claims).await, Ok(Scope::sources(["web"])));
    }
    assert_eq!(setup.issuer.questions(), 2, "UAA is not asked again at once");
    assert_eq!(setup.reads(&alice(&["logs.read"], 1)).await, Err(Denied::Unavailable));
    let bob = Claims {
        user_id: Some("id-of-bob".to_owned()),
        ..claims.clone()
    };
    assert_eq!(setup.reads(&bob).await, Err(Denied::Unavailable));
    setup.issuer.set_away(false);
    setup.issuer.set_rights("alice", &[]);
    setup.clock.advance(RETRY_PAUSE);
    assert_eq!(setup.reads(&claims).await, Ok(Scope::sources([""; 0])));
}

/// An original UAA cannot be asked for rights. Its bearers have those that their tokens contain.
#[tokio::test]
async fn an_issuer_without_rights() {
    let setup = Setup::new();
    setup.issuer.set_missing(true);
    assert_eq!(
        setup.reads(&alice(&["logs.read"], 0)).await,
        Ok(Scope::sources([""; 0]))
    );
}

/// The answers that are kept stay bounded, however many bearers there are.
#[tokio::test]
async fn answers_are_bounded() {
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

/// Many requests of one bearer lead to one question. A token that the verifier remembers gets current rights.
#[tokio::test]
async fn remembered_tokens_get_current_rights() {
    let (_trigger, context) = Context::new("server");
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
    // Another token counts as newer, even if it was issued in the second of the first one.
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
