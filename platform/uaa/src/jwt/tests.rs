//! Tokens as they are written and as attackers write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn token(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", encode(header), encode(payload), encode("signature"))
}

/// What we write is read again, byte for byte of what is signed.
#[test]
fn written_and_read() {
    let claims = json!({"sub": "ümlaut", "scope": ["a.b"]});
    let input = signing_input("k1", "https://uaa.example/token_keys", claims.as_object().unwrap());
    let whole = assemble(input.clone(), &[1, 2, 255]);
    let parsed = Parsed::parse(&whole).unwrap();
    assert_eq!(
        (parsed.algorithm.as_str(), parsed.kid.as_deref(), parsed.signed),
        ("RS256", Some("k1"), input.as_str())
    );
    assert_eq!(parsed.signature, [1, 2, 255]);
    assert_eq!(parsed.claims::<Value>().unwrap(), claims);
}

/// Wrong numbers of parts, padding, other alphabets, duplicate names, `crit`, and headers that are no objects.
#[test]
fn malformed() {
    let good = token(r#"{"alg":"RS256"}"#, "{}");
    assert!(Parsed::parse(&good).is_ok());
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b".to_owned(),
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}="),
        good.replace('.', " ."),
        format!(" {good}"),
        token("[]", "{}"),
        token("{}", "{}"),
        token(r#"{"alg":"RS256","alg":"none"}"#, "{}"),
        token(r#"{"alg":"RS256","crit":["exp"]}"#, "{}"),
        token(r#"{"alg":7}"#, "{}"),
        token(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(300)), "{}"),
        "a".repeat(LONGEST + 1),
    ] {
        assert_eq!(Parsed::parse(&bad).unwrap_err(), Flaw::Form, "{bad}");
    }
    let parsed_payload = token(r#"{"alg":"none"}"#, "not json");
    let parsed = Parsed::parse(&parsed_payload).unwrap();
    assert_eq!(parsed.algorithm, "none", "for the verifier to refuse");
    assert_eq!(parsed.claims::<Value>().unwrap_err(), Flaw::Claims);
}

proptest! {
    /// Nothing that is sent panics.
    #[test]
    fn anything_is_survived(text in "\\PC{0,200}", header in "\\PC{0,80}", payload in "\\PC{0,80}") {
        drop(Parsed::parse(&text));
        if let Ok(parsed) = Parsed::parse(&token(&header, &payload)) {
            drop(parsed.claims::<Value>());
        }
    }

    /// Every claim survives the way.
    #[test]
    fn claims_survive(name in "\\PC{1,20}", value in "\\PC{0,40}", signature in proptest::collection::vec(any::<u8>(), 0..64)) {
        let claims = Map::from_iter([(name, Value::String(value))]);
        let whole = assemble(signing_input("k", "u", &claims), &signature);
        let parsed = Parsed::parse(&whole).unwrap();
        prop_assert_eq!(parsed.claims::<Map<String, Value>>().unwrap(), claims);
        prop_assert_eq!(parsed.signature, signature);
    }
}
