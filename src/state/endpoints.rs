//! `endpoints.json`: where everything listens. A stable interface for scripts: a flat JSON object whose keys appear when
//! their component exists and are never renamed.
//!
//! It is there exactly while the stack serves: `weir up` removes what a killed predecessor left, writes it once everything
//! answers, rewrites it when a restarted component has another pid, and removes it at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_error::ErrorKind;
use weir_files::Readers;

use super::{Lock, StateDir};
use crate::failure::Failure;

/// The keys of this version; those of later ones are ignored when reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The authority's certificate (PEM).
    pub(crate) ca: PathBuf,
    /// With `client_key`: may call every internal gRPC service.
    pub(crate) client_cert: PathBuf,
    pub(crate) client_key: PathBuf,
    /// v2 gRPC ingress for producers: the forwarder agent (`host:port`, server name `metron`).
    pub(crate) agent: String,
    /// The agent that talks to the dopplers (gRPC, server name `metron`).
    pub(crate) loggregator_agent: String,
    /// The agent that talks to syslog drains (gRPC, server name `metron`).
    pub(crate) syslog_agent: String,
    /// `https://…`: how the drains are doing, with a client certificate.
    pub(crate) syslog_agent_status: String,
    /// `https://…`: which apps drain where, with a client certificate.
    pub(crate) binding_cache: String,
    /// gRPC, server name `doppler`.
    pub(crate) doppler: String,
    /// gRPC, server name `reverselogproxy`.
    pub(crate) rlp: String,
    /// `https://…`: the stream as server-sent events, with a token.
    pub(crate) rlp_gateway: String,
    /// `wss://…`: firehose and app streams.
    pub(crate) traffic_controller: String,
    /// gRPC, server name `log-cache`.
    pub(crate) log_cache: String,
    /// `https://…`: REST, with a client certificate.
    pub(crate) log_cache_gateway: String,
    /// `https://…`: REST, with a token.
    pub(crate) log_cache_proxy: String,
    /// Syslog over TLS for the original's agents (`host:port`), with a client certificate.
    pub(crate) log_cache_syslog: String,
    /// `https://…`: SQL over HTTP, with the token.
    pub(crate) sql_http: String,
    /// `https://…`: users, clients and tokens.
    pub(crate) uaa: String,
    /// The first user, who may do everything.
    pub(crate) admin_user: String,
    /// The password that was generated for them; absent once somebody removed its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin_password: Option<String>,
    /// Process of each component by subcommand name.
    pub(crate) pids: BTreeMap<String, u32>,
}

impl Endpoints {
    /// Reads the file of a running stack; says what to do when there is none.
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

    /// The file as it is, for `weir endpoints`.
    pub(crate) fn read_text(state: &StateDir) -> Result<String, Failure> {
        fs::read_to_string(state.endpoints()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => absent(state),
            _ => Failure::file(&state.endpoints(), &error),
        })
    }

    /// Makes the stack known.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Failure> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        text.push(b'\n');
        // The administrator's password is in it.
        let path = state.endpoints();
        weir_files::replace(&path, &text, Readers::Owner).map_err(|error| Failure::file(&path, &error))
    }

    /// Makes the stack unknown again; an absent file is fine.
    pub(crate) fn remove(state: &StateDir) -> Result<(), Failure> {
        match fs::remove_file(state.endpoints()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file(&state.endpoints(), &error)),
            _ => Ok(()),
        }
    }
}

/// Why there is no `endpoints.json`: nobody started a stack, or it is just starting (or stopping).
fn absent(state: &StateDir) -> Failure {
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

    fn example() -> Endpoints {
        Endpoints {
            ca: "/s/certs/ca.crt".into(),
            client_cert: "/s/certs/client.crt".into(),
            client_key: "/s/certs/client.key".into(),
            agent: "127.0.0.1:3458".to_owned(),
            loggregator_agent: "127.0.0.1:3459".to_owned(),
            syslog_agent: "127.0.0.1:3460".to_owned(),
            syslog_agent_status: "https://127.0.0.1:3461".to_owned(),
            binding_cache: "https://127.0.0.1:9000".to_owned(),
            doppler: "127.0.0.1:8082".to_owned(),
            rlp: "127.0.0.1:8083".to_owned(),
            rlp_gateway: "https://127.0.0.1:8088".to_owned(),
            traffic_controller: "wss://127.0.0.1:8081".to_owned(),
            log_cache: "127.0.0.1:8080".to_owned(),
            log_cache_gateway: "https://127.0.0.1:8084".to_owned(),
            log_cache_proxy: "https://127.0.0.1:8085".to_owned(),
            log_cache_syslog: "127.0.0.1:6067".to_owned(),
            sql_http: "https://127.0.0.1:8086".to_owned(),
            uaa: "https://127.0.0.1:8443".to_owned(),
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

    /// Written, read back, removed; and a key of a later version does no harm.
    #[test]
    fn it_comes_back_as_written() {
        let (_base, state) = state();
        example().write(&state).expect("written");
        let mode = fs::metadata(state.endpoints()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Endpoints::read(&state).expect("read"), example());

        let mut object: serde_json::Value =
            serde_json::from_str(&Endpoints::read_text(&state).expect("text")).expect("json");
        object["console"] = "https://127.0.0.1:8444".into();
        fs::write(state.endpoints(), object.to_string()).expect("rewritten");
        assert_eq!(Endpoints::read(&state).expect("read"), example());

        Endpoints::remove(&state).expect("removed");
        Endpoints::remove(&state).expect("nothing left to remove");
    }

    /// Scripts rely on these names.
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
            "admin_user",
            "admin_password",
            "pids",
        ];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected);
    }

    /// Without a stack the error says how to start one; while another process starts it, that is said instead.
    #[tokio::test]
    async fn an_absent_stack_is_explained() {
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
