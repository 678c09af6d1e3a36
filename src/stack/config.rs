//! The configuration of a component: read from its file, the environment and flags; validated; shown.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_config::{Loader, Problems, environment, render};

use super::Component;
use crate::failure::Failure;

/// A validated configuration.
#[derive(Debug)]
pub(crate) enum Config {
    Uaa(Box<weir_platform_uaa_server::Config>),
    LogCache(Box<weir_log_cache_server::Config>),
    LogCacheSyslog(Box<weir_log_cache_syslog::Config>),
    TrafficController(Box<weir_traffic_controller_server::Config>),
    RlpGateway(Box<weir_rlp_gateway::Config>),
    Rlp(weir_rlp_server::Config),
    Doppler(weir_doppler_server::Config),
    BindingCache(Box<weir_agents_binding_cache::Config>),
    SyslogAgent(Box<weir_agents_syslog::Config>),
    LoggregatorAgent(Box<weir_agents_loggregator::Config>),
    ForwarderAgent(Box<weir_agents_forwarder::Config>),
}

/// A configuration with the form in which people read it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// TOML of what is in force, secrets redacted.
    pub(crate) effective: String,
}

/// Reads the configuration of `component`; every problem is reported, not only the first.
pub(crate) fn load(
    component: Component,
    file: Option<&Path>,
    overrides: &[(String, String)],
) -> Result<Loaded, Failure> {
    let mut loader = Loader::new(component.name()).env(environment()).overrides(overrides);
    if let Some(file) = file {
        loader = loader.file(file);
    }
    match component {
        Component::Uaa => {
            read::<weir_platform_uaa_server::RawConfig, _>(loader, |config| Config::Uaa(Box::new(config)))
        }
        Component::LogCache => {
            read::<weir_log_cache_server::RawConfig, _>(loader, |config| Config::LogCache(Box::new(config)))
        }
        Component::LogCacheSyslog => {
            read::<weir_log_cache_syslog::RawConfig, _>(loader, |config| Config::LogCacheSyslog(Box::new(config)))
        }
        Component::TrafficController => read::<weir_traffic_controller_server::RawConfig, _>(loader, |config| {
            Config::TrafficController(Box::new(config))
        }),
        Component::RlpGateway => {
            read::<weir_rlp_gateway::RawConfig, _>(loader, |config| Config::RlpGateway(Box::new(config)))
        }
        Component::Rlp => read::<weir_rlp_server::RawConfig, _>(loader, Config::Rlp),
        Component::Doppler => read::<weir_doppler_server::RawConfig, _>(loader, Config::Doppler),
        Component::BindingCache => {
            read::<weir_agents_binding_cache::RawConfig, _>(loader, |config| Config::BindingCache(Box::new(config)))
        }
        Component::SyslogAgent => {
            read::<weir_agents_syslog::RawConfig, _>(loader, |config| Config::SyslogAgent(Box::new(config)))
        }
        Component::LoggregatorAgent => {
            read::<weir_agents_loggregator::RawConfig, _>(loader, |config| Config::LoggregatorAgent(Box::new(config)))
        }
        Component::ForwarderAgent => {
            read::<weir_agents_forwarder::RawConfig, _>(loader, |config| Config::ForwarderAgent(Box::new(config)))
        }
    }
}

/// The configuration of `component` with every key: its text, what is allowed, its default.
pub(crate) fn example(component: Component) -> Result<String, Failure> {
    Ok(match component {
        Component::Uaa => weir_config::example::<weir_platform_uaa::RawConfig>(),
        Component::LogCache => weir_config::example::<weir_log_cache_server::RawConfig>(),
        Component::LogCacheSyslog => weir_config::example::<weir_log_cache_syslog::RawConfig>(),
        Component::TrafficController => weir_config::example::<weir_traffic_controller_server::RawConfig>(),
        Component::RlpGateway => weir_config::example::<weir_rlp_gateway::RawConfig>(),
        Component::Rlp => weir_config::example::<weir_rlp_server::RawConfig>(),
        Component::Doppler => weir_config::example::<weir_doppler_server::RawConfig>(),
        Component::BindingCache => weir_config::example::<weir_agents_binding_cache::RawConfig>(),
        Component::SyslogAgent => weir_config::example::<weir_agents_syslog::RawConfig>(),
        Component::LoggregatorAgent => weir_config::example::<weir_agents_loggregator::RawConfig>(),
        Component::ForwarderAgent => weir_config::example::<weir_agents_forwarder::RawConfig>(),
    }?)
}

fn read<R, C>(loader: Loader, wrap: impl FnOnce(C) -> Config) -> Result<Loaded, Failure>
where
    R: DeserializeOwned + Serialize + Clone,
    C: TryFrom<R, Error = Problems>,
{
    let (raw, config) = loader.load::<R, C>()?;
    Ok(Loaded {
        config: wrap(config),
        effective: render(&raw)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of each component loads, and says what no configuration says: the defaults.
    #[test]
    fn examples_are_the_defaults() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("example.toml");
        for component in Component::IN_ORDER {
            let text = example(component).expect("an example");
            std::fs::write(&path, &text).expect("written");
            // Some defaults are not usable: the log cache needs a token. They are then refused in the same words.
            let in_force = |file| match load(component, file, &[]) {
                Ok(loaded) => loaded.effective,
                Err(failure) => failure.to_string(),
            };
            assert_eq!(in_force(Some(path.as_path())), in_force(None), "{component}:\n{text}");
        }
    }
}
