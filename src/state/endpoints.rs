//! `endpoints.json`: the addresses of a stack. It is a stable interface for scripts: a flat JSON object, whose keys are added
//! with their component and are never renamed.
//!
//! The file exists while the stack serves: `weir up` removes the file of a killed predecessor, writes it once every component
//! answers, rewrites it when a restarted component has another pid, and removes it at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use weir_error::ErrorKind;
use weir_files::Readers;

use super::{Lock, StateDir};
use crate::failure::Failure;

/// The contents of the file. Keys of later versions are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The authority's certificate (PEM).
    pub(crate) ca: PathBuf,
    /// The client certificate (PEM); with `client_key`, it may call every internal gRPC service.
    pub(crate) client_cert: PathBuf,
    pub(crate) client_key: PathBuf,
    /// The address of each port, by its key in the table of components: `host:port`, or a URL.
    #[serde(flatten, deserialize_with = "texts")]
    pub(crate) addresses: BTreeMap<String, String>,
    /// The domain below which the stack's public interfaces and routes have their names.
    pub(crate) domain: String,
    /// The name of the first user, who has all rights.
    pub(crate) admin_user: String,
    /// The password that was generated for the first user; absent if its file was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin_password: Option<String>,
    /// The process id of each component, by subcommand name.
    pub(crate) pids: BTreeMap<String, u32>,
}

impl Endpoints {
    /// Reads the file of a running stack. Without one, the failure says how to start a stack.
    pub(crate) fn read(state: &StateDir) -> Result<Self, Failure> {
        let text = Self::read_text(state)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::new(
                ErrorKind::Internal,
                format!("`{}`: {error}", state.endpoints().display()),
            )
            .with_hint("it was written by another version: stop that stack and start it again with `weir up`")
        })
    }

    /// Returns the address of the port with this key.
    pub(crate) fn address(&self, key: &str) -> Result<&str, Failure> {
        let found = self.addresses.get(key).map(String::as_str);
        found.ok_or_else(|| {
            Failure::new(
                ErrorKind::NotFound,
                format!("endpoint `{key}`: this stack has none of that name"),
            )
            .with_hint("it runs without the component that this command asks: start it without `--only`")
        })
    }

    /// Returns the text of the file, for `weir endpoints`.
    pub(crate) fn read_text(state: &StateDir) -> Result<String, Failure> {
        fs::read_to_string(state.endpoints()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_serving(state),
            _ => Failure::file(&state.endpoints(), &error),
        })
    }

    /// Writes the file.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Failure> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        text.push(b'\n');
        // For the owner only: the administrator's password is in it.
        let path = state.endpoints();
        weir_files::replace(&path, &text, Readers::Owner).map_err(|error| Failure::file(&path, &error))
    }

    /// Removes the file, if it exists.
    pub(crate) fn remove(state: &StateDir) -> Result<(), Failure> {
        match fs::remove_file(state.endpoints()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file(&state.endpoints(), &error)),
            _ => Ok(()),
        }
    }
}

/// Reads the keys whose values are texts. Keys with other values are of a later version and are ignored.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let object = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let text = |(key, value)| match value {
        Value::String(text) => Some((key, text)),
        _ => None,
    };
    Ok(object.into_iter().filter_map(text).collect())
}

/// Returns the failure for a missing `endpoints.json`: no stack runs, or one is starting or stopping.
fn not_serving(state: &StateDir) -> Failure {
    let root = state.root().display();
    if let Some(pid) = Lock::holder(state) {
        return Failure::new(
            ErrorKind::Unavailable,
            format!("stack in `{root}`: process {pid} is starting it or stopping it"),
        )
        .with_hint("wait until `endpoints.json` appears");
    }
    Failure::new(ErrorKind::NotFound, format!("stack in `{root}`: not running")).with_hint(format!(
        "start it with `weir{} up`, or name another directory by --state-dir or WEIR_STATE_DIR",
        state.as_flag()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::components::table;
    use crate::stack::Ports;

    fn example() -> Endpoints {
        Endpoints {
            ca: "/s/certs/ca.crt".into(),
            client_cert: "/s/certs/client.crt".into(),
            client_key: "/s/certs/client.key".into(),
            addresses: Ports::usual(table())
                .peers()
                .iter()
                .map(|peer| (peer.port.key.to_owned(), peer.endpoint()))
                .collect(),
            domain: "weir.localhost".to_owned(),
            admin_user: "admin".to_owned(),
            admin_password: Some("generated".to_owned()),
            pids: BTreeMap::from([("doppler".to_owned(), 7)]),
        }
    }

    fn state() -> (tempfile::TempDir, StateDir) {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        (base, state)
    }

    /// The file is written, read and removed, and keys of a later version are ignored.
    #[test]
    fn the_file_is_read_as_written() {
        let (_base, state) = state();
        example().write(&state).expect("written");
        let mode = fs::metadata(state.endpoints()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Endpoints::read(&state).expect("read"), example());

        let mut object: serde_json::Value =
            serde_json::from_str(&Endpoints::read_text(&state).expect("text")).expect("json");
        object["console"] = "https://127.0.0.1:8444".into();
        object["consoles"] = serde_json::json!({"count": 2});
        fs::write(state.endpoints(), object.to_string()).expect("rewritten");
        let mut later = Endpoints::read(&state).expect("read");
        assert!(later.addresses.remove("console").is_some());
        assert_eq!(later, example());

        Endpoints::remove(&state).expect("removed");
        Endpoints::remove(&state).expect("nothing left to remove");
    }

    /// The keys are these; scripts rely on them.
    #[test]
    fn the_keys_are_stable() {
        let value = serde_json::to_value(example()).expect("json");
        let keys: Vec<&str> = value.as_object().expect("object").keys().map(String::as_str).collect();
        let mut expected = [
            "ca",
            "client_cert",
            "client_key",
            "agent",
            "loggregator_agent",
            "syslog_agent",
            "syslog_agent_status",
            "binding_cache",
            "doppler",
            "rlp",
            "rlp_gateway",
            "traffic_controller",
            "log_cache",
            "log_cache_gateway",
            "log_cache_proxy",
            "log_cache_syslog",
            "sql_http",
            "uaa",
            "nats",
            "router_https",
            "router_http",
            "router_status",
            "tcp_router",
            "routing_api",
            "route_registrar",
            "names_proxy",
            "domain",
            "admin_user",
            "admin_password",
            "pids",
        ];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected);
    }

    /// Without a stack the failure says how to start one; while a process is starting it, the failure names the process.
    #[tokio::test]
    async fn a_missing_stack_is_explained() {
        let (_base, state) = state();
        let failure = Endpoints::read(&state).expect_err("absent");
        assert_eq!(failure.kind(), ErrorKind::NotFound);
        assert!(
            failure
                .to_string()
                .contains("not running\nhint: start it with `weir --state-dir "),
            "{failure}"
        );

        let _lock = Lock::acquire(&state).await.expect("free");
        let failure = Endpoints::read(&state).expect_err("absent");
        assert_eq!(failure.kind(), ErrorKind::Unavailable);
        assert!(
            failure.to_string().contains(&format!("process {}", std::process::id())),
            "{failure}"
        );
    }
}
