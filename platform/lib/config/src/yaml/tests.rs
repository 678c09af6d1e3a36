//! The forms of YAML that are accepted, and the errors for others.

use proptest::prelude::*;

use super::*;

fn pairs(map: &Map) -> Vec<(&str, &str)> {
    map.0
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// The file by which the agent of a job announces its port is read in each form that occurs.
#[test]
fn maps_of_one_line_are_read() {
    for text in [
        "ingress: \"3459\"\n",
        "---\ningress: '3459'",
        "# port\n\ningress: 3459 # of the agent\n...\n",
        "\"ingress\": 3459\r\n",
        "  ingress:   3459  \n",
    ] {
        assert_eq!(pairs(&map(text).unwrap()), [("ingress", "3459")], "{text:?}");
    }
    let both = map("ingress: \"4317\"\nprotocol: otelcol\n").unwrap();
    assert_eq!(pairs(&both), [("ingress", "4317"), ("protocol", "otelcol")]);
    assert!(map("").unwrap().0.is_empty());
    assert_eq!(map("ingress: ~\nprotocol:\nx: null").unwrap().get("protocol"), Some(""));
}

/// A list of drains with certificates is read as a Ruby job template writes it.
#[test]
fn lists_with_literal_blocks_are_read() {
    let text = "---\n- url: syslog-tls://a.example:6514?x=1&y=2#frag\n  cert: |\n    -----BEGIN CERTIFICATE-----\n    \
                MIIB\n\n    -----END CERTIFICATE-----\n  key: |-\n    one\n      two\n  ca: ''\n- url: \"https://b/\\u00e4\"\n";
    let drains = list(text).unwrap();
    assert_eq!(
        pairs(&drains[0]),
        [
            ("url", "syslog-tls://a.example:6514?x=1&y=2#frag"),
            (
                "cert",
                "-----BEGIN CERTIFICATE-----\nMIIB\n\n-----END CERTIFICATE-----\n"
            ),
            ("key", "one\n  two"),
            ("ca", ""),
        ]
    );
    assert_eq!(pairs(&drains[1]), [("url", "https://b/ä")]);
    assert_eq!(drains.len(), 2);
    for empty in ["", "---\n", "--- []\n", "[]", "# nothing\n"] {
        assert!(list(empty).unwrap().is_empty(), "{empty:?}");
    }
    let below = list("  -\n    url: a\n    ca: |+\n      x\n\n  - url: b\n").unwrap();
    assert_eq!(pairs(&below[0]), [("url", "a"), ("ca", "x\n\n")]);
    assert_eq!(pairs(&below[1]), [("url", "b")]);
}

/// Another form is an error with the number of the line.
#[test]
fn other_forms_are_refused() {
    for (text, line) in [
        ("ingress", 1),
        ("a: 1\na: 2", 1),
        ("a: 1\n  b: 2", 2),
        ("a: [1, 2]", 1),
        ("a: \"open", 1),
        ("a: \"x\" y", 1),
        ("a: b: c", 1),
        ("\ta: 1", 1),
        ("a: 1\n- b: 2", 2),
        ("a: \"\\q\"", 1),
        ("a:1", 1),
        ("- a: 1", 1),
        ("a: {b: 1}", 1),
    ] {
        let error = map(text).expect_err(text).to_string();
        assert!(error.contains(&format!("line {line}")), "{text:?}: {error}");
    }
    assert!(map("a: 1\n...\nb: 2").is_err() && map("a: 1\n---\nb: 2").is_err());
    for text in [
        "a: 1",
        "- ",
        "- a",
        "- a: 1\n - b: 2",
        "- a: 1\nb: 2",
        "- - a: 1",
        "- a:\n    b: 1",
    ] {
        assert!(list(text).is_err(), "{text:?}");
    }
}

/// A value of another form is read as the type that is asked for, from YAML or JSON.
#[test]
fn other_forms_are_read() {
    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    struct Routes {
        routes: Vec<Route>,
    }
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Route {
        name: String,
        port: u16,
    }
    let route = Route {
        name: "7".to_owned(),
        port: 8080,
    };
    let routes = Routes { routes: vec![route] };
    assert_eq!(read::<Routes>("routes:\n- name: 7\n  port: 8080\n").unwrap(), routes);
    assert_eq!(
        read::<Routes>(r#"{"routes": [{"name": "7", "port": 8080}]}"#).unwrap(),
        routes
    );
    assert_eq!(read::<Routes>("").unwrap(), Routes::default());
    let error = read::<Routes>("routes:\n- name: a\n  port: hunter2\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 3") && !error.contains("hunter2"), "{error}");
}

/// Errors contain no values, which may be secrets.
#[test]
fn errors_show_no_values() {
    for text in [
        "- key: hunter2: x\n",
        "- key: [hunter2]\n",
        "- hunter2\n",
        "hunter2",
        "- key: {hunter2: x}\n",
        "- key: !!null hunter2\n",
        "- key: a\n  key: hunter2\n",
        "- key: *hunter2\n",
        "- {key: hunter2",
    ] {
        let error = list(text).expect_err(text).to_string();
        assert!(!error.contains("hunter2"), "{text:?}: {error}");
    }
}

proptest! {
    /// No text causes a panic.
    #[test]
    fn hostile_texts_cause_no_panic(text in "[-a: \"'|>#\\\\~\\[\\]{}\\n\\t x0äu]{0,60}") {
        let _either = map(&text);
        let _either = list(&text);
    }

    /// A quoted text is read as it was written.
    #[test]
    fn quoted_texts_are_read_as_written(value in r"[\PC&&[^\u{2028}\u{2029}]]{0,40}") {
        let double = value.replace('\\', "\\\\").replace('"', "\\\"");
        let read = map(&format!("k: \"{double}\"")).unwrap();
        prop_assert_eq!(read.get("k"), Some(value.as_str()));
        let single = value.replace('\'', "''");
        let read = map(&format!("k: '{single}' # c")).unwrap();
        prop_assert_eq!(read.get("k"), Some(value.as_str()));
    }
}
