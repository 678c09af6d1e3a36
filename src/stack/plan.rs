//! Everything a stack needs before it starts, made where it is missing: certificates, token, one configuration file for
//! each component.

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

/// The name of the certificate with which commands and nozzles call the stack.
const CLIENT: &str = "client";
/// The client that log components are to UAA (cloud-controller §2.6): may read what was revoked.
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
    /// Makes what is missing. Certificates and token of an earlier start are used again; configuration files are written
    /// anew.
    pub(crate) fn prepare(state: &StateDir, components: &Table, ports: Ports, domain: &str) -> Result<Self, Failure> {
        let authority = Authority::open_or_create(&state.certs())?;
        let client = authority.issue(CLIENT, &[])?;
        // Made at the first start, checked at later ones.
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

    /// The configuration file of `component`.
    pub(crate) fn config(&self, component: &str) -> PathBuf {
        self.state.config_of(component)
    }

    /// What becomes known once everything serves.
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

    /// The port that other components call at `C`, with the identity of the stack's commands; `None` if `C` does not run.
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

    /// The agent, which takes what the stack says about itself; `None` if it does not run.
    pub(crate) fn agent(&self) -> Result<Option<Target>, Failure> {
        self.target::<weir_agents_forwarder::Server>()
    }

    /// The command line of `component` as a process of its own.
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

    /// Where everything is, for the configuration of the components.
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

/// Begins the file of clients' secrets, which UAA completes at its first start: the faces want theirs before that.
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

    /// Every file that is written loads without a complaint; a second preparation keeps what must stay.
    #[test]
    fn what_is_written_loads() {
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

    /// A mistake in a file is answered with the key that was meant.
    #[test]
    fn mistakes_are_explained() {
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
