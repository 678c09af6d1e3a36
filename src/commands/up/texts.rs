//! The texts of `weir up` after the start and after the stop.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_component::Component as _;

use crate::components::Entry;
use crate::stack::{Counts, Plan};
use crate::state::{Endpoints, shell_quoted};
use crate::terminal::thousands;

/// Returns the text after the start. Its commands can be pasted into another terminal in the same directory.
pub(super) fn welcome(plan: &Plan, processes: bool, took: Duration) -> String {
    let weir = format!("{}{}", program(), plan.state.as_flag());
    let how = if processes {
        "each component a process of its own"
    } else {
        "one process"
    };
    if !plan.components.has(weir_agents_forwarder::Server::DESCRIPTION.name) {
        let components: Vec<&str> = plan.components.iter().map(Entry::name).collect();
        return format!(
            "weir is up with {} only: {how}, ready after {}.{:03} s. Ctrl-C stops it in order.\n\
             Endpoints are in {}, the operator's token is printed by `{weir} token`.\n",
            components.join(", "),
            took.as_secs(),
            took.subsec_millis(),
            plan.state.endpoints().display(),
        );
    }
    let names = names(plan).map_or_else(String::new, |names| format!("\n{names}"));
    format!(
        "\
weir is up: {how}, ready after {}.{:03} s. Ctrl-C stops it in order.

In another terminal:
  {weir} run -- ls -l /                 ship what a program prints
  {weir} tail                           watch everything live
  {weir} recent ls                      what was before
  {weir} sql \"select source_id, count(*) from logs group by 1 order by 2 desc\"
  {weir} --help                         everything else
{names}
Endpoints are in {}, the operator's token is printed by `{weir} token`.
",
        took.as_secs(),
        took.subsec_millis(),
        plan.state.endpoints().display(),
    )
}

/// Returns the text about the names of the stack for programs of this machine; `None` if no names proxy runs.
fn names(plan: &Plan) -> Option<String> {
    let key = weir_platform_names_proxy::Server::DESCRIPTION.port().key;
    let proxy = plan.ports.of(&plan.components).find(|peer| peer.port.key == key)?;
    let (proxy, domain) = (proxy.endpoint(), &plan.domain);
    Some(format!(
        "Names below {domain} for curl, the cf CLI and nozzles (`weir route add NAME HOST:PORT` adds one):\n  \
         export https_proxy={proxy} http_proxy={proxy}\n"
    ))
}

/// Returns the text about the administrator, whose password is shown only at the first start.
pub(super) fn administrator(endpoints: &Endpoints) -> String {
    let user = &endpoints.admin_user;
    let password = endpoints.admin_password.as_deref().unwrap_or("(its file is gone)");
    format!(
        "The administrator is `{user}`, the password {password}\n\
         It is shown this once; `weir endpoints admin_password` prints it. Log in with `weir login --user {user}`.\n"
    )
}

/// Returns the text after the stop: the counts of this run.
pub(super) fn final_counts(counts: &Counts) -> String {
    let mut text = format!(
        "weir is down: {} envelopes in, {} out, {} dropped",
        thousands(counts.received),
        thousands(counts.delivered),
        thousands(counts.dropped_total())
    );
    for loss in counts.losses() {
        text.push('\n');
        text.push_str(&loss);
    }
    text
}

/// Returns the word with which a shell starts this program: its name if it is on `PATH`, or else its path.
fn program() -> String {
    let Ok(executable) = env::current_exe() else {
        return "weir".to_owned();
    };
    let on_path = env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).collect::<Vec<PathBuf>>());
    let same = |candidate: PathBuf| {
        candidate
            .canonicalize()
            .is_ok_and(|found| Some(found) == executable.canonicalize().ok())
    };
    if on_path.map(|directory| directory.join("weir")).any(same) {
        return "weir".to_owned();
    }
    let relative = env::current_dir()
        .ok()
        .and_then(|here| executable.strip_prefix(&here).map(Path::to_owned).ok());
    shell_quoted(&relative.unwrap_or(executable).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text has the counts of envelopes.
    #[test]
    fn the_final_counts_are_shown() {
        let counts = Counts {
            received: 1200,
            delivered: 3600,
            ..Counts::default()
        };
        assert_eq!(
            final_counts(&counts),
            "weir is down: 1,200 envelopes in, 3,600 out, 0 dropped"
        );
    }
}
