use serde_json::{Value, json};

use super::*;

/// A message as the original's route emitter sends it: every field arrives.
#[test]
fn reads_every_field() {
    let message = RegistryMessage::read(
        br#"{"host":"10.0.0.9","port":61000,"tls_port":61001,"protocol":"http2","uris":["app.example.com/path"],
            "app":"app-guid","tags":{"component":"route-emitter"},"private_instance_id":"instance","private_instance_index":"3",
            "isolation_segment":"segment","stale_threshold_in_seconds":120,"route_service_url":"https://rs.example.com",
            "server_cert_domain_san":"instance","endpoint_updated_at_ns":1700000000000000001,"availability_zone":"z1",
            "options":{"loadbalancing":"hash","hash_header":"X-Tenant","hash_balance":"1.25",
            "route_policy_scope":"org","route_policy_sources":"cf:any"},"dea":"unknown"}"#,
    )
    .expect("readable");
    let expected = RegistryMessage {
        uris: vec!["app.example.com/path".to_owned()],
        host: "10.0.0.9".to_owned(),
        port: 61_000,
        tls_port: 61_001,
        protocol: "http2".to_owned(),
        app: "app-guid".to_owned(),
        tags: BTreeMap::from([("component".to_owned(), "route-emitter".to_owned())]),
        private_instance_id: "instance".to_owned(),
        private_instance_index: "3".to_owned(),
        isolation_segment: "segment".to_owned(),
        stale_threshold_in_seconds: 120,
        route_service_url: "https://rs.example.com".to_owned(),
        server_cert_domain_san: "instance".to_owned(),
        endpoint_updated_at_ns: 1_700_000_000_000_000_001,
        availability_zone: "z1".to_owned(),
        options: RouteOptions {
            loadbalancing: "hash".to_owned(),
            hash_header: "X-Tenant".to_owned(),
            hash_balance: 1.25,
            route_policy_scope: "org".to_owned(),
            route_policy_sources: "cf:any".to_owned(),
        },
    };
    assert_eq!(message, expected);
    assert_eq!(message.endpoint_port(), (61_001, true));
    let written = serde_json::to_vec(&expected).expect("JSON");
    assert_eq!(RegistryMessage::read(&written).expect("readable"), expected);
}

/// Absent fields and `null`, which the original writes for lists and maps without a value, are no values.
#[test]
fn absent_and_null_are_no_values() {
    let empty = RegistryMessage::read(b"{}").expect("readable");
    assert_eq!(empty, RegistryMessage::default());
    assert_eq!(empty.endpoint_port(), (0, false));
    let nulls = br#"{"uris":null,"tags":null,"host":null,"port":null,"options":null,"endpoint_updated_at_ns":null}"#;
    assert_eq!(RegistryMessage::read(nulls).expect("readable"), empty);
    let options = br#"{"options":{"loadbalancing":null,"hash_balance":null,"hash_header":null}}"#;
    assert_eq!(RegistryMessage::read(options).expect("readable"), empty);
}

/// What the original refuses is refused: no JSON, other types, ports that are none, route services without TLS.
#[test]
fn refuses_what_the_original_refuses() {
    for payload in [
        "",
        r#""text""#,
        "{",
        r#"{"port":"80"}"#,
        r#"{"port":65536}"#,
        r#"{"port":-1}"#,
        r#"{"uris":"app.example.com"}"#,
        r#"{"tags":{"a":1}}"#,
        r#"{"options":{"hash_balance":"much"}}"#,
        r#"{"options":{"hash_balance":"inf"}}"#,
        r#"{"route_service_url":"http://rs.example.com"}"#,
    ] {
        assert!(RegistryMessage::read(payload.as_bytes()).is_err(), "{payload}");
    }
    let error = RegistryMessage::read(br#"{"route_service_url":"http://rs"}"#).expect_err("no https");
    assert_eq!(error.to_string(), "route service URL `http://rs` is not `https`");
}

/// What a registrar sends for a route without options: the fields that the original always sends, and those with a value.
#[test]
fn writes_what_the_original_writes() {
    let message = RegistryMessage {
        uris: vec!["api.example.com".to_owned()],
        host: "10.0.0.1".to_owned(),
        port: 8080,
        private_instance_id: "id".to_owned(),
        ..RegistryMessage::default()
    };
    let expected = json!({
        "uris": ["api.example.com"], "host": "10.0.0.1", "port": 8080, "tags": {}, "private_instance_id": "id",
    });
    assert_eq!(serde_json::to_value(&message).expect("JSON"), expected);
    let options = RouteOptions {
        hash_balance: 1.5,
        ..RouteOptions::default()
    };
    assert_eq!(
        serde_json::to_value(options).expect("JSON"),
        json!({"hash_balance": "1.5"})
    );
}

/// The greeting of a router has the names of the original.
#[test]
fn a_router_says_what_the_original_says() {
    let start = RouterStart {
        id: "0-uuid".to_owned(),
        hosts: vec!["10.0.0.5".to_owned()],
        minimum_register_interval_in_seconds: 20,
        prune_threshold_in_seconds: 120,
    };
    let json = json!({
        "id": "0-uuid", "hosts": ["10.0.0.5"], "minimumRegisterIntervalInSeconds": 20, "pruneThresholdInSeconds": 120,
    });
    assert_eq!(serde_json::to_value(&start).expect("JSON"), json);
    let read: RouterStart = serde_json::from_value(json).expect("readable");
    assert_eq!(read, start);
    assert_eq!(
        serde_json::from_value::<RouterStart>(Value::Object(serde_json::Map::new())).expect("readable"),
        RouterStart::default()
    );
}
