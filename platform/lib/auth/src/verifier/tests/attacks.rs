//! Tokens that an attacker has forged, reused or changed.

use proptest::prelude::*;

use super::*;
use crate::claims::Payload;

/// A valid token allows what its scopes say.
#[tokio::test]
async fn a_valid_token_allows_what_its_scopes_say() {
    let setup = Setup::new();
    let admin = setup
        .check(&setup.issuer.token("admin", &["doppler.firehose", "openid"]))
        .await
        .unwrap();
    assert!(admin.may_open_firehose() && admin.scope() == &Scope::Everything);
    assert!(admin.has_scope("openid") && !admin.has_scope("routing.routes.write"));
    assert_eq!((admin.id(), admin.name()), ("user:id-of-admin", "admin"));
    let reader = setup
        .check(&setup.issuer.token("reader", &["logs.admin"]))
        .await
        .unwrap();
    assert!(!reader.may_open_firehose() && reader.may_read("anything"));
    let tenant = setup
        .check(&setup.issuer.token("dev", &["logs.read.app"]))
        .await
        .unwrap();
    assert!(tenant.may_read("app") && !tenant.may_read("other") && !tenant.may_read(""));
    let token = setup.issuer.token("dev", &["logs.read.app"]);
    assert!(setup.verifier.source(Some(&token), "app").await.is_ok());
    assert_eq!(
        setup.verifier.source(Some(&token), "other").await,
        Err(Denied::NotFound)
    );
    assert_eq!(setup.verifier.firehose(Some(&token)).await, Err(Denied::Forbidden));
    // A token without a scope for logs is valid, and allows no source.
    let nobody = setup
        .check(&setup.issuer.token("nobody", &["cloud_controller.read"]))
        .await
        .unwrap();
    assert!(nobody.scope().is_empty());
    assert_eq!(setup.verifier.check(None).await, Err(Denied::Missing));
    assert_eq!(setup.verifier.check(Some("bearer ")).await, Err(Denied::Missing));
}

/// Other algorithms than RS256, such as `none`, are refused with and without a signature.
#[tokio::test]
async fn a_token_does_not_choose_its_algorithm() {
    let setup = Setup::new();
    let claims = setup.issuer.claims("admin", &["doppler.firehose"]);
    for alg in [
        "none", "None", "NONE", "nOnE", "", "RS512", "rs256", "PS256", "ES256", "HS256", "RS256 ",
    ] {
        let token = setup.issuer.sign_as(&json!({"alg": alg, "kid": kid(0)}), &claims, 0);
        assert_eq!(setup.denied(&token).await, Denied::Invalid, "{alg}");
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(setup.denied(&format!("{signed}.")).await, Denied::Invalid, "{alg}");
    }
    for header in [
        json!({"kid": kid(0)}),
        json!({"alg": null, "kid": kid(0)}),
        json!({"alg": ["RS256"], "kid": kid(0)}),
    ] {
        assert_eq!(
            setup.denied(&setup.issuer.sign_as(&header, &claims, 0)).await,
            Denied::Invalid
        );
    }
    // The right algorithm without a signature, or with a signature of zeros of the right length.
    let good = setup.issuer.sign(&claims);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for signature in [
        String::new(),
        URL_SAFE_NO_PAD.encode([0; 256]),
        URL_SAFE_NO_PAD.encode([1]),
    ] {
        assert_eq!(setup.denied(&format!("{signed}.{signature}")).await, Denied::Invalid);
    }
}

/// A MAC whose secret is the public key, which everybody has, is refused.
#[tokio::test]
async fn a_mac_with_the_public_key_is_refused() {
    let setup = Setup::new();
    let claims = URL_SAFE_NO_PAD.encode(setup.issuer.claims("admin", &["doppler.firehose"]).to_string());
    let (jwks, der) = (setup.issuer.jwks(), setup.issuer.public_der(0));
    for alg in ["HS256", "RS256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT", "kid": kid(0)}).to_string());
        let signed = format!("{header}.{claims}");
        for secret in [der.as_slice(), jwks.as_bytes(), b"key-1", b""] {
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()));
            assert_eq!(setup.denied(&token).await, Denied::Invalid, "{alg}");
        }
    }
}

/// The `kid` of a token is looked up as a name only, and not used as a path, a query or a URL.
#[tokio::test]
async fn key_names_are_only_names() {
    let setup = Setup::new();
    assert!(setup.with(|_| ()).await.is_ok());
    let claims = setup.issuer.claims("admin", &["doppler.firehose"]);
    // The first token causes a fetch of keys. The others come within five seconds and wait for one more.
    let kids = [
        "../../../../dev/null",
        "/proc/self/environ",
        "key-1' OR '1'='1",
        "key-1\u{0}",
        " key-1",
        "KEY-1",
        "https://evil.test/keys",
        "key-2",
    ];
    let denied = futures::future::join_all(kids.map(|kid| {
        // Signed with the second key, which is not published.
        let token = setup.issuer.sign_as(&json!({"alg": "RS256", "kid": kid}), &claims, 1);
        let setup = &setup;
        async move { setup.denied(&token).await }
    }));
    assert!(denied.await.iter().all(|denied| *denied == Denied::Invalid));
    assert!(setup.issuer.fetches() <= 3, "{}", setup.issuer.fetches());
    let long = "k".repeat(10_000);
    for header in [
        json!({"alg": "RS256"}),
        json!({"alg": "RS256", "kid": ""}),
        json!({"alg": "RS256", "kid": null}),
        json!({"alg": "RS256", "kid": 1}),
        json!({"alg": "RS256", "kid": ["key-1"]}),
        json!({"alg": "RS256", "kid": long}),
    ] {
        assert_eq!(
            setup.denied(&setup.issuer.sign_as(&header, &claims, 0)).await,
            Denied::Invalid
        );
    }
}

/// Header fields that carry or locate a key are ignored, whether the signature is valid or not.
#[tokio::test]
async fn a_token_does_not_bring_its_key() {
    let setup = Setup::new();
    let mut header = json!({
        "alg": "RS256", "typ": "JWT", "kid": kid(0), "jku": "https://evil.test/keys", "x5u": "https://evil.test/x",
        "jwk": {"kty": "RSA", "kid": kid(0), "n": "AQID", "e": "AQAB"}, "x5c": ["AAAA"],
    });
    let claims = setup.issuer.claims("admin", &["doppler.firehose"]);
    assert!(setup.check(&setup.issuer.sign_as(&header, &claims, 0)).await.is_ok());
    assert_eq!(
        setup.denied(&setup.issuer.sign_as(&header, &claims, 1)).await,
        Denied::Invalid
    );
    header["crit"] = json!(["exp"]);
    assert_eq!(
        setup.denied(&setup.issuer.sign_as(&header, &claims, 0)).await,
        Denied::Invalid
    );
    for typ in ["refresh+jwt", "JWE", ""] {
        let header = json!({"alg": "RS256", "kid": kid(0), "typ": typ});
        assert_eq!(
            setup.denied(&setup.issuer.sign_as(&header, &claims, 0)).await,
            Denied::Invalid
        );
    }
}

/// The times of a token are checked, with five seconds of leeway between the clocks.
#[tokio::test]
async fn times_are_checked() {
    let setup = Setup::new();
    let at = now();
    assert_eq!(
        setup.with(|claims| claims["exp"] = json!(at - 7)).await,
        Err(Denied::Expired)
    );
    assert!(setup.with(|claims| claims["exp"] = json!(at)).await.is_ok());
    assert_eq!(
        setup.with(|claims| claims["nbf"] = json!(at + 60)).await,
        Err(Denied::Invalid)
    );
    assert_eq!(
        setup.with(|claims| claims["iat"] = json!(at + 60)).await,
        Err(Denied::Invalid)
    );
    assert!(setup.with(|claims| claims["nbf"] = json!(at + 3)).await.is_ok());
    for odd in [
        json!("never"),
        json!(null),
        json!(-1.5),
        json!(1e300),
        json!([at + 60]),
        json!(u64::MAX),
    ] {
        assert!(setup.with(|claims| claims["exp"] = odd.clone()).await.is_err(), "{odd}");
    }
    assert_eq!(
        setup.with(|claims| claims["exp"] = json!(i64::MIN)).await,
        Err(Denied::Expired)
    );
    assert!(setup.with(|claims| claims["exp"] = json!(i64::MAX)).await.is_ok());
    assert_eq!(
        setup.with(|claims| claims["nbf"] = json!(i64::MAX)).await,
        Err(Denied::Invalid)
    );
}

/// A token with another issuer or audience, without a claim that it needs, or of another kind is refused.
#[tokio::test]
async fn issuer_audience_and_kind_are_checked() {
    let setup = Setup::new();
    for issuer in [
        json!("https://uaa.test/oauth/token/"),
        json!("https://uaa.test"),
        json!("http://uaa.test/oauth/token"),
        json!("https://zone.uaa.test/oauth/token"),
        json!(""),
        json!(null),
        json!(["https://uaa.test/oauth/token"]),
    ] {
        assert_eq!(
            setup.with(|claims| claims["iss"] = issuer.clone()).await,
            Err(Denied::Invalid),
            "{issuer}"
        );
    }
    for audience in [
        json!(["cf", "uaa"]),
        json!([]),
        json!("dopple"),
        json!("doppler2"),
        json!(null),
        json!({"doppler": 1}),
    ] {
        assert_eq!(
            setup.with(|claims| claims["aud"] = audience.clone()).await,
            Err(Denied::Invalid),
            "{audience}"
        );
    }
    assert!(setup.with(|claims| claims["aud"] = json!("doppler")).await.is_ok());
    for missing in ["jti", "iss", "aud", "exp"] {
        let verdict = setup
            .with(|claims| drop(claims.as_object_mut().unwrap().remove(missing)))
            .await;
        assert_eq!(verdict, Err(Denied::Invalid), "{missing}");
    }
    assert_eq!(
        setup.with(|claims| claims["jti"] = json!("token-1-r")).await,
        Err(Denied::Invalid)
    );
    assert_eq!(
        setup.with(|claims| claims["jti"] = json!("")).await,
        Err(Denied::Invalid)
    );
    assert_eq!(
        setup.with(|claims| claims["user_id"] = json!("")).await,
        Err(Denied::Invalid)
    );
    let anonymous = setup.with(|claims| {
        for name in ["client_id", "cid"] {
            claims.as_object_mut().unwrap().remove(name);
        }
    });
    assert_eq!(anonymous.await, Err(Denied::Invalid));
}

/// Scopes are a list of complete names: other forms are refused, and other names allow nothing.
#[tokio::test]
async fn scopes_are_exact() {
    let setup = Setup::new();
    for scope in [
        json!("doppler.firehose"),
        json!({"doppler.firehose": true}),
        json!(7),
        json!([7]),
    ] {
        assert_eq!(
            setup.with(|claims| claims["scope"] = scope.clone()).await,
            Err(Denied::Invalid),
            "{scope}"
        );
    }
    for scope in [
        json!([]),
        json!(["doppler.firehose "]),
        json!(["DOPPLER.FIREHOSE"]),
        json!(["doppler.*"]),
        json!(["doppler"]),
    ] {
        let caller = setup.with(|claims| claims["scope"] = scope.clone()).await.unwrap();
        assert!(caller.scope().is_empty() && !caller.may_open_firehose(), "{scope}");
    }
    let without = setup
        .with(|claims| drop(claims.as_object_mut().unwrap().remove("scope")))
        .await;
    assert!(without.unwrap().scope().is_empty());
    // The claim `authorities` says what the client may do, not what this token allows.
    let client = setup.with(|claims| {
        claims["scope"] = json!([]);
        claims["authorities"] = json!(["doppler.firehose"]);
    });
    assert!(client.await.unwrap().scope().is_empty());
}

/// A claim or header field that stands there twice is refused, because two readers could take different ones.
#[tokio::test]
async fn duplicates_are_refused() {
    let setup = Setup::new();
    let claims = setup.issuer.claims("dev", &["openid", "logs.read.app"]).to_string();
    let twice = claims.replacen('{', r#"{"scope":["doppler.firehose"],"#, 1);
    let header = json!({"alg": "RS256", "kid": kid(0)}).to_string();
    assert!(setup.check(&setup.issuer.sign_text(&header, &claims, 0)).await.is_ok());
    assert_eq!(
        setup.denied(&setup.issuer.sign_text(&header, &twice, 0)).await,
        Denied::Invalid
    );
    let header = r#"{"alg":"none","alg":"RS256","kid":"key-1"}"#;
    assert_eq!(
        setup.denied(&setup.issuer.sign_text(header, &claims, 0)).await,
        Denied::Invalid
    );
}

/// Tokens that are too long, too short, or have too many parts, another alphabet or surplus bits are refused.
#[tokio::test]
async fn the_form_is_strict() {
    let setup = Setup::new();
    let good = setup.issuer.token("admin", &["doppler.firehose"]);
    assert!(setup.check(&good).await.is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let mut malformed = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload} .{signature}"),
        format!("{header}\n.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}A"),
        format!("{payload}.{header}.{signature}"),
        "x".repeat(10 << 20),
        format!("{header}.{}.{signature}", "A".repeat(40_000)),
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode("[]")),
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(b"\xff\xfe")),
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode("[".repeat(10_000))),
    ];
    // A different letter at any place makes the token invalid, even if it differs only in bits that carry nothing.
    for at in [0, header.len() + 3, good.len() - 1] {
        let other = if good.as_bytes()[at] == b'A' { 'B' } else { 'A' };
        let mut changed = good.clone();
        changed.replace_range(at..=at, &other.to_string());
        malformed.push(changed);
    }
    for token in malformed {
        let denied = setup.denied(&token).await;
        let start: String = token.chars().take(60).collect();
        assert!(matches!(denied, Denied::Invalid | Denied::Missing), "{start}: {denied}");
    }
    assert!(setup.check(&format!("BEARER  {good}")).await.is_ok());
    assert_eq!(setup.denied(&format!("basic {good}")).await, Denied::Invalid);
    assert_eq!(setup.denied(&format!("bearer bearer {good}")).await, Denied::Invalid);
}

/// The token of a user with hundreds of groups is accepted, and one that is longer than the limit is refused.
#[tokio::test]
async fn large_tokens() {
    let setup = Setup::new();
    let many: Vec<String> = (0..400).map(|number| format!("logs.read.{number:036}")).collect();
    let scopes: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut claims = setup.issuer.claims("dev", &[]);
    claims["aud"] = json!(["logs.read"]);
    claims["scope"] = json!(scopes);
    assert!(
        setup
            .check(&setup.issuer.sign(&claims))
            .await
            .unwrap()
            .may_read(&format!("{:036}", 399))
    );
    claims["padding"] = json!("x".repeat(30_000));
    assert_eq!(setup.denied(&setup.issuer.sign(&claims)).await, Denied::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Random text is refused without a panic.
    #[test]
    fn noise_is_refused(header in "\\PC{0,60}", payload in "\\PC{0,60}", signature in proptest::collection::vec(any::<u8>(), 0..300), raw in "\\PC{0,80}") {
        let token = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload),
            URL_SAFE_NO_PAD.encode(signature)
        );
        prop_assert!(ParsedToken::parse(&token).is_err());
        prop_assert!(ParsedToken::parse(&raw).is_err());
    }

    /// Random objects of the form of a header and claims are refused without a panic, or read with their values.
    #[test]
    fn objects_are_read_or_refused(alg in "RS256|none|HS256|", kid in "[ -~]{0,20}", exp in any::<i64>(), scope in proptest::collection::vec("[a-z.]{0,12}", 0..5), extra in "[a-z]{1,8}", value in any::<f64>()) {
        let header = json!({"alg": alg, "kid": kid, extra.clone(): value});
        let mut claims = json!({"iss": "i", "aud": ["a"], "exp": exp, "jti": "j", "cid": "c", "scope": scope});
        claims.as_object_mut().unwrap().entry(extra).or_insert(json!(value));
        let token = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        if let Ok(parsed) = ParsedToken::parse(&token) {
            prop_assert!(alg == "RS256" && parsed.key_id == kid);
            if let Ok(payload) = parsed.jwt.claims::<Payload>() {
                prop_assert_eq!(payload.exp, exp);
                let claims = payload.into_claims().unwrap();
                prop_assert!(scope.iter().all(|scope| claims.has_scope(scope)));
            }
        }
    }
}
