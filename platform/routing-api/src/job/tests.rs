//! Job files as the original's release writes them.

use weir_config::Setting as _;

use super::*;
use crate::Config;

/// A file of the release's template.
const FILE: &str = r#"---
log_guid: "routing_api"
max_ttl: 120s
system_domain: system.example
metron_config:
  address: "localhost"
  port: 3457
metrics_reporting_interval: 30s
statsd_endpoint: localhost:8125
oauth:
  token_endpoint: uaa.service.cf.internal
  port: 8443
  skip_ssl_validation: false
  ca_certs: "/certs/uaa/ca.crt"
debug_address: 127.0.0.1:17002
statsd_client_flush_interval: 300ms
router_groups:
- name: default-tcp
  reservable_ports: 1024-1033
  type: tcp
- name: list
  reservable_ports: [2000, 2001]
  type: tcp
- name: number
  reservable_ports: 3000
  type: tcp
- name: default-http
  type: http
reserved_system_component_ports: [2822, 3457]
fail_on_router_port_conflicts: true
uuid: 2f6b1a
admin_port: 15897
api:
  listen_port: 3000
  http_enabled: true
  mtls_listen_port: 3001
  mtls_client_ca_file: "/certs/client_ca.crt"
  mtls_server_cert_file: "/certs/server.crt"
  mtls_server_key_file: "/certs/server.key"
sqldb:
  host: sql-db.service.cf.internal
  port: 3306
  type: mysql
  schema: routing-api
  username: routing-api
  password: "p@ss/w:rd"
  skip_hostname_validation: true
  max_open_connections: 200
  max_idle_connections: 10
  connections_max_lifetime_seconds: 3600
lock_ttl: 10s
retry_interval: 5s
locket:
  locket_address: locket.service.cf.internal:8891
  locket_ca_cert_file: "/certs/locket/ca.crt"
"#;

fn flags() -> Flags {
    Flags {
        ip: "10.0.0.1".to_owned(),
        ..Flags::default()
    }
}

fn read(text: &str) -> Job {
    Job::read(text, &flags()).unwrap()
}

/// Every key has its place; what has no effect is named with a reason.
#[test]
fn a_file_is_mapped() {
    let job = read(FILE);
    let config = &job.config;
    assert_eq!(config.listen.to_string(), "0.0.0.0:3001");
    assert_eq!(config.plain.unwrap().to_string(), "0.0.0.0:3000");
    assert_eq!(config.admin.unwrap().to_string(), "127.0.0.1:15897");
    assert_eq!(config.identity.ca.to_str(), Some("/certs/client_ca.crt"));
    assert_eq!(config.identity.cert.to_str(), Some("/certs/server.crt"));
    assert_eq!(config.identity.key.to_str(), Some("/certs/server.key"));
    assert_eq!(
        config.database.expose(),
        "mysql://routing-api:p%40ss%2Fw%3Ard@sql-db.service.cf.internal:3306/routing-api?ssl-mode=DISABLED"
    );
    assert_eq!(config.uaa.url, "https://uaa.service.cf.internal:8443");
    assert_eq!(config.uaa.ca.to_str(), Some("/certs/uaa/ca.crt"));
    assert_eq!(config.own_route.route, "api.system.example/routing");
    assert_eq!(
        (&*config.own_route.ip, &*config.own_route.log_guid),
        ("10.0.0.1", "routing_api")
    );
    assert_eq!(config.max_ttl.to_string(), "2m");
    assert_eq!(config.router_groups["default-tcp"].reservable_ports, "1024-1033");
    assert_eq!(config.router_groups["list"].reservable_ports, "2000,2001");
    assert_eq!(config.router_groups["number"].reservable_ports, "3000");
    assert_eq!(config.router_groups["default-http"].r#type, "http");
    assert_eq!(config.reserved_system_component_ports, [2822, 3457]);
    assert_eq!(
        (&*config.lock.instance, config.lock.ttl),
        ("2f6b1a", Duration::from_secs(10))
    );
    assert_eq!(
        (config.lock.retry, config.lock.handover),
        (Duration::from_secs(5), Duration::from_secs(10))
    );
    assert!(!config.disable_access_control);
    assert_eq!(job.shown_port, 3000);
    let keys: Vec<&str> = job.passed_over.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "debug_address",
            "metron_config",
            "metrics_reporting_interval",
            "statsd_endpoint",
            "statsd_client_flush_interval",
            "locket",
            "sqldb.max_idle_connections",
            "sqldb.max_open_connections",
            "sqldb.connections_max_lifetime_seconds",
        ]
    );
    assert!(config.problems().is_empty());
    Config::try_from(job.config).unwrap();
}

/// Without HTTP there is neither that port nor a route to it.
#[test]
fn http_may_be_off() {
    let job = read(&FILE.replace("http_enabled: true", "http_enabled: false"));
    assert_eq!(job.config.plain, None);
    assert_eq!(job.config.own_route, RawOwnRoute::default());
}

/// Unknown keys are named, and so is what does not count because of another key.
#[test]
fn other_keys_are_named() {
    let text = FILE
        .replace(
            "fail_on_router_port_conflicts: true",
            "skip_ssl_validation: true\nnew_key: 1",
        )
        .replace("  listen_port: 3000", "  listen_address: 0.0.0.0\n  listen_port: 3000");
    let job = read(&text);
    let keys: Vec<&str> = job.passed_over.iter().map(|(key, _)| key.as_str()).collect();
    for key in [
        "new_key",
        "api.listen_address",
        "reserved_system_component_ports",
        "skip_ssl_validation",
    ] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    assert!(job.config.reserved_system_component_ports.is_empty());
}

/// How the certificate of the database is checked follows from the file.
#[test]
fn databases_are_checked_as_the_original_does() {
    let with_ca = |kind: &str, more: &str| {
        let text = FILE
            .replace("type: mysql", &format!("type: {kind}\n  ca_cert: |\n    PEM"))
            .replace("  skip_hostname_validation: true\n", "")
            .replace("uuid:", &format!("{more}uuid:"));
        read(&text).config.database.expose().clone()
    };
    let checked = with_ca("postgres", "");
    let (url, file) = checked.split_once("&sslrootcert=").unwrap();
    assert!(url.ends_with(":3306/routing-api?sslmode=verify-full"), "{url}");
    let file = percent_encoding::percent_decode_str(file).decode_utf8().unwrap();
    assert_eq!(std::fs::read_to_string(&*file).unwrap(), "PEM\n");
    std::fs::remove_file(&*file).unwrap();
    assert!(with_ca("postgres", "skip_ssl_validation: true\n").ends_with("?sslmode=require"));
    assert!(with_ca("mysql", "skip_ssl_validation: true\n").ends_with("?ssl-mode=REQUIRED"));
}

/// What the original refuses is refused in its words, and what cannot be done here with a reason.
#[test]
fn files_are_refused() {
    for (from, to, said) in [
        ("system_domain: system.example", "", "no system_domain specified"),
        ("log_guid: \"routing_api\"", "", "no log_guid specified"),
        (
            "  token_endpoint: uaa.service.cf.internal",
            "",
            "no token endpoint specified",
        ),
        (
            "  port: 8443",
            "",
            "routing API requires TLS enabled to get OAuth token",
        ),
        ("uuid: 2f6b1a", "", "no UUID is specified"),
        (
            "admin_port: 15897",
            "",
            "invalid admin port: port number is invalid: 0 (1-65535)",
        ),
        (
            "  locket_address: locket.service.cf.internal:8891",
            "",
            "locket address is required",
        ),
        ("type: mysql", "type: oracle", "unknown type oracle"),
        (
            "  ca_certs: \"/certs/uaa/ca.crt\"",
            "",
            "oauth.ca_certs is empty: the certificate of UAA is always checked",
        ),
        (
            "reservable_ports: 3000",
            "reservable_ports: 2822",
            "Invalid ports. Reservable ports must not include the following reserved system component ports: [2822 3457].",
        ),
        (
            "name: list",
            "name: default-tcp",
            "router group `default-tcp` is there twice",
        ),
    ] {
        let error = Job::read(&FILE.replace(from, to), &flags()).unwrap_err();
        assert_eq!(error.to_string(), said, "{from}");
    }
    assert!(Job::read("[", &flags()).is_err());
    // Without checks of tokens there need be no UAA.
    let dev_mode = Flags {
        dev_mode: true,
        ..flags()
    };
    let text = FILE.replace("  token_endpoint: uaa.service.cf.internal", "");
    let job = Job::read(&text, &dev_mode).unwrap();
    assert!(job.config.disable_access_control && job.config.uaa.url.is_empty());
}

/// What prevents a start is the last line, and the exit code says so.
#[tokio::test]
async fn a_failed_start_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("routing-api.yml");
    std::fs::write(&file, FILE.replace("uuid: 2f6b1a", "")).unwrap();
    let file = file.display().to_string();
    for (words, message, error) in [
        (vec![], "failed-check-flags", "no configuration file provided"),
        (vec!["-config", &file], "failed-check-flags", "no ip address provided"),
        (
            vec!["-config", &file, "-ip", "10.0.0.1"],
            "failed-load-config",
            "no UUID is specified",
        ),
    ] {
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let (_trigger, context) = weir_service::Context::new("routing-api");
        let mut out = Vec::new();
        assert_eq!(run(&words, context, &mut out).await, 1);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["message"], format!("routing-api.{message}"));
        assert_eq!(line["data"]["error"], error);
    }
}
