//! Tokens as they are written and as attackers write them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::signing::{assemble, signing_input};

const LONGEST: usize = 256 << 10;

fn token(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", encode(header), encode(payload), encode("signature"))
}

fn parse(token: &str) -> Result<Jwt<'_>, Flaw> {
    Jwt::parse(token, LONGEST)
}

/// What we write is read again, byte for byte of what is signed.
#[test]
fn written_and_read() {
    let claims = json!({"sub": "ümlaut", "scope": ["a.b"]});
    let input = signing_input("k1", "https://uaa.example/token_keys", claims.as_object().unwrap());
    let whole = assemble(input.clone(), &[1, 2, 255]);
    let jwt = parse(&whole).unwrap();
    assert_eq!(
        (jwt.algorithm(), jwt.key_id(), jwt.kind(), jwt.signed),
        (Some(Algorithm::Rs256), Some("k1"), Some("JWT"), input.as_str())
    );
    assert_eq!(jwt.signature, [1, 2, 255]);
    assert_eq!(jwt.claims::<Value>().unwrap(), claims);
}

/// Wrong numbers of parts, padding, other alphabets, duplicate names, `crit`, and headers that are no objects.
#[test]
fn malformed() {
    let good = token(r#"{"alg":"RS256"}"#, "{}");
    assert!(parse(&good).is_ok());
    for (bad, flaw) in [
        (String::new(), Flaw::Parts),
        (".".to_owned(), Flaw::Parts),
        ("..".to_owned(), Flaw::Header),
        ("a.b".to_owned(), Flaw::Parts),
        (format!("{good}."), Flaw::Parts),
        (format!("{good}.x"), Flaw::Parts),
        (format!("{good}="), Flaw::Encoding),
        (good.replace('.', " ."), Flaw::Encoding),
        (format!(" {good}"), Flaw::Encoding),
        (token("[]", "{}"), Flaw::Header),
        (token("{}", "{}"), Flaw::Header),
        (token(r#"{"alg":"RS256","alg":"none"}"#, "{}"), Flaw::Header),
        (token(r#"{"alg":"RS256","crit":["exp"]}"#, "{}"), Flaw::Critical),
        (token(r#"{"alg":7}"#, "{}"), Flaw::Header),
        (
            token(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(300)), "{}"),
            Flaw::Header,
        ),
        ("a".repeat(LONGEST + 1), Flaw::TooLong),
    ] {
        assert_eq!(parse(&bad).unwrap_err(), flaw, "{bad}");
    }
    let unsigned = token(r#"{"alg":"none"}"#, "not json");
    let unsigned = parse(&unsigned).unwrap();
    assert_eq!(unsigned.algorithm(), None, "no key accepts it");
    assert_eq!(unsigned.claims::<Value>().unwrap_err(), Flaw::Claims);
}

proptest! {
    /// Nothing that is sent panics.
    #[test]
    fn anything_is_survived(text in "\\PC{0,200}", header in "\\PC{0,80}", payload in "\\PC{0,80}") {
        drop(parse(&text));
        if let Ok(jwt) = parse(&token(&header, &payload)) {
            drop(jwt.claims::<Value>());
        }
    }

    /// Every claim survives the way.
    #[test]
    fn claims_survive(name in "\\PC{1,20}", value in "\\PC{0,40}", signature in proptest::collection::vec(any::<u8>(), 0..64)) {
        let claims = Map::from_iter([(name, Value::String(value))]);
        let whole = assemble(signing_input("k", "u", &claims), &signature);
        let jwt = parse(&whole).unwrap();
        prop_assert_eq!(jwt.claims::<Map<String, Value>>().unwrap(), claims);
        prop_assert_eq!(jwt.signature, signature);
    }
}
