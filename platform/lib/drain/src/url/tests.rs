use proptest::prelude::*;
use weir_envelope::batch::Kind;

use super::*;

fn parsed(text: &str) -> DrainUrl {
    DrainUrl::parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

/// URLs are parsed for every scheme and every form of a host.
#[test]
fn urls_are_parsed() {
    for (text, scheme, host, port, target, safe) in [
        ("syslog://h:514", Scheme::Syslog, "h", 514, "/", "syslog://h:514"),
        ("syslog://h:443", Scheme::Syslog, "h", 443, "/", "syslog://h:443"),
        (
            "SYSLOG://Logs.Example:514/",
            Scheme::Syslog,
            "logs.example",
            514,
            "/",
            "syslog://Logs.Example:514/",
        ),
        (
            "syslog-tls://logs.example.:6514?drain-data=all",
            Scheme::SyslogTls,
            "logs.example",
            6514,
            "/?drain-data=all",
            "syslog-tls://logs.example.:6514",
        ),
        ("https://h", Scheme::Https, "h", 443, "/", "https://h"),
        ("https://h?a=b", Scheme::Https, "h", 443, "/?a=b", "https://h"),
        (
            "https://h:8443/a/b?c=d#e",
            Scheme::Https,
            "h",
            8443,
            "/a/b?c=d",
            "https://h:8443/a/b",
        ),
        (
            "https-batch://h/in?x=a%20b",
            Scheme::HttpsBatch,
            "h",
            443,
            "/in?x=a%20b",
            "https-batch://h/in",
        ),
        (
            "https://10.1.2.3/x",
            Scheme::Https,
            "10.1.2.3",
            443,
            "/x",
            "https://10.1.2.3/x",
        ),
        (
            "syslog://[2001:db8::1]:514",
            Scheme::Syslog,
            "2001:db8::1",
            514,
            "/",
            "syslog://[2001:db8::1]:514",
        ),
        (
            "syslog://[::ffff:127.0.0.1]:514",
            Scheme::Syslog,
            "::ffff:127.0.0.1",
            514,
            "/",
            "syslog://[::ffff:7f00:1]:514",
        ),
        ("  https://h/p  ", Scheme::Https, "h", 443, "/p", "https://h/p"),
        (
            "syslog://0x7f.1:514",
            Scheme::Syslog,
            "127.0.0.1",
            514,
            "/",
            "syslog://0x7f.1:514",
        ),
    ] {
        let url = parsed(text);
        assert_eq!(url.scheme(), scheme, "`{text}`");
        assert_eq!(url.host(), host, "`{text}`");
        assert_eq!(url.port(), port, "`{text}`");
        assert_eq!(url.target(), target, "`{text}`");
        assert_eq!(url.safe(), safe, "`{text}`");
        assert_eq!(url.expose(), text.trim());
    }
}

/// Each mistake in a URL is reported with the contract's text.
#[test]
fn mistakes_have_the_contracts_texts() {
    for (text, error) in [
        ("", "Cannot parse syslog drain URL."),
        ("no url", "Cannot parse syslog drain URL."),
        ("//h:514", "Cannot parse syslog drain URL."),
        ("syslog://h:port", "Cannot parse syslog drain URL."),
        ("syslog://h:99999", "Cannot parse syslog drain URL."),
        ("syslog://h o:514", "Cannot parse syslog drain URL."),
        ("syslog://h\n:514", "Cannot parse syslog drain URL."),
        ("syslog://[::1:514", "Cannot parse syslog drain URL."),
        ("syslog://1.2.3.256:514", "Cannot parse syslog drain URL."),
        ("ftp://u:p@h/p?q", "Invalid Scheme ftp for syslog drain url ftp://h/p"),
        ("http://h:80/p", "Invalid Scheme http for syslog drain url http://h/p"),
        (
            "logs.example:514",
            "Invalid Scheme logs.example for syslog drain url logs.example:…",
        ),
        (
            "mailto:u:secret@h",
            "Invalid Scheme mailto for syslog drain url mailto:…",
        ),
        ("syslog:///path", "No hostname found in syslog drain url syslog:///path"),
        ("syslog://", "No hostname found in syslog drain url syslog://"),
        ("syslog://:514", "No hostname found in syslog drain url syslog://"),
        (
            "https://u:secret@/p?q",
            "No hostname found in syslog drain url https://",
        ),
        ("https:h", "No hostname found in syslog drain url https:…"),
        ("syslog://h", "No port found in syslog drain url syslog://h"),
        (
            "syslog-tls://u:secret@h/?q",
            "No port found in syslog drain url syslog-tls://h/",
        ),
        ("syslog://h:0", "No port found in syslog drain url syslog://h:0"),
        (
            "https://h?include-log-source-types=APP&exclude-log-source-types=RTR",
            "include-log-source-types and exclude-log-source-types cannot be used at the same time in syslog drain url https://h",
        ),
        (
            "https://u:secret@h?exclude-log-source-types=APP,foo,b%20ar",
            "Unknown source types 'foo, bar' in source type filter in syslog drain url https://h",
        ),
    ] {
        let found = DrainUrl::parse(text).expect_err(text).to_string();
        assert_eq!(found, error, "`{text}`");
        assert!(!found.contains("secret"));
    }
}

/// User info is decoded for the request to the drain, and appears in no text.
#[test]
fn no_form_of_a_url_shows_its_secrets() {
    let url = parsed("https://us%2Fer:pa%24s@h:1/a/0123456789abcdef0123/b?token=hunter2#hunter2");
    assert_eq!(url.user(), Some(("us/er", "pa$s")));
    let shown = format!("{url} {url:?} {}", url.safe());
    assert_eq!(shown, "https://h:1/a/…/b DrainUrl(https://h:1/a/…/b) https://h:1/a/…/b");
    assert_eq!(parsed("https://u@h").user(), Some(("u", "")));
    assert_eq!(parsed("https://:p@h").user(), Some(("", "p")));
    assert_eq!(parsed("https://a:b@c@h").user(), Some(("a", "b@c")));
    assert_eq!(parsed("https://h").user(), None);
    for harmless in [
        "/services/collector/event",
        "/v1/input/application-logs-production",
        "/_bulk",
    ] {
        assert!(parsed(&format!("https://h{harmless}")).safe().ends_with(harmless));
    }
}

/// The query parameters have the meaning of the contract's table.
#[test]
fn parameters_follow_the_contracts_table() {
    for (query, kinds) in [
        ("", Kinds::LOGS),
        ("drain-type=logs", Kinds::LOGS_WITHOUT_EVENTS),
        ("drain-type=metrics", Kinds::METRICS),
        ("drain-type=all", Kinds::LOGS_AND_METRICS),
        ("drain-type=else", Kinds::LOGS),
        ("drain-data=logs", Kinds::LOGS),
        ("drain-data=metrics", Kinds::METRICS),
        ("drain-data=traces", Kinds::TRACES),
        ("drain-data=all", Kinds::ALL),
        ("drain-data=else", Kinds::LOGS),
        ("drain-type=all&drain-data=traces", Kinds::TRACES),
        ("drain-type=metrics&drain-data=else", Kinds::METRICS),
        ("drain-data=logs&drain-data=all", Kinds::LOGS),
        ("include-metrics-deprecated=true", Kinds::ALL),
        ("include-metrics-deprecated=no&drain-data=logs", Kinds::ALL),
        ("include-metrics-deprecated=", Kinds::LOGS),
    ] {
        let url = parsed(&format!("syslog://h:1?{query}"));
        assert_eq!(url.parameters().kinds, kinds, "`{query}`");
    }
    for (query, metadata) in [
        ("", None),
        ("disable-metadata=true", Some(false)),
        ("disable-metadata=false", Some(true)),
        ("disable-metadata=1", None),
        ("omit-metadata=true", Some(false)),
        ("omit-metadata=false", Some(true)),
        ("disable-metadata=false&omit-metadata=true", Some(true)),
        ("disable-metadata=&omit-metadata=true", Some(false)),
    ] {
        let url = parsed(&format!("syslog://h:1?{query}"));
        assert_eq!(url.parameters().metadata, metadata, "`{query}`");
        assert_eq!(url.parameters().writes_metadata(true), metadata.unwrap_or(true));
        assert_eq!(url.parameters().writes_metadata(false), metadata.unwrap_or(false));
    }
    assert!(
        parsed("syslog-tls://h:1?ssl-strict-internal=true")
            .parameters()
            .strict_internal
    );
    assert!(
        !parsed("syslog-tls://h:1?ssl-strict-internal=1")
            .parameters()
            .strict_internal
    );
}

/// The filter by source type applies to logs and events, and not to other kinds.
#[test]
fn the_source_type_filter_applies_to_logs_and_events() {
    let all = parsed("syslog://h:1?drain-data=all&include-log-source-types=APP,rtr");
    let wants = |kind, source_type| all.parameters().wants(kind, source_type);
    assert!(all.parameters().filters_by_source_type());
    assert!(wants(Kind::Log, "APP/PROC/WEB") && wants(Kind::Log, "RTR") && wants(Kind::Event, "APP"));
    assert!(!wants(Kind::Log, "STG") && !wants(Kind::Log, "") && !wants(Kind::Event, ""));
    assert!(wants(Kind::Gauge, "") && wants(Kind::Counter, "STG") && wants(Kind::Timer, ""));
    assert!(!wants(Kind::None, "APP"));
    let logs = parsed("syslog://h:1?exclude-log-source-types=STG");
    assert!(logs.parameters().wants(Kind::Log, "") && !logs.parameters().wants(Kind::Log, "STG"));
    assert!(!logs.parameters().wants(Kind::Gauge, ""));
    assert!(!parsed("syslog://h:1").parameters().filters_by_source_type());
    assert!(
        !parsed("syslog://h:1?include-log-source-types=")
            .parameters()
            .filters_by_source_type()
    );
}

proptest! {
    /// No text shows a secret of a URL, whether the URL is usable or not.
    #[test]
    fn no_text_holds_a_secret(
        scheme in "(syslog|syslog-tls|https|https-batch|ftp|x)",
        user in "[a-zA-Z0-9:%@._~!$&'()*+,;=\\[\\] -]{0,12}",
        host in "(h|logs.example|10.0.0.1|\\[::1\\]||.|%68|b%00d|[a-z:\\[\\]]{0,5})",
        port in "(|:|:514|:443|:99999|:x)",
        path in "(|/|/a/b|//|/%zz|/a/0123456789abcdefHUNTER2)",
        query in "(|drain-data=all&|include-log-source-types=APP&)",
    ) {
        let text = format!("{scheme}://{user}HUNTER2@{host}{port}{path}?{query}token=HUNTER2#HUNTER2");
        let shown = match DrainUrl::parse(&text) {
            Ok(url) => format!("{url} {url:?} {} {} {}", url.safe(), url.host(), url.port()),
            Err(error) => format!("{error} {error:?} {}", error.url()),
        };
        prop_assert!(!shown.contains("HUNTER2"), "`{}`: {}", text, shown);
    }

    /// No text causes a panic, and a URL that is accepted has a host and a port.
    #[test]
    fn any_text_is_accepted_or_refused(text in "(syslog|https)?:?/{0,3}.{0,40}") {
        if let Ok(url) = DrainUrl::parse(&text) {
            prop_assert!(url.port() != 0 && !url.host().is_empty() && url.target().starts_with('/'));
            prop_assert_eq!(DrainUrl::parse(url.expose()), Ok(url));
        }
    }
}
