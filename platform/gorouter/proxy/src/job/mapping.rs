//! What each key of a job file means.

use std::net::SocketAddr;
use std::path::PathBuf;

use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Secret};
use weir_nats_client::NatsSettings;
use weir_tls::IdentityFiles;

use super::JobError;
use super::keys::Keys;
use super::material::Material;
use crate::{RawCertificate, RawConfig};

/// An address on all interfaces.
fn everywhere(port: u16) -> ListenAddr {
    SocketAddr::from(([0, 0, 0, 0], port)).into()
}

/// An address on this machine.
fn here(port: u16) -> ListenAddr {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}

/// Ports, their certificates, and what the router is called.
pub(super) fn ports(keys: &mut Keys, material: &Material, config: &mut RawConfig) -> Result<(), JobError> {
    let port = keys.get("port")?.unwrap_or(8081);
    if !keys.get("disable_http")?.unwrap_or(false) {
        config.listen = Some(everywhere(port));
    }
    let ssl_port = keys.get("ssl_port")?.unwrap_or(443);
    if keys.get("enable_ssl")?.unwrap_or(false) {
        config.listen_tls = Some(everywhere(ssl_port));
    }
    for (index, pair) in keys.list("tls_pem")?.into_iter().enumerate() {
        let mut pair = Keys::new(pair);
        let (cert, key) = (pair.text("cert_chain")?, pair.text("private_key")?);
        config.certificates.push(RawCertificate {
            cert: material.file(&format!("frontend-{index}.crt"), &cert)?,
            key: material.file(&format!("frontend-{index}.key"), &key)?,
        });
    }
    let mode = keys.text("client_cert_validation")?;
    let authorities = keys.text("client_ca_certs")?;
    if matches!(mode.as_str(), "request" | "require") {
        config.client_certificates = mode;
        config.client_ca = material.file("client-ca.crt", &authorities)?;
    }
    if keys.get("status.enable_nontls_health_checks")?.unwrap_or(true) {
        config.status = Some(everywhere(keys.get("status.port")?.unwrap_or(8080)));
    }
    config.routes = Some(here(keys.get("status.routes.port")?.unwrap_or(8082)));
    config.routes_user = keys.text("status.user")?;
    config.routes_password = Secret::new(keys.text("status.pass")?);
    config.index = keys.get("index")?.unwrap_or(0);
    config.zone = keys.text("zone")?;
    Ok(())
}

/// The NATS servers.
pub(super) fn nats(keys: &mut Keys, material: &Material, config: &mut RawConfig) -> Result<(), JobError> {
    let mut servers = Vec::new();
    for host in keys.list("nats.hosts")? {
        let mut host = Keys::new(host);
        let (name, port): (String, u16) = (host.text("hostname")?, host.get("port")?.unwrap_or(4222));
        servers.push(peer("nats.hosts", &format!("{name}:{port}"))?);
    }
    if servers.is_empty() {
        servers.push(peer("nats.hosts", "localhost:4222")?);
    }
    let user = Some(keys.text("nats.user")?).filter(|user| !user.is_empty());
    let (ca, cert, key) = (
        keys.text("nats.ca_certs")?,
        keys.text("nats.cert_chain")?,
        keys.text("nats.private_key")?,
    );
    let identity = match keys.get("nats.tls_enabled")?.unwrap_or(false) {
        false => None,
        true => Some(IdentityFiles {
            ca: material.file("nats-ca.crt", &ca)?,
            cert: material.file("nats.crt", &cert)?,
            key: material.file("nats.key", &key)?,
        }),
    };
    config.nats = NatsSettings {
        servers,
        identity,
        user,
        password: Some(Secret::new(keys.text("nats.pass")?)),
        ping_interval: keys
            .get("nats_client_ping_interval")?
            .unwrap_or(Duration::from_secs(20)),
        ..NatsSettings::default()
    };
    Ok(())
}

fn peer(key: &str, address: &str) -> Result<PeerAddr, JobError> {
    address.parse().map_err(|_| JobError::Value {
        key: key.to_owned(),
        reason: format!("has `{address}`, which is no address"),
    })
}

/// Connections to backends, sessions, and the size of heads.
pub(super) fn backends(keys: &mut Keys, material: &Material, config: &mut RawConfig) -> Result<(), JobError> {
    let (cert, key) = (keys.text("backends.cert_chain")?, keys.text("backends.private_key")?);
    let ca: Vec<String> = keys.get("ca_certs")?.unwrap_or_default();
    config.backend_tls.ca = match ca.is_empty() {
        true => None,
        false => Some(material.file("ca.crt", &ca.join("\n"))?),
    };
    if !cert.is_empty() && !key.is_empty() {
        config.backend_tls.certificate = Some(RawCertificate {
            cert: material.file("backends.crt", &cert)?,
            key: material.file("backends.key", &key)?,
        });
    }
    config.backend_tls.skip_verification = keys.get("skip_ssl_validation")?.unwrap_or(false);
    let backends = &mut config.backends;
    backends.max_conns = keys.get("backends.max_conns")?.unwrap_or(0);
    backends.max_attempts = keys.get::<u32>("backends.max_attempts")?.unwrap_or(3).max(1);
    backends.keep_alive = !keys.get("disable_keep_alives")?.unwrap_or(true);
    backends.max_idle = keys.get("max_idle_conns")?.unwrap_or(100);
    backends.max_idle_per_backend = keys.get("max_idle_conns_per_host")?.unwrap_or(2);
    backends.max_answer_head = ByteSize::new(keys.get("max_response_header_bytes")?.unwrap_or(0));
    backends.max_answer_headers = keys.get("max_response_headers")?.unwrap_or(0);
    backends.http2 = keys.get("enable_http2")?.unwrap_or(true);
    backends.keep_after_continue = keys.get("keep_alive_100_continue_requests")?.unwrap_or(false);
    if let Some(names) = keys.get("sticky_session_cookie_names")? {
        backends.sticky_cookies = names;
    }
    backends.secure_cookies = keys.get("secure_cookies")?.unwrap_or(false);
    backends.sticky_negotiate = keys.get("sticky_sessions_for_auth_negotiate")?.unwrap_or(false);
    let head = keys.get::<u64>("max_request_header_bytes")?.unwrap_or(0);
    let largest = ByteSize::mib(1);
    config.limits.request_head = match head {
        0 => largest,
        head => ByteSize::new(head.clamp(8192, largest.bytes())),
    };
    config.limits.request_headers = keys.get("max_request_headers")?.unwrap_or(0);
    Ok(())
}

/// How routes are kept.
pub(super) fn table(keys: &mut Keys, config: &mut RawConfig) -> Result<(), JobError> {
    let table = &mut config.table;
    let delay = keys
        .get("start_response_delay_interval")?
        .unwrap_or(Duration::from_secs(5));
    table.start_delay = delay;
    table.register_interval = delay;
    let stale = keys.get("droplet_stale_threshold")?.unwrap_or(Duration::from_secs(120));
    table.stale_threshold = stale.get().max(delay.get()).into();
    table.prune_interval = keys
        .get("prune_stale_droplets_interval")?
        .unwrap_or(Duration::from_secs(30));
    table.keep_without_nats = keys.get("suspend_pruning_if_nats_unavailable")?.unwrap_or(false);
    for (key, into) in [
        ("balancing_algorithm", &mut table.balancing),
        ("balancing_algorithm_az_preference", &mut table.zone_preference),
        ("routing_table_sharding_mode", &mut table.sharding),
    ] {
        let text = keys.text(key)?;
        if !text.is_empty() {
            *into = text;
        }
    }
    table.isolation_segments = keys.get("isolation_segments")?.unwrap_or_default();
    table.empty_is_unavailable = keys.get("empty_pool_response_code_503")?.unwrap_or(false);
    table.empty_timeout = keys.get("empty_pool_timeout")?.unwrap_or(Duration::from_secs(0));
    Ok(())
}

/// How headers are changed.
pub(super) fn headers(keys: &mut Keys, config: &mut RawConfig) -> Result<(), JobError> {
    let headers = &mut config.headers;
    headers.sanitize_forwarded_proto = keys.get("sanitize_forwarded_proto")?.unwrap_or(false);
    headers.force_forwarded_proto_https = keys.get("force_forwarded_proto_https")?.unwrap_or(false);
    let mode = keys.text("forwarded_client_cert")?;
    if !mode.is_empty() {
        headers.forwarded_client_cert = mode;
    }
    headers.hop_by_hop_kept = keys.get("hop_by_hop_headers_to_filter")?.unwrap_or_default();
    headers.b3 = keys.get("tracing.enable_zipkin")?.unwrap_or(false);
    headers.w3c = keys.get("tracing.enable_w3c")?.unwrap_or(false);
    headers.w3c_tenant = keys.text("tracing.w3c_tenant_id")?;
    headers.trace_key = Secret::new(keys.text("trace_key")?);
    let agent = keys.text("healthcheck_user_agent")?;
    if !agent.is_empty() {
        headers.health_agent = agent;
    }
    for rule in keys.list("http_rewrite.responses.remove_headers")? {
        headers.remove_from_answers.push(Keys::new(rule).text("name")?);
    }
    for rule in keys.list("http_rewrite.responses.add_headers_if_not_present")? {
        let mut rule = Keys::new(rule);
        headers
            .add_to_answers
            .push(format!("{}: {}", rule.text("name")?, rule.text("value")?));
    }
    Ok(())
}

/// How long things may take.
pub(super) fn times(keys: &mut Keys, config: &mut RawConfig) -> Result<(), JobError> {
    let mut time = |key: &str, default: u64| keys.get(key).map(|time| time.unwrap_or(Duration::from_secs(default)));
    let timeouts = &mut config.timeouts;
    timeouts.request = time("endpoint_timeout", 60)?;
    timeouts.dial = time("endpoint_dial_timeout", 5)?;
    timeouts.probe = time("endpoint_keep_alive_probe_interval", 1)?;
    timeouts.backend_handshake = time("tls_handshake_timeout", 10)?;
    timeouts.idle = time("frontend_idle_timeout", 900)?;
    let head = time("read_header_timeout", 0)?;
    if !head.is_zero() {
        timeouts.head = head;
    }
    timeouts.drain_wait = time("drain_wait", 0)?;
    timeouts.drain = time("drain_timeout", 0)?;
    if timeouts.drain.is_zero() {
        timeouts.drain = timeouts.request;
    }
    timeouts.healthy_wait = time("load_balancer_healthy_threshold", 0)?;
    Ok(())
}

/// Route services.
pub(super) fn route_services(keys: &mut Keys, material: &Material, config: &mut RawConfig) -> Result<(), JobError> {
    let services = &mut config.route_services;
    services.secret = Secret::new(keys.text("route_services_secret")?);
    services.previous_secret = Secret::new(keys.text("route_services_secret_decrypt_only")?);
    services.timeout = keys.get("route_services_timeout")?.unwrap_or(Duration::from_secs(60));
    services.recommend_https = keys.get("route_services_recommend_https")?.unwrap_or(false);
    services.strict_signatures = keys.get("route_services.strict_signature_validation")?.unwrap_or(false);
    services.max_attempts = keys.get::<u32>("route_services.max_attempts")?.unwrap_or(3).max(1);
    let port = keys.get("route_services_internal_server_port")?.unwrap_or(7070);
    if keys.get("route_services_hairpinning")?.unwrap_or(false) {
        services.internal = Some(here(port));
    }
    services.internal_hosts = keys.get("route_services_hairpinning_allowlist")?.unwrap_or_default();
    let (cert, key) = (
        keys.text("route_services.cert_chain")?,
        keys.text("route_services.private_key")?,
    );
    if !cert.is_empty() && !key.is_empty() {
        services.certificate = Some(RawCertificate {
            cert: material.file("route-services.crt", &cert)?,
            key: material.file("route-services.key", &key)?,
        });
    }
    services.ca.clone_from(&config.backend_tls.ca);
    services.skip_verification = config.backend_tls.skip_verification;
    Ok(())
}

/// What is told of requests.
pub(super) fn telemetry(keys: &mut Keys, config: &mut RawConfig) -> Result<(), JobError> {
    let telemetry = &mut config.telemetry;
    telemetry.hide_forwarded_for = keys.get("logging.disable_log_forwarded_for")?.unwrap_or(false);
    telemetry.hide_remote_address = keys.get("logging.disable_log_source_ip")?.unwrap_or(false);
    let redact = keys.text("logging.redact_query_params")?;
    if !redact.is_empty() {
        telemetry.redact_query = redact;
    }
    telemetry.file = Some(keys.text("access_log.file")?)
        .filter(|file| !file.is_empty())
        .map(PathBuf::from);
    telemetry.extra_fields = keys.get("logging.extra_access_log_fields")?.unwrap_or_default();
    telemetry.extra_headers = keys.get("extra_headers_to_log")?.unwrap_or_default();
    telemetry.timers = keys.get("send_http_start_stop_server_event")?.unwrap_or(true);
    telemetry.backend_timers = keys.get("send_http_start_stop_client_event")?.unwrap_or(true);
    Ok(())
}

/// Refuses what would be unsafe to pass over.
pub(super) fn refuse(keys: &mut Keys) -> Result<(), JobError> {
    let refused = |key: &str, reason: &str| {
        Err(JobError::Value {
            key: key.to_owned(),
            reason: reason.to_owned(),
        })
    };
    if keys.get("enable_proxy")?.unwrap_or(false) {
        return refused(
            "enable_proxy",
            "is not served: clients' addresses would be those of the proxy",
        );
    }
    if keys.get("enable_verify_client_certificate_metadata")?.unwrap_or(false) {
        return refused("enable_verify_client_certificate_metadata", "is not served");
    }
    if !keys.text("html_error_template_file")?.is_empty() {
        return refused("html_error_template_file", "is not served: errors are plain text");
    }
    if !keys.text("routing_api.uri")?.is_empty() {
        return refused("routing_api.uri", "is not served: routes come over NATS");
    }
    Ok(())
}
