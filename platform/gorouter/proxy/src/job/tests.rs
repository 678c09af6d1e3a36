use std::net::Ipv4Addr;

use weir_config::{ByteSize, Duration};

use super::*;

const FILE: &str = r#"
status: {port: 8080, user: router, pass: secret, routes: {port: 8082}}
nats:
  hosts:
  - {hostname: nats-1, port: 4224}
  - {hostname: nats-2, port: 4224}
  user: nats
  pass: nats-pass
logging: {level: debug, redact_query_params: hash, extra_access_log_fields: [dial_time], format: {timestamp: rfc3339}}
port: 8081
index: 2
zone: z1
tracing: {enable_zipkin: true}
trace_key: key
enable_ssl: true
ssl_port: 443
tls_pem:
- {cert_chain: CERT, private_key: KEY}
ca_certs: [ONE, TWO]
forwarded_client_cert: sanitize_set
backends: {max_conns: 500, max_attempts: 4, cert_chain: CERT, private_key: KEY}
endpoint_timeout: 15m0s
drain_wait: 20s
frontend_idle_timeout: 900s
disable_keep_alives: false
max_idle_conns_per_host: 100
max_request_header_bytes: 49152
sticky_session_cookie_names: [JSESSIONID, sid]
route_services_secret: rs
route_services_hairpinning: true
suspend_pruning_if_nats_unavailable: true
empty_pool_response_code_503: true
http_rewrite: {responses: {remove_headers: [{name: X-Gone}], add_headers_if_not_present: [{name: X-New, value: v}]}}
go_max_procs: 8
prometheus: {port: 0}
made_up: {nested: 1}
routing_api: {uri: null}
"#;

fn read(text: &str) -> Result<Job, JobError> {
    let directory = tempfile::tempdir().expect("a directory");
    Job::read(text, directory.path(), IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Every kind of key arrives where it belongs, and what has no effect is said.
#[test]
fn keys_are_mapped() {
    let directory = tempfile::tempdir().expect("a directory");
    let job = Job::read(FILE, directory.path(), IpAddr::from([10, 0, 0, 9])).expect("a job");
    let config = &job.config;
    assert_eq!(config.listen, Some("0.0.0.0:8081".parse().expect("an address")));
    assert_eq!(config.listen_tls, Some("0.0.0.0:443".parse().expect("an address")));
    assert_eq!(config.routes, Some("127.0.0.1:8082".parse().expect("an address")));
    assert_eq!(
        (config.address.as_str(), config.index, config.zone.as_str()),
        ("10.0.0.9", 2, "z1")
    );
    let servers: Vec<_> = config.nats.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["nats-1:4224", "nats-2:4224"]);
    assert_eq!(config.backends.max_attempts, 4);
    assert!(config.backends.keep_alive && config.table.keep_without_nats && config.headers.b3);
    assert_eq!(config.timeouts.request, Duration::from_secs(900));
    assert_eq!(config.limits.request_head, ByteSize::kib(48));
    assert_eq!(config.backends.sticky_cookies, ["JSESSIONID", "sid"]);
    assert_eq!(config.headers.add_to_answers, ["X-New: v"]);
    assert_eq!(config.headers.remove_from_answers, ["X-Gone"]);
    assert_eq!(config.telemetry.redact_query, "hash");
    assert!(config.route_services.internal.is_some() && job.rfc3339);
    let ca = config.backend_tls.ca.as_ref().expect("a file");
    assert_eq!(std::fs::read_to_string(ca).expect("read"), "ONE\nTWO");
    let passed_over: Vec<_> = job.passed_over.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        passed_over,
        ["go_max_procs", "logging.level", "made_up.nested", "prometheus"]
    );
}

/// An empty file is the original's defaults.
#[test]
fn defaults_are_the_originals() {
    let config = read("{}").expect("a job").config;
    assert_eq!(config.listen, Some("0.0.0.0:8081".parse().expect("an address")));
    assert_eq!(config.listen_tls, None);
    assert_eq!(config.timeouts.request, Duration::from_secs(60));
    assert_eq!(config.timeouts.drain, Duration::from_secs(60));
    assert_eq!(config.table.start_delay, Duration::from_secs(5));
    assert!(!config.backends.keep_alive && !config.table.keep_without_nats);
    assert_eq!(config.nats.servers[0].to_string(), "localhost:4222");
}

/// What cannot be passed over is refused, with the key and without the value.
#[test]
fn keys_are_refused() {
    for (text, said) in [
        ("enable_proxy: true", "key `enable_proxy` is not served"),
        (
            "html_error_template_file: x",
            "key `html_error_template_file` is not served",
        ),
        (
            "routing_api: {uri: \"https://x\"}",
            "key `routing_api.uri` is not served",
        ),
        ("port: secret", "key `port` has a value of another kind"),
        ("drain_wait: [1]", "key `drain_wait` has a value of another kind"),
    ] {
        let error = read(text).expect_err("refused").to_string();
        assert!(error.starts_with(said), "{error}");
    }
}
