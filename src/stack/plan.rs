//! The files that a stack needs before it starts, created where they are missing: certificates, token, and one configuration
//! file for each component.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use rand::Rng as _;
use weir_auth::StaticToken;
use weir_component::{Component, Layout, Peer};
use weir_files::Readers;
use weir_net::Target;
use weir_tls::{Authority, ClientTls, IdentityFiles};

use super::Ports;
use crate::components::{Entry, Table};
use crate::failure::Failure;
use crate::state::{Endpoints, StateDir};

/// The name of the client certificate that commands and nozzles use.
const CLIENT: &str = "client";
/// The OAuth client of the log components at UAA (cloud-controller §2.6), which may read revocations.
const RESOURCE_CLIENT: &str = "doppler";

/// A stack, ready to be started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) state: StateDir,
    /// The components that run.
    pub(crate) components: Table,
    /// The ports of all components, also of those that do not run.
    pub(crate) ports: Ports,
    pub(crate) client: IdentityFiles,
    /// The domain below which routes have their names.
    pub(crate) domain: String,
}

impl Plan {
    /// Creates the missing files. Certificates and token of an earlier start are kept; configuration files are replaced.
    pub(crate) fn prepare(state: &StateDir, components: &Table, ports: Ports, domain: &str) -> Result<Self, Failure> {
        let authority = Authority::open_or_create(&state.certs())?;
        let client = authority.issue(CLIENT, &[])?;
        // Creates the file at the first start; checks it at later ones.
        StaticToken::from_file(&state.token())?;
        client_secrets(state)?;
        let plan = Self {
            state: state.clone(),
            components: components.clone(),
            ports,
            client,
            domain: domain.to_owned(),
        };
        let layout = plan.layout();
        for component in components.iter() {
            let names = component.description().server_names.iter();
            let names: Vec<String> = names.map(|name| name.replace("{domain}", domain)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let identity = authority.issue(component.name(), &names)?;
            plan.write_config(component, &layout, identity)?;
        }
        Ok(plan)
    }

    /// Returns the path of the configuration file of `component`.
    pub(crate) fn config(&self, component: &str) -> PathBuf {
        self.state.config_of(component)
    }

    /// Returns the contents of `endpoints.json` for a stack that serves.
    pub(crate) fn endpoints(&self, pids: impl IntoIterator<Item = (&'static str, u32)>) -> Endpoints {
        let address = |peer: &Peer| (peer.port.key.to_owned(), peer.endpoint());
        Endpoints {
            ca: self.client.ca.clone(),
            client_cert: self.client.cert.clone(),
            client_key: self.client.key.clone(),
            addresses: self.ports.of(&self.components).map(address).collect(),
            domain: self.domain.clone(),
            admin_user: weir_platform_uaa_server::RawConfig::default().admin_user,
            admin_password: fs::read_to_string(self.state.admin_password())
                .ok()
                .map(|password| password.trim().to_owned()),
            pids: pids
                .into_iter()
                .map(|(component, pid)| (component.to_owned(), pid))
                .collect(),
        }
    }

    /// Returns the main port of `C`, to be called with the client certificate of the stack; `None` if `C` does not run.
    pub(crate) fn target<C: Component>(&self) -> Result<Option<Target>, Failure> {
        let key = C::DESCRIPTION.port().key;
        let Some(peer) = self.ports.of(&self.components).find(|peer| peer.port.key == key) else {
            return Ok(None);
        };
        Ok(Some(Target {
            address: peer.address.to_string(),
            server_name: peer.server_name.to_owned(),
            tls: ClientTls::mutual(&self.client)?,
        }))
    }

    /// Returns the agent, which takes the telemetry of the stack; `None` if it does not run.
    pub(crate) fn agent(&self) -> Result<Option<Target>, Failure> {
        self.target::<weir_agents_forwarder::Server>()
    }

    /// Returns the arguments of `component` as a separate process.
    pub(crate) fn arguments(&self, component: &str) -> Result<Vec<OsString>, Failure> {
        let mut arguments: Vec<OsString> = vec![component.into(), "--supervised".into()];
        let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        option("--config", self.config(component).into());
        option("--ledger", self.state.ledger().into());
        option("--log-file", self.state.log_of(component).into());
        if let Some(agent) = self.agent()? {
            option("--telemetry-agent", agent.address.into());
            option("--telemetry-ca", self.client.ca.clone().into());
            option("--telemetry-cert", self.client.cert.clone().into());
            option("--telemetry-key", self.client.key.clone().into());
        }
        Ok(arguments)
    }

    /// Returns the paths and addresses from which components derive their configurations.
    fn layout(&self) -> Layout {
        Layout {
            state_dir: self.state.root().to_owned(),
            ca: self.client.ca.clone(),
            operator_token: self.state.token(),
            client_secrets: self.state.client_secrets(),
            domain: self.domain.clone(),
            running: self.components.iter().map(Entry::name).collect(),
            peers: self.ports.peers().to_vec(),
        }
    }

    fn write_config(&self, component: &Entry, layout: &Layout, identity: IdentityFiles) -> Result<(), Failure> {
        let text = component.configuration(layout, identity)?;
        let name = component.name();
        let path = self.config(name);
        let head = format!(
            "# Written by `weir up` at each start. To change a value, set an environment variable such as\n\
             # {}__LISTEN, or copy this file and run `weir {name} --config COPY`.\n\n",
            name.to_uppercase().replace('-', "_"),
        );
        let written = weir_files::replace(&path, (head + &text).as_bytes(), Readers::Owner);
        written.map_err(|error| Failure::file(&path, &error))
    }
}

/// Creates the file of clients' secrets with one secret. UAA adds the others at its first start, but the log components may
/// read theirs, to ask UAA for revocations, before UAA has written the file.
fn client_secrets(state: &StateDir) -> Result<(), Failure> {
    let path = state.client_secrets();
    let mut random = rand::rng();
    let secret = format!("{:032x}{:032x}", random.random::<u128>(), random.random::<u128>());
    let text = serde_json::json!({ RESOURCE_CLIENT: secret }).to_string();
    let made = weir_files::create(&path, text.as_bytes(), Readers::Owner);
    made.map(drop).map_err(|error| Failure::file(&path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::table;
    use crate::stack::config;

    /// Every configuration file that is written loads; a second preparation keeps token, secrets and certificates.
    #[test]
    fn written_configurations_load() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        state.create().expect("created");
        let plan = Plan::prepare(&state, table(), Ports::usual(table()), "weir.localhost").expect("prepared");
        for component in table().iter() {
            let loaded = config::load(component, Some(&plan.config(component.name())), &[]);
            let loaded = loaded.unwrap_or_else(|failure| panic!("{component:?}: {failure}"));
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
        let again = Plan::prepare(&state, table(), Ports::usual(table()), "weir.localhost").expect("prepared again");
        assert_eq!(again.client.cert, plan.client.cert);
        assert_eq!(kept(), before);
    }

    /// The failure for a misspelt key names the key that was meant.
    #[test]
    fn a_misspelt_key_is_explained() {
        let base = tempfile::tempdir().expect("temporary directory");
        let file = base.path().join("doppler.toml");
        std::fs::write(&file, "[queue]\nenvelops = 5\n").expect("written");
        let doppler = table().find("doppler").expect("a component");
        let failure = config::load(doppler, Some(&file), &[])
            .expect_err("a misspelt key")
            .to_string();
        assert!(
            failure.contains("queue.envelops") && failure.contains("did you mean `queue.envelopes`?"),
            "{failure}"
        );
    }
}
