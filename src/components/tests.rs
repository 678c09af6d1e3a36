use std::collections::BTreeMap;

use clap::CommandFactory as _;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_config::{ListenAddr, Problems, Setting};
use weir_service::Context;
use weir_tls::{IdentityFiles, ServerTls, TlsError};

use super::*;
use crate::cli::Cli;
use crate::commands::{component, doctor};
use crate::stack::{Plan, PortChoice, Ports, Stack};
use crate::state::{Lock, StateDir};

/// A component that only does TLS handshakes.
struct Greeter(TcpListener, ServerTls, Context);

#[derive(Clone, Serialize, Deserialize, Setting)]
struct Raw {
    /// Where to shake hands.
    #[setting(default = "127.0.0.1:7")]
    listen: ListenAddr,
    /// The certificate of the greeter.
    identity: IdentityFiles,
}

struct Config(Raw);

impl TryFrom<Raw> for Config {
    type Error = Problems;

    fn try_from(raw: Raw) -> Result<Self, Problems> {
        Ok(Self(raw))
    }
}

impl Component for Greeter {
    const DESCRIPTION: Description = Description {
        name: "greeter",
        group: "test",
        help: "Run the greeter: shakes hands with everybody",
        server_names: &["greeter", "greeter.service.cf.internal"],
        ports: &[Port::https("greeter_door", 7)],
        needs: &[],
    };

    type RawConfig = Raw;
    type Config = Config;
    type Context = Context;
    type Error = TlsError;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<Raw, UnknownPort> {
        let listen = layout.address("greeter_door")?.into();
        Ok(Raw { listen, identity })
    }

    async fn bind(Config(raw): Config, context: Context) -> Result<Self, TlsError> {
        let listener = TcpListener::bind(raw.listen.socket()).await.expect("free");
        Ok(Self(listener, ServerTls::mutual(&raw.identity)?, context))
    }

    async fn run(self) -> Result<(), TlsError> {
        let Self(listener, tls, context) = self;
        while let Some(Ok((stream, _))) = context.shutdown.unless_requested(listener.accept()).await {
            drop(tls.acceptor().accept(stream).await);
        }
        Ok(())
    }
}

fn greeters() -> Table {
    Table::new(&[Entry::of::<Greeter>()]).expect("one component")
}

/// The table is valid: names, keys, default ports and needs are consistent.
#[test]
fn the_table_is_valid() {
    assert_eq!(table().iter().count(), COMPONENTS.len());
    assert_eq!(table().start_order().len(), COMPONENTS.len());
}

/// A component of the table is a subcommand with a line in `--help`, and takes the arguments of every component.
#[test]
fn a_line_of_the_table_is_a_subcommand() {
    let mut command = component::subcommands(Cli::command(), &greeters());
    let help = command.render_long_help().to_string();
    let line = help.lines().find(|line| line.trim_start().starts_with("greeter "));
    assert!(
        line.is_some_and(|line| line.ends_with("Run the greeter: shakes hands with everybody")),
        "{help}"
    );
    command
        .try_get_matches_from(["weir", "greeter", "--config", "greeter.toml", "--check"])
        .expect("as any component");
}

/// Setup: a table with one component that the rest of the program does not know. Must hold: it gets a port, a certificate and a
/// configuration, runs, is in `endpoints.json`, is checked by the doctor, and stops.
#[tokio::test]
async fn a_line_of_the_table_is_a_part_of_the_stack() {
    let base = tempfile::tempdir().expect("temporary directory");
    let state = StateDir::at(base.path()).expect("absolute");
    state.create().expect("created");
    let _lock = Lock::acquire(&state).await.expect("free");
    let table = greeters();

    let ports = Ports::choose(PortChoice::Auto, &BTreeMap::new(), &table, &table, &state).expect("some are free");
    let plan = Plan::prepare(&state, &table, ports, "weir.localhost").expect("prepared");
    let stack = Stack::start(&plan, false).await.expect("serves");
    let endpoints = plan.endpoints(stack.pids());
    endpoints.write(&state).expect("written");
    assert_eq!(endpoints.pids["greeter"], std::process::id());
    let address = endpoints.address("greeter_door").expect("known");
    assert!(address.starts_with("https://127.0.0.1:"), "{address}");

    let mut report = String::new();
    let show = |finding: &doctor::Finding| {
        report.push_str(&finding.to_text());
        Ok(())
    };
    doctor::look(&state, &table, show).await.expect("looked");
    let address = address.trim_start_matches("https://");
    let line = format!("ok     server        greeter_door answers at `{address}`\n");
    assert!(report.contains(&line), "{report}");

    let mut stopped = Vec::new();
    let (failures, _) = stack.stop(|component, _| stopped.push(component.to_owned())).await;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(stopped, ["greeter"]);
}

/// `--only` selects components or groups, and what they need.
#[test]
fn a_group_may_run_alone() {
    let names = |only: &[&str]| -> Vec<_> {
        let chosen = table().only(only).expect("known");
        chosen.iter().map(Entry::name).collect()
    };
    assert_eq!(names(&["access"]), ["uaa"]);
    assert_eq!(names(&["log-cache"]), ["uaa", "log-cache"]);
    // What carries envelopes knows nothing of routes.
    assert_eq!(names(&["forwarder-agent"]), names(&["logs"]));
    let is_routing = |name: &&str| table().find(name).expect("known").description().group == "routing";
    assert!(names(&["logs"]).iter().all(|name| !is_routing(name)));
    assert!(names(&["logs"]).contains(&"uaa"));
    assert!(names(&["routing"]).iter().any(is_routing));
}
