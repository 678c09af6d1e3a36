//! Tests with queries of real clients and with invalid ones.

use proptest::prelude::*;
use weir_envelope::selector::Selector;

use super::*;

fn selectors(query: &str) -> Vec<String> {
    let request = Query::parse(query).unwrap().request(4096).unwrap();
    assert!(request.use_preferred_tags && request.legacy_selector.is_none());
    let shown = |selector: Selector| match selector.payload {
        PayloadFilter::Counter(Some(name)) => format!("{}:counter={name}", selector.source_id),
        PayloadFilter::Gauge(names) if !names.is_empty() => {
            format!(
                "{}:gauge={}",
                selector.source_id,
                names.into_iter().collect::<Vec<_>>().join("+")
            )
        }
        _ => format!("{}:{:?}", selector.source_id, selector.kind()),
    };
    request
        .selectors
        .iter()
        .map(|selector| shown(Selector::from_proto(selector).unwrap()))
        .collect()
}

/// Each source is combined with each type. Names replace their plain type, and only the presence of a type counts, not
/// its value.
#[test]
fn selectors_are_the_cross_product() {
    for (query, expected) in [
        ("log", vec![":Log"]),
        ("log=", vec![":Log"]),
        ("log=false&log", vec![":Log"]),
        (
            "event&timer&gauge&counter&log",
            vec![":Log", ":Counter", ":Gauge", ":Timer", ":Event"],
        ),
        (
            "source_id=a&source_id=b&log&timer",
            vec!["a:Log", "a:Timer", "b:Log", "b:Timer"],
        ),
        ("source_id=a&source_id=a&log", vec!["a:Log", "a:Log"]),
        ("source_id=&log", vec![":Log"]),
        (
            "counter&counter.name=x&counter.name=y",
            vec![":counter=x", ":counter=y"],
        ),
        ("counter.name=", vec![":Counter"]),
        (
            "gauge.name=cpu,memory&gauge.name=disk",
            vec![":gauge=cpu+memory", ":gauge=disk"],
        ),
        ("source_id=a%2Fb+c&log", vec!["a/b c:Log"]),
        ("log&whatever=1&", vec![":Log"]),
    ] {
        assert_eq!(selectors(query), expected, "{query}");
    }
    let request = Query::parse("shard_id=s&shard_id=t&deterministic_name=d&log")
        .unwrap()
        .request(10)
        .unwrap();
    assert_eq!(
        (request.shard_id.as_str(), request.deterministic_name.as_str()),
        ("s", "d")
    );
}

/// Queries that are refused.
#[test]
fn refusals() {
    let refused = |query: &str| Query::parse(query).and_then(|query| query.request(100)).unwrap_err();
    for query in ["", "&", "&&&"] {
        assert_eq!(refused(query), Invalid::Empty, "{query}");
    }
    for query in [
        "source_id=a",
        "logs",
        "LOG",
        "shard_id=log",
        "source_id=log&x=log",
        "counter.names=x",
    ] {
        assert_eq!(refused(query), Invalid::NoType, "{query}");
    }
    for query in [
        "log&source_id=%",
        "log&source_id=%4",
        "log&source_id=%zz",
        "log&source_id=%ff",
        "log;source_id=a",
        "log&%",
    ] {
        assert_eq!(refused(query), Invalid::Malformed, "{query}");
    }
    let many: String = (0..60).map(|number| format!("source_id={number}&")).collect();
    assert_eq!(refused(&format!("{many}log&timer")), Invalid::TooMany);
    assert!(Query::parse(&format!("{many}log")).unwrap().request(100).is_ok());
    // The number of selectors is computed without building them.
    let sources = "source_id=a&".repeat(5_000);
    let names = "counter.name=a&".repeat(5_000);
    assert_eq!(refused(&format!("{sources}{names}")), Invalid::TooMany);
}

proptest! {
    /// No query causes a panic, and a query that names sources gets only these.
    #[test]
    fn sources_are_never_widened(query in "([a-z_.]{1,10}(=[ -~]{0,8})?&){0,6}", source in "[a-z0-9/%+-]{1,12}") {
        let text = format!("{query}source_id={source}&log");
        if let Ok(parsed) = Query::parse(&text) {
            let named: Vec<&str> = parsed.source_ids().collect();
            prop_assert!(!named.is_empty());
            if let Ok(request) = parsed.request(4096) {
                prop_assert!(request.selectors.iter().all(|selector| named.contains(&selector.source_id.as_str())));
            }
        }
    }

    #[test]
    fn random_queries_do_not_panic(query in "\\PC{0,60}") {
        drop(Query::parse(&query).and_then(|query| query.request(16)));
    }
}
