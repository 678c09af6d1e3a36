//! The original's job file: `routing-api -config routing-api.yml -ip ADDRESS`, so that one program can be swapped in a running
//! deployment.
//!
//! Each key of the file is mapped to the configuration, passed over with a reason ([`Job::passed_over`]), or refused with one.
//! What is not mapped, and why:
//!
//! | Key | Why it has no effect |
//! |---|---|
//! | `debug_address` | there is no debug server of Go |
//! | `metron_config`, `statsd_endpoint`, `statsd_client_flush_interval`, `metrics_reporting_interval` | metrics leave as envelopes, by the program's telemetry |
//! | `locket`, `lock_resource_key` | the lock is in the database |
//! | `sqldb.max_*`, `sqldb.connections_max_lifetime_seconds` | connections are bounded by the program |
//! | `oauth.client_name`, `oauth.client_secret` | tokens are checked without a client |
//! | `skip_ssl_validation` | a certificate is checked wherever there is a CA; without one for UAA, the file is refused |

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use weir_auth::RawUaa;
use weir_config::{Duration, ListenAddr, Secret, yaml};
use weir_error::{Classify, ErrorKind};
use weir_routing_api_client::models::{InvalidRouterGroup, RouterGroup, RouterGroupType};
use weir_tls::IdentityFiles;

use crate::{RawConfig, RawLock, RawOwnRoute, RawRouterGroup};

mod database;
mod document;
mod flags;
mod lines;
mod run;
mod uaa;

use document::{Document, Named};
pub use flags::{Flags, FlagsError};
pub use lines::TimeFormat;
pub use run::run;
pub use uaa::UaaError;

/// How long the original waits between two attempts for the lock, unless the file says otherwise. Another instance is given so
/// long beside its own interval to take over.
const RETRY: std::time::Duration = std::time::Duration::from_secs(5);

/// A job file that was understood.
#[derive(Debug)]
pub struct Job {
    /// What it means. `uaa.issuer` is not known yet; [`Job::find_issuer`] asks UAA.
    pub config: RawConfig,
    /// The keys that have no effect, each with the reason.
    pub passed_over: Vec<(String, &'static str)>,
    /// The port of the line that says that the program has started.
    pub shown_port: u16,
}

/// Why a job file cannot be used. The texts of what the original checks are the original's.
#[derive(Debug, Error)]
pub enum JobError {
    /// It is no YAML of this form.
    #[error(transparent)]
    Yaml(#[from] yaml::YamlError),
    /// A key is absent or cannot have this value.
    #[error("{0}")]
    Value(String),
    /// A router group is not valid.
    #[error(transparent)]
    Group(#[from] InvalidRouterGroup),
    /// The certificate of the database's CA cannot be put into a file.
    #[error("CA of the database cannot be written")]
    Authority(#[source] std::io::Error),
}

impl Classify for JobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Yaml(_) | Self::Value(_) | Self::Group(_) => ErrorKind::InvalidInput,
            Self::Authority(_) => ErrorKind::Internal,
        }
    }
}

impl Job {
    /// Reads a job file, together with the flags beside it.
    ///
    /// # Errors
    /// The first thing that is wrong, as the original says it.
    pub fn read(text: &str, flags: &Flags) -> Result<Self, JobError> {
        let document: Document = yaml::read(text)?;
        check(&document, flags.dev_mode)?;
        let mut passed_over = document.unknown();
        let router_groups = groups(&document.router_groups)?;
        let reserved = reserved_ports(&document);
        for (name, group) in &router_groups {
            let group = RouterGroup {
                guid: String::new(),
                name: name.clone(),
                kind: RouterGroupType(group.r#type.clone()),
                reservable_ports: group.reservable_ports.as_str().into(),
            };
            group.validate(&reserved)?;
        }
        let database = database::url(&document.sqldb, document.skip_ssl_validation, &mut passed_over)?;
        let plain = document.api.http_enabled.then(|| everywhere(document.api.listen_port));
        let own_route = if plain.is_some() {
            RawOwnRoute {
                route: format!("api.{}/routing", document.system_domain),
                ip: flags.ip.clone(),
                log_guid: document.log_guid.clone(),
            }
        } else {
            RawOwnRoute::default()
        };
        let retry = positive(document.retry_interval.0).unwrap_or(Duration::from_secs(5));
        passed_over.extend(document.without_effect());
        let config = RawConfig {
            listen: everywhere(document.api.mtls_listen_port),
            identity: IdentityFiles {
                ca: document.api.mtls_client_ca_file.into(),
                cert: document.api.mtls_server_cert_file.into(),
                key: document.api.mtls_server_key_file.into(),
            },
            plain,
            admin: Some(SocketAddr::from(([127, 0, 0, 1], document.admin_port)).into()),
            database: Secret::new(database),
            disable_access_control: flags.dev_mode,
            uaa: settings_of_uaa(&document.oauth, flags.dev_mode)?,
            own_route,
            max_ttl: positive(document.max_ttl.0).unwrap_or(Duration::from_secs(120)),
            default_tcp_ports: String::new(),
            router_groups,
            reserved_system_component_ports: reserved,
            lock: RawLock {
                instance: document.uuid,
                ttl: positive(document.lock_ttl.0).unwrap_or(Duration::from_secs(15)),
                retry,
                handover: (retry.get() + RETRY).into(),
            },
            ..RawConfig::default()
        };
        Ok(Self {
            config,
            passed_over,
            shown_port: document.api.listen_port,
        })
    }

    /// Asks UAA what it writes into its tokens as their issuer, and takes that; nothing is asked if tokens are not checked.
    ///
    /// # Errors
    /// When UAA does not say.
    pub async fn find_issuer(&mut self) -> Result<Option<String>, UaaError> {
        if self.config.uaa.url.is_empty() {
            return Ok(None);
        }
        let issuer = uaa::issuer(&self.config.uaa).await?;
        self.config.uaa.issuer.clone_from(&issuer);
        Ok(Some(issuer))
    }

    /// Asks UAA for its key, which is not kept: a UAA that has none would make every request wait.
    ///
    /// # Errors
    /// When UAA does not say, or it is no key.
    pub async fn check_key(&self) -> Result<(), UaaError> {
        uaa::check_key(&self.config.uaa).await
    }
}

/// What the original checks, in its order and its words.
fn check(document: &Document, dev_mode: bool) -> Result<(), JobError> {
    let refuse = |is_wrong: bool, text: &str| {
        if is_wrong {
            Err(JobError::Value(text.to_owned()))
        } else {
            Ok(())
        }
    };
    refuse(document.system_domain.is_empty(), "no system_domain specified")?;
    refuse(document.log_guid.is_empty(), "no log_guid specified")?;
    if !dev_mode {
        refuse(document.oauth.token_endpoint.is_empty(), "no token endpoint specified")?;
        refuse(
            document.oauth.port == 0,
            "routing API requires TLS enabled to get OAuth token",
        )?;
    }
    refuse(document.uuid.is_empty(), "no UUID is specified")?;
    for (name, port) in [
        ("admin port", document.admin_port),
        ("API listen port", document.api.listen_port),
        ("API mTLS listen port", document.api.mtls_listen_port),
    ] {
        refuse(
            port == 0,
            &format!("invalid {name}: port number is invalid: 0 (1-65535)"),
        )?;
    }
    refuse(document.locket.locket_address.is_empty(), "locket address is required")
}

fn groups(named: &[Named]) -> Result<BTreeMap<String, RawRouterGroup>, JobError> {
    let mut groups = BTreeMap::new();
    for group in named {
        let written = RawRouterGroup {
            r#type: group.r#type.clone(),
            reservable_ports: group.reservable_ports.0.clone(),
        };
        if groups.insert(group.name.clone(), written).is_some() {
            let text = format!("router group `{}` is there twice", group.name);
            return Err(JobError::Value(text));
        }
    }
    Ok(groups)
}

fn reserved_ports(document: &Document) -> Vec<u16> {
    if document.fail_on_router_port_conflicts {
        document.reserved_system_component_ports.clone()
    } else {
        Vec::new()
    }
}

fn settings_of_uaa(oauth: &document::OAuth, dev_mode: bool) -> Result<RawUaa, JobError> {
    if dev_mode {
        return Ok(RawUaa::default());
    }
    if oauth.ca_certs.is_empty() {
        let text = "oauth.ca_certs is empty: the certificate of UAA is always checked";
        return Err(JobError::Value(text.to_owned()));
    }
    let host = match oauth.token_endpoint.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => oauth.token_endpoint.clone(),
    };
    Ok(RawUaa {
        url: format!("https://{host}:{}", oauth.port),
        ca: oauth.ca_certs.clone().into(),
        ..RawUaa::default()
    })
}

fn everywhere(port: u16) -> ListenAddr {
    SocketAddr::from(([0, 0, 0, 0], port)).into()
}

fn positive(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests;
