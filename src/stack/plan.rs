//! Everything a stack needs before it starts, made where it is missing: certificates, token, one configuration file for
//! each component.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use rand::Rng as _;
use serde::Serialize;
use weir_auth::{RawUaa, StaticToken};
use weir_config::Secret;
use weir_error::ErrorKind;
use weir_files::Readers;
use weir_net::Target;
use weir_tls::{Authority, ClientTls, IdentityFiles};

use super::{Component, Ports};
use crate::failure::Failure;
use crate::state::{Endpoints, StateDir};

/// The name of the certificate with which commands and nozzles call the stack.
const CLIENT: &str = "client";
/// The client that log components are to UAA (cloud-controller §2.6): may read what was revoked.
const RESOURCE_CLIENT: &str = "doppler";

/// A stack, ready to be started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) state: StateDir,
    pub(crate) ports: Ports,
    pub(crate) client: IdentityFiles,
}

impl Plan {
    /// Makes what is missing. Certificates and token of an earlier start are used again; configuration files are written
    /// anew.
    pub(crate) fn prepare(state: &StateDir, ports: Ports) -> Result<Self, Failure> {
        let authority = Authority::open_or_create(&state.certs())?;
        let client = authority.issue(CLIENT, &[])?;
        // Made at the first start, checked at later ones.
        StaticToken::from_file(&state.token())?;
        client_secrets(state)?;
        let plan = Self {
            state: state.clone(),
            ports,
            client,
        };
        for component in Component::IN_ORDER {
            let identity = authority.issue(component.name(), component.server_names())?;
            plan.write_config(component, identity)?;
        }
        Ok(plan)
    }

    /// The configuration file of `component`.
    pub(crate) fn config(&self, component: Component) -> PathBuf {
        self.state.config_of(component.name())
    }

    /// What becomes known once everything serves.
    pub(crate) fn endpoints(&self, pids: impl IntoIterator<Item = (Component, u32)>) -> Endpoints {
        let ports = &self.ports;
        Endpoints {
            ca: self.client.ca.clone(),
            client_cert: self.client.cert.clone(),
            client_key: self.client.key.clone(),
            agent: ports.agent.to_string(),
            loggregator_agent: ports.loggregator_agent.to_string(),
            syslog_agent: ports.syslog_agent.to_string(),
            syslog_agent_status: format!("https://{}", ports.syslog_agent_status),
            binding_cache: format!("https://{}", ports.binding_cache),
            doppler: ports.doppler.to_string(),
            rlp: ports.rlp.to_string(),
            rlp_gateway: format!("https://{}", ports.rlp_gateway),
            traffic_controller: format!("wss://{}", ports.traffic_controller),
            log_cache: ports.log_cache.to_string(),
            log_cache_gateway: format!("https://{}", ports.log_cache_gateway),
            log_cache_proxy: format!("https://{}", ports.log_cache_proxy),
            log_cache_syslog: ports.log_cache_syslog.to_string(),
            sql_http: format!("https://{}", ports.sql_http),
            uaa: self.uaa_url(),
            admin_user: weir_platform_uaa_server::RawConfig::default().admin_user,
            admin_password: fs::read_to_string(self.state.admin_password())
                .ok()
                .map(|password| password.trim().to_owned()),
            pids: pids
                .into_iter()
                .map(|(component, pid)| (component.name().to_owned(), pid))
                .collect(),
        }
    }

    /// Every server: where it listens and the name of its certificate.
    pub(crate) fn servers(&self) -> Vec<(String, &'static str)> {
        let ports = &self.ports;
        [
            (ports.log_cache, Component::LogCache),
            (ports.log_cache_gateway, Component::LogCache),
            (ports.log_cache_proxy, Component::LogCache),
            (ports.sql_http, Component::LogCache),
            (ports.log_cache_syslog, Component::LogCacheSyslog),
            (ports.traffic_controller, Component::TrafficController),
            (ports.rlp_gateway, Component::RlpGateway),
            (ports.rlp, Component::Rlp),
            (ports.doppler, Component::Doppler),
            (ports.binding_cache, Component::BindingCache),
            (ports.syslog_agent, Component::SyslogAgent),
            (ports.syslog_agent_status, Component::SyslogAgent),
            (ports.loggregator_agent, Component::LoggregatorAgent),
            (ports.agent, Component::ForwarderAgent),
            (ports.uaa, Component::Uaa),
        ]
        .map(|(address, component)| (address.to_string(), component.server_name()))
        .to_vec()
    }

    /// The agent, which takes what the stack says about itself.
    pub(crate) fn agent(&self) -> Result<Target, Failure> {
        Ok(Target {
            address: self.ports.agent.to_string(),
            server_name: Component::ForwarderAgent.server_name().to_owned(),
            tls: ClientTls::mutual(&self.client)?,
        })
    }

    /// The command line of `component` as a process of its own.
    pub(crate) fn arguments(&self, component: Component) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![component.name().into(), "--supervised".into()];
        let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        option("--config", self.config(component).into());
        option("--ledger", self.state.ledger().into());
        option("--log-file", self.state.log_of(component.name()).into());
        option("--telemetry-agent", self.ports.agent.to_string().into());
        option("--telemetry-ca", self.client.ca.clone().into());
        option("--telemetry-cert", self.client.cert.clone().into());
        option("--telemetry-key", self.client.key.clone().into());
        arguments
    }

    /// Where UAA is, as its tokens say it.
    fn uaa_url(&self) -> String {
        format!("https://{}", self.ports.uaa)
    }

    /// For the faces that take UAA's tokens.
    fn uaa(&self) -> RawUaa {
        RawUaa {
            url: self.uaa_url(),
            ca: self.client.ca.clone(),
            server_name: Component::Uaa.server_name().to_owned(),
            client_id: RESOURCE_CLIENT.to_owned(),
            client_secret_file: self.state.client_secrets(),
            ..RawUaa::default()
        }
    }

    fn write_config(&self, component: Component, identity: IdentityFiles) -> Result<(), Failure> {
        let ports = &self.ports;
        let text = match component {
            Component::Uaa => to_toml(&weir_platform_uaa_server::RawConfig {
                listen: ports.uaa.into(),
                identity: weir_platform_uaa_server::RawIdentity {
                    ca: identity.ca,
                    cert: identity.cert,
                    key: identity.key,
                },
                external_url: self.uaa_url(),
                database: Secret::new(format!("sqlite://{}", self.state.uaa().join("uaa.db").display())),
                admin_password_file: self.state.admin_password(),
                client_secrets_file: self.state.client_secrets(),
                master_key_file: self.state.uaa().join("master-key"),
                ..weir_platform_uaa_server::RawConfig::default()
            }),
            Component::Rlp => to_toml(&weir_rlp_server::RawConfig {
                listen: ports.rlp.into(),
                identity,
                dopplers: vec![ports.doppler.into()],
                ..weir_rlp_server::RawConfig::default()
            }),
            Component::RlpGateway => to_toml(&weir_rlp_gateway::RawConfig {
                listen: ports.rlp_gateway.into(),
                cert: identity.cert.clone(),
                key: identity.key.clone(),
                identity,
                logs_provider: ports.rlp.into(),
                token_file: self.state.token(),
                uaa: self.uaa(),
                ..weir_rlp_gateway::RawConfig::default()
            }),
            Component::Doppler => to_toml(&weir_doppler_server::RawConfig {
                listen: ports.doppler.into(),
                identity,
                ..weir_doppler_server::RawConfig::default()
            }),
            Component::ForwarderAgent => to_toml(&weir_agents_forwarder::RawConfig {
                listen: ports.agent.into(),
                identity,
                // The agents of this stack, not those that somebody else runs on this machine.
                downstream_files: Vec::new(),
                downstreams: [
                    (Component::LoggregatorAgent, ports.loggregator_agent),
                    (Component::SyslogAgent, ports.syslog_agent),
                ]
                .map(|(component, address)| (component.name().to_owned(), address.into()))
                .into(),
                tags: place(),
                ..weir_agents_forwarder::RawConfig::default()
            }),
            Component::SyslogAgent => to_toml(&weir_agents_syslog::RawConfig {
                listen: ports.syslog_agent.into(),
                status_listen: ports.syslog_agent_status.into(),
                identity,
                state_dir: self.state.syslog_agent(),
                agent: Some(ports.agent.into()),
                cache: weir_agents_syslog::RawCache {
                    address: Some(ports.binding_cache.into()),
                    ..weir_agents_syslog::RawCache::default()
                },
                ..weir_agents_syslog::RawConfig::default()
            }),
            Component::BindingCache => to_toml(&weir_agents_binding_cache::RawConfig {
                listen: ports.binding_cache.into(),
                identity,
                agent: Some(ports.agent.into()),
                static_drains: Some(self.state.drains()),
                ..weir_agents_binding_cache::RawConfig::default()
            }),
            Component::LogCacheSyslog => to_toml(&weir_log_cache_syslog::RawConfig {
                listen: ports.log_cache_syslog.into(),
                identity,
                log_cache: ports.log_cache.into(),
                ..weir_log_cache_syslog::RawConfig::default()
            }),
            Component::LoggregatorAgent => to_toml(&weir_agents_loggregator::RawConfig {
                listen: ports.loggregator_agent.into(),
                identity,
                dopplers: vec![ports.doppler.into()],
                tags: place(),
                ..weir_agents_loggregator::RawConfig::default()
            }),
            Component::TrafficController => to_toml(&weir_traffic_controller_server::RawConfig {
                listen: ports.traffic_controller.into(),
                cert: identity.cert.clone(),
                key: identity.key.clone(),
                identity,
                dopplers: vec![ports.doppler.into()],
                token_file: self.state.token(),
                uaa: self.uaa(),
                ..weir_traffic_controller_server::RawConfig::default()
            }),
            Component::LogCache => to_toml(&weir_log_cache_server::RawConfig {
                listen: ports.log_cache.into(),
                gateway_listen: ports.log_cache_gateway.into(),
                proxy_listen: Some(ports.log_cache_proxy.into()),
                uaa: self.uaa(),
                identity,
                dopplers: vec![ports.doppler.into()],
                sql: weir_log_cache_server::RawSql {
                    listen: ports.sql_http.into(),
                    token_file: self.state.token(),
                    ..weir_log_cache_server::RawSql::default()
                },
                ..weir_log_cache_server::RawConfig::default()
            }),
        }?;
        let path = self.config(component);
        let head = format!(
            "# Written by `weir up` at each start. To change a value, set an environment variable such as\n\
             # {}__LISTEN, or copy this file and run `weir {component} --config COPY`.\n\n",
            component.name().to_uppercase().replace('-', "_"),
        );
        let written = weir_files::replace(&path, (head + &text).as_bytes(), Readers::Owner);
        written.map_err(|error| Failure::file(&path, &error))
    }
}

/// Begins the file of clients' secrets, which UAA completes at its first start: the faces want theirs before that.
fn client_secrets(state: &StateDir) -> Result<(), Failure> {
    let path = state.client_secrets();
    let mut random = rand::rng();
    let secret = format!("{:032x}{:032x}", random.random::<u128>(), random.random::<u128>());
    let text = serde_json::json!({ RESOURCE_CLIENT: secret }).to_string();
    let made = weir_files::create(&path, text.as_bytes(), Readers::Owner);
    made.map(drop).map_err(|error| Failure::file(&path, &error))
}

/// Where envelopes come from, for clients that show it: what a deployment's agents add (logging §7).
fn place() -> BTreeMap<String, String> {
    [
        ("deployment", "weir"),
        ("job", "local"),
        ("index", "0"),
        ("ip", "127.0.0.1"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn to_toml(config: &impl Serialize) -> Result<String, Failure> {
    toml::to_string(config).map_err(|error| Failure::new(ErrorKind::Internal, format!("configuration: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::config;

    /// Every file that is written loads without a complaint; a second preparation keeps what must stay.
    #[test]
    fn what_is_written_loads() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        state.create().expect("created");
        let plan = Plan::prepare(&state, Ports::default()).expect("prepared");
        for component in Component::IN_ORDER {
            let loaded = config::load(component, Some(&plan.config(component)), &[]);
            let loaded = loaded.unwrap_or_else(|failure| panic!("{component}: {failure}"));
            assert!(loaded.effective.contains("127.0.0.1:"), "{}", loaded.effective);
        }
        let read = |path: PathBuf| std::fs::read(path).expect("there");
        let kept = || {
            [
                state.token(),
                state.client_secrets(),
                plan.client.ca.clone(),
                plan.client.cert.clone(),
            ]
            .map(read)
        };
        let before = kept();
        let again = Plan::prepare(&state, Ports::default()).expect("prepared again");
        assert_eq!(again.client.cert, plan.client.cert);
        assert_eq!(kept(), before);
    }

    /// A mistake in a file is answered with the key that was meant.
    #[test]
    fn mistakes_are_explained() {
        let base = tempfile::tempdir().expect("temporary directory");
        let file = base.path().join("doppler.toml");
        std::fs::write(&file, "[queue]\nenvelops = 5\n").expect("written");
        let failure = config::load(Component::Doppler, Some(&file), &[])
            .expect_err("a misspelt key")
            .to_string();
        assert!(
            failure.contains("queue.envelops") && failure.contains("did you mean `queue.envelopes`?"),
            "{failure}"
        );
    }
}
