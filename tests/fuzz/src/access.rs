//! What must hold of what people send to be let in: tokens, forms, filters, redirect URIs, queries for streams.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use serde_json::Value;
use weir_auth::testing::{ISSUER, TestIssuer};
use weir_auth::{OnceError, check_once};
use weir_db::Dialect;
use weir_envelope::selector::Selector;
use weir_platform_uaa_server::fuzzing as uaa;
use weir_rlp_gateway::fuzzing as gateway;
use weir_service::Clock;

/// What separates header and claims of a token that is to be signed.
const PARTS: u8 = b'\n';

/// How far clocks may differ, and how long a run may take, in seconds.
const LEEWAY: i64 = 60;

/// Most selectors of a stream.
const SELECTORS: usize = 16;

thread_local! {
    static UAA: std::sync::Arc<TestIssuer> = TestIssuer::new();
}

fn check(token: &str) -> Result<weir_auth::claims::Claims, OnceError> {
    UAA.with(|issuer| {
        let checked = check_once(&issuer.config(), &**issuer, &Clock::system(), token).now_or_never();
        checked.expect("its keys are in memory")
    })
}

/// A token: any bytes are none. Bytes with a line break in them are signed as header and claims; what counts then is a
/// token to every other reader too, of the right issuer, for the right audience, and now.
pub fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(check(text).is_err(), "nobody signed it");
    let Some(at) = bytes.iter().position(|byte| *byte == PARTS) else {
        return;
    };
    let (header, claims) = (&text[..at], &text[at + 1..]);
    let Ok(accepted) = check(&UAA.with(|issuer| issuer.sign_text(header, claims, 0))) else {
        return;
    };
    let header: Value = serde_json::from_str(header).expect("a header is JSON");
    assert_eq!(header["alg"], "RS256");
    assert_eq!(header["kid"], "key-1");
    assert!(header.get("crit").is_none_or(Value::is_null));
    let claims: Value = serde_json::from_str(claims).expect("claims are JSON");
    assert_eq!(claims["iss"], ISSUER);
    let now = weir_service::clock::now_nanos() / 1_000_000_000;
    assert!(claims["exp"].as_i64().expect("an end") > now - LEEWAY);
    for begin in ["iat", "nbf"] {
        assert!(claims[begin].as_i64().is_none_or(|begin| begin < now + LEEWAY));
    }
    let audiences = match &claims["aud"] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let ours = |audience: &str| {
        let first = audience.split('.').next();
        first.is_some_and(|first| ["doppler", "logs", "cloud_controller"].contains(&first))
    };
    assert!(audiences.iter().filter_map(Value::as_str).any(ours));
    for scope in accepted.scopes() {
        assert!(claims["scope"].as_array().expect("scopes").contains(&scope.into()));
    }
    assert!(!claims["jti"].as_str().expect("a name").ends_with("-r"));
}

/// A form: what is read is what the reader of a library reads, each name once.
pub fn form(bytes: &[u8]) {
    let Some(fields) = uaa::form(bytes) else { return };
    let theirs: Vec<(String, String)> = url::form_urlencoded::parse(bytes).into_owned().collect();
    assert_eq!(theirs.len(), fields.len(), "nothing stood there twice");
    let theirs: BTreeMap<String, String> = theirs.into_iter().collect();
    assert_eq!(fields, theirs.into_iter().collect::<Vec<_>>());
    assert!(
        fields
            .iter()
            .all(|(name, value)| !name.contains('\0') && !value.contains('\0'))
    );
}

/// A SCIM filter: its SQL is made of names, operators and places for values, and has as many of those as values.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
        let Some((sql, values)) = uaa::filter(text, dialect) else {
            continue;
        };
        assert_eq!(sql.matches('?').count(), values);
        let known = |byte: u8| byte.is_ascii_lowercase() || b"_ ()?<>=',01".contains(&byte);
        assert!(sql.bytes().all(known), "{sql}");
        assert_eq!(
            sql.matches('\'').count(),
            2 * sql.matches("''").count(),
            "no text but the empty one: {sql}"
        );
        let mut depth = 0_i64;
        for byte in sql.bytes() {
            depth += i64::from(byte == b'(') - i64::from(byte == b')');
            assert!(depth >= 0, "{sql}");
        }
        assert_eq!(depth, 0, "{sql}");
    }
}

/// Two redirect URIs, a line each: what counts as the registered one leads to the same host and path.
pub fn redirect(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some((known, named)) = text.split_once('\n') else {
        return;
    };
    for known in [
        known,
        "https://app.example/cb",
        "http://127.0.0.1/cb",
        "http://[::1]/cb?a=b",
    ] {
        if !uaa::redirect(known, named) || known == named {
            continue;
        }
        let (known, named) = (
            url::Url::parse(known).expect("a URL"),
            url::Url::parse(named).expect("a URL"),
        );
        assert_eq!((known.scheme(), named.scheme()), ("http", "http"));
        assert_eq!(known.host(), named.host());
        assert_eq!((known.path(), known.query()), (named.path(), named.query()));
        let host = named.host_str().expect("a host");
        assert!(
            host == "localhost" || host == "[::1]" || host.starts_with("127."),
            "{host}"
        );
    }
}

/// A query for a stream: as many selectors as there may be, each of a source that was named; all sources only where no
/// source, or an empty one, stands in the query.
pub fn stream(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(request) = gateway::request(text, SELECTORS) else {
        return;
    };
    assert!((1..=SELECTORS).contains(&request.selectors.len()));
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(bytes).into_owned().collect();
    let named: Vec<&str> = pairs
        .iter()
        .filter(|(name, _)| name == "source_id")
        .map(|(_, source)| source.as_str())
        .collect();
    for selector in &request.selectors {
        let source = selector.source_id.as_str();
        assert!(
            named.contains(&source) || (named.is_empty() && source.is_empty()),
            "{source}"
        );
        assert!(Selector::from_proto(selector).is_some());
    }
}
