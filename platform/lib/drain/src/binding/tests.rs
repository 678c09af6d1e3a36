use rcgen::{CertificateParams, KeyPair};

use super::*;

fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["client".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (cert.pem(), key.serialize_pem())
}

fn app(guid: &str) -> App {
    App {
        hostname: "o.s.a".to_owned(),
        app_id: guid.to_owned(),
    }
}

fn item(url: &str, credentials: Vec<feed::Credential>) -> feed::Item {
    feed::Item {
        url: url.to_owned(),
        credentials,
    }
}

fn credential(cert: &str, key: &str, ca: &str, apps: &[&str]) -> feed::Credential {
    feed::Credential {
        cert: cert.to_owned(),
        key: key.to_owned(),
        ca: ca.to_owned(),
        apps: Some(apps.iter().map(|guid| app(guid)).collect()),
    }
}

/// An item becomes one binding for each app and credential. Any difference gives another id, and equal parts give an
/// equal id in every version.
#[test]
fn items_become_bindings() {
    let (cert, key) = pair();
    let url = "syslog-tls://h:6514";
    let mut without = credential("", "", "", &["c"]);
    let feed = item(
        url,
        vec![credential(&cert, &key, &cert, &["a", "b", ""]), without.clone()],
    );
    let bindings: Vec<Binding> = Binding::expand(&feed).map(Result::unwrap).collect();
    let apps: Vec<_> = bindings.iter().map(|binding| binding.source_id().unwrap()).collect();
    assert_eq!(apps, ["a", "b", "c"]);
    assert_eq!(bindings[0].hostname(), "o.s.a");
    assert!(bindings[0].credentials.pair().is_some() && bindings[2].credentials.pair().is_none());
    assert_eq!(bindings, Binding::expand(&feed).map(Result::unwrap).collect::<Vec<_>>());

    let of = |url: &str, app, cert: &str| {
        let credentials = Credentials {
            cert: Some(cert.to_owned()),
            ..Credentials::default()
        };
        Binding::new(DrainUrl::parse(url).unwrap(), app, credentials)
    };
    let first = of(url, Some(app("a")), "x");
    for other in [
        of(url, Some(app("a")), "y"),
        of(url, Some(app("b")), "x"),
        of(url, None, "x"),
        of("syslog-tls://h:6515", Some(app("a")), "x"),
    ] {
        assert_ne!(first.id, other.id);
    }
    assert_eq!(first.rotation_id, of(url, Some(app("a")), "y").rotation_id);
    assert_ne!(first.rotation_id, of(url, Some(app("b")), "x").rotation_id);
    // A fixed value: lines on disk must find their binding after an update of Weir.
    let plain = Binding::new(
        DrainUrl::parse("syslog://h:1").unwrap(),
        Some(app("a")),
        Credentials::default(),
    );
    assert_eq!(plain.id.to_string(), "c38ac0a32cf92c35633385f6fe374aff");
    assert_eq!(plain.id.to_string().parse(), Ok(plain.id));
    assert!("../../etc/passwd".parse::<BindingId>().is_err() && "+1".repeat(16).parse::<BindingId>().is_err());

    // An item without apps never becomes an aggregate drain.
    without.apps = None;
    assert_eq!(Binding::expand(&item(url, vec![without.clone()])).count(), 0);
    let aggregate: Vec<_> = Binding::aggregate(&item(url, vec![without]))
        .map(Result::unwrap)
        .collect();
    assert_eq!((aggregate.len(), aggregate[0].app.clone()), (1, None));
    assert_eq!(Binding::aggregate(&item(url, Vec::new())).count(), 1);
}

/// A binding that cannot be used is reported for each app, in the contract's words.
#[test]
fn unusable_bindings_are_reported() {
    let (cert, key) = pair();
    let (_, other) = pair();
    let told = |url: &str, credential: feed::Credential| -> Vec<(Option<String>, String)> {
        Binding::expand(&item(url, vec![credential]))
            .filter_map(Result::err)
            .map(|invalid| (invalid.app, invalid.text))
            .collect()
    };
    let a = Some("a".to_owned());
    let url = "https://u:secret@h/p?token=secret";
    assert_eq!(
        told("nothing", credential("", "", "", &["a", "b"])),
        [
            (a.clone(), "Cannot parse syslog drain URL.".to_owned()),
            (Some("b".to_owned()), "Cannot parse syslog drain URL.".to_owned())
        ]
    );
    for (cert, key) in [(cert.as_str(), other.as_str()), (&cert, "nonsense"), ("nonsense", &key)] {
        let text = "failed to load certificate for https://h/p".to_owned();
        assert_eq!(told(url, credential(cert, key, "", &["a"])), [(a.clone(), text)]);
    }
    let text = "failed to load root CA for https://h/p".to_owned();
    assert_eq!(told(url, credential("", "", "nonsense", &["a"])), [(a, text)]);
    // As in the original, half of a pair is ignored, and so is text around a CA certificate.
    assert!(told(url, credential("nonsense", "", "", &["a"])).is_empty());
    assert!(told(url, credential("", "nonsense", "", &["a"])).is_empty());
    assert!(told(url, credential("", "", &format!("# CA\n{cert}trailer\n"), &["a"])).is_empty());
}

/// Neither `Debug` nor `Display` shows a secret.
#[test]
fn secrets_stay_hidden() {
    let (cert, key) = pair();
    let feed = item(
        "https://u:hunter2@h/?t=hunter2",
        vec![credential(&cert, &key, &cert, &["a"])],
    );
    let binding = Binding::expand(&feed).next().unwrap().unwrap();
    let shown = format!("{binding:?} {feed:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("BEGIN"), "{shown}");
}
