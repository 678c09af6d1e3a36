//! The form of the feed, and which tokens a revocation concerns.

use super::*;

fn claims() -> Claims {
    Claims {
        jti: "t1".to_owned(),
        user_id: Some("u1".to_owned()),
        client_id: "cf".to_owned(),
        issued_at: 100,
        expires_at: 700,
        rev_sig: Some("s1".to_owned()),
        ..Claims::default()
    }
}

fn page(json: &str) -> Page {
    serde_json::from_str(json).unwrap()
}

fn after(entry: &str) -> bool {
    let mut revocations = Revocations::default();
    revocations.take(page(&format!("{{\"revocations\":[{entry}],\"next\":1}}")), 110);
    revocations.cover(&claims())
}

/// The wire form of each kind of revocation, and the tokens that it concerns.
#[test]
fn each_kind_revokes_its_tokens() {
    for (entry, hit) in [
        (r#"{"kind":"token","jti":"t1","before":0,"until":700}"#, true),
        (r#"{"kind":"token","jti":"t2","before":900,"until":999}"#, false),
        (r#"{"kind":"user","user_id":"u1","before":100,"until":700}"#, true),
        (r#"{"kind":"user","user_id":"u1","before":99,"until":700}"#, false),
        (
            r#"{"kind":"user","user_id":"u1","client_id":"cf","before":100,"until":700}"#,
            true,
        ),
        (
            r#"{"kind":"user","user_id":"u1","client_id":"other","before":100,"until":700}"#,
            false,
        ),
        (r#"{"kind":"client","client_id":"cf","before":105,"until":700}"#, true),
        (r#"{"kind":"client","client_id":"u1","before":105,"until":700}"#, false),
        (r#"{"kind":"signature","rev_sig":"s1","before":105,"until":700}"#, true),
        (r#"{"kind":"galaxy","name":"far","before":105,"until":700}"#, false),
        // Its `until` has passed.
        (r#"{"kind":"user","user_id":"u1","before":100,"until":110}"#, false),
    ] {
        assert_eq!(after(entry), hit, "{entry}");
    }
    let written = serde_json::to_string(&Revocation {
        revoked: Revoked::User {
            user_id: "u1".to_owned(),
            client_id: None,
        },
        before: 1,
        until: 2,
    });
    assert_eq!(
        written.unwrap(),
        r#"{"kind":"user","user_id":"u1","before":1,"until":2}"#
    );
}

/// A token without the claim `iat` is revoked by every revocation of its user.
#[test]
fn a_token_without_iat_counts_as_old() {
    let mut revocations = Revocations::default();
    revocations.take(
        page(r#"{"revocations":[{"kind":"user","user_id":"u1","before":1,"until":700}],"next":1}"#),
        110,
    );
    assert!(revocations.cover(&Claims {
        issued_at: i64::MIN,
        ..claims()
    }));
}

/// A later entry does not weaken an earlier one, an entry is forgotten at its `until`, and the sequence number is kept.
#[test]
fn pages_add_up() {
    let mut revocations = Revocations::default();
    let user = |before: i64, until: i64| {
        page(&format!(
            r#"{{"revocations":[{{"kind":"user","user_id":"u1","before":{before},"until":{until}}}],"next":7}}"#
        ))
    };
    assert!(revocations.take(user(100, 700), 110));
    assert!(revocations.take(user(50, 600), 110));
    assert!(revocations.cover(&claims()));
    assert_eq!((revocations.since(), revocations.len()), (7, 1));
    assert!(!revocations.take(page(r#"{"next":7}"#), 700));
    assert!(revocations.is_empty());
}

/// The feed of an issuer that has begun to count again is read from its start, and the known revocations are kept.
#[test]
fn an_issuer_that_counts_from_the_start_is_read_again() {
    let mut revocations = Revocations::default();
    revocations.take(
        page(r#"{"revocations":[{"kind":"token","jti":"t1","before":1,"until":700}],"next":70}"#),
        110,
    );
    assert!(!revocations.take(page(r#"{"next":3}"#), 110));
    assert_eq!(revocations.since(), 0);
    assert!(revocations.cover(&claims()));
}

/// With more revocations than can be kept, every token up to then is revoked, and later tokens are not.
#[test]
fn an_overflow_revokes_every_earlier_token() {
    let mut revocations = Revocations::default();
    revocations.overflow(100);
    assert!(revocations.cover(&claims()) && !revocations.is_empty());
    assert!(!revocations.cover(&Claims {
        issued_at: 101,
        ..claims()
    }));
}
