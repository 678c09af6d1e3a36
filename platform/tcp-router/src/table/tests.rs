use super::*;

const TTL: Duration = Duration::from_secs(120);

fn table() -> Table {
    Table::new(Rules {
        segments: Vec::new(),
        ttl: TTL,
        backend_tls: true,
    })
}

fn tag(index: u32) -> ModificationTag {
    ModificationTag {
        guid: "tag".to_owned(),
        index,
    }
}

fn route(backend: u16, index: u32) -> TcpRoute {
    TcpRoute {
        router_group_guid: "group".to_owned(),
        port: 1024,
        backend_ip: "10.0.0.1".to_owned(),
        backend_port: backend,
        modification_tag: tag(index),
        ..TcpRoute::default()
    }
}

/// The ports of the backends of external port 1024.
fn backends(table: &Table) -> Vec<u16> {
    let routes = table.routes(&Routes::default());
    let Some(backends) = routes.port(1024).and_then(|routes| routes.choose(None)) else {
        return Vec::new();
    };
    backends.in_turn().map(|backend| backend.port).collect()
}

/// A newer tag refreshes, an older one does not; deletes apply unless the entry is newer.
#[test]
fn tags_decide() {
    let (mut table, start) = (table(), Instant::now());
    assert_eq!(table.upsert(&route(1, 5), start), Ok(true));
    assert_eq!(table.upsert(&route(1, 6), start + TTL / 2), Ok(false));
    assert_eq!(table.upsert(&route(1, 4), start + TTL), Ok(false));
    assert_eq!(table.prune(start + TTL), 0);
    assert!(!table.delete(&route(1, 5)));
    assert!(table.delete(&route(1, 6)));
    assert!(backends(&table).is_empty());
}

/// An entry goes when its own time or the default one is over.
#[test]
fn entries_expire() {
    let (mut table, start) = (table(), Instant::now());
    let short = TcpRoute {
        ttl: Some(10),
        ..route(1, 0)
    };
    for route in [&short, &route(2, 0)] {
        assert_eq!(table.upsert(route, start), Ok(true));
    }
    assert_eq!(table.prune(start + Duration::from_secs(9)), 0);
    assert_eq!(table.prune(start + Duration::from_secs(10)), 1);
    assert_eq!(backends(&table), [2]);
    assert_eq!(table.prune(start + TTL), 1);
}

/// A list replaces what was there; the same list changes nothing.
#[test]
fn a_list_replaces() {
    let (mut table, now) = (table(), Instant::now());
    let list = [route(1, 0), route(2, 0)];
    assert!(table.replace(&list, now).0);
    assert!(!table.replace(&list, now).0);
    assert!(table.replace(&[route(2, 0), route(3, 0)], now).0);
    assert_eq!(backends(&table), [2, 3]);
    let wrong = [route(0, 0)];
    let (changed, invalid) = table.replace(&wrong, now);
    assert!(changed && invalid.len() == 1);
    assert!(backends(&table).is_empty());
}

/// Routes of other groups and segments are passed over, and what cannot be served is refused with a reason.
#[test]
fn rules_apply() {
    let (mut table, now) = (table(), Instant::now());
    table.set_group(Some("group".to_owned()));
    table.rules.segments = vec!["s".to_owned()];
    let in_segment = |route: TcpRoute| TcpRoute {
        isolation_segment: "s".to_owned(),
        ..route
    };
    let other_group = TcpRoute {
        router_group_guid: "other".to_owned(),
        ..in_segment(route(1, 0))
    };
    for foreign in [route(1, 0), other_group] {
        assert_eq!(table.upsert(&foreign, now), Err(Refusal::Foreign));
    }
    let wrong: [fn(&mut TcpRoute); 5] = [
        |route| route.port = 0,
        |route| route.backend_port = 0,
        |route| route.backend_ip = "a b".to_owned(),
        |route| route.backend_ip = String::new(),
        |route| route.backend_tls_port = 443,
    ];
    for make_wrong in wrong {
        let mut route = in_segment(route(1, 0));
        make_wrong(&mut route);
        assert!(
            matches!(table.upsert(&route, now), Err(Refusal::Invalid(_))),
            "{route:?}"
        );
    }
    let secure = TcpRoute {
        backend_tls_port: 443,
        instance_id: "i".to_owned(),
        ..in_segment(route(1, 0))
    };
    assert_eq!(table.upsert(&secure, now), Ok(true));
    assert_eq!(backends(&table), [443]);
    table.rules.backend_tls = false;
    assert!(matches!(table.upsert(&secure, now), Err(Refusal::Invalid(_))));
}
