//! `weir up --only`: a stack of some components.

use crate::stack::{Stack, command, directory, text};

/// Setup: UAA alone, once within `weir up` and once as a separate process. Must hold: it serves, and `endpoints.json` has it
/// alone; `doctor` reports no missing component; a command that needs another component says that it does not run; the stop
/// succeeds, and the next start has all components, each with its ports.
#[test]
fn one_component_runs_alone() {
    let directory = directory();
    for how in [&["--only", "uaa"][..], &["--only", "access", "--processes"]] {
        let stack = Stack::start(directory.path(), how);
        let endpoints = stack.endpoints();
        assert!(
            endpoints["uaa"].is_string() && endpoints["doppler"].is_null(),
            "{endpoints}"
        );
        assert_eq!(endpoints["pids"].as_object().map(serde_json::Map::len), Some(1));
        assert!(stack.say(&["user", "list"]).contains("admin"));
        let doctor = stack.say(&["doctor"]);
        assert!(
            doctor.contains("uaa answers at") && !doctor.contains("doppler"),
            "{doctor}"
        );
        let recent = stack.run(&["recent", "x"]);
        assert_eq!(recent.status.code(), Some(5), "{}", text(&recent));
        assert!(text(&recent).contains("endpoint `log_cache`"), "{}", text(&recent));
        assert!(stack.said().contains("weir is up with uaa only"), "{}", stack.said());
        let (status, said) = stack.stop();
        assert!(status.success() && said.contains("uaa stopped after"), "{said}");
    }
    let whole = Stack::start(directory.path(), &[]);
    assert!(whole.say(&["doctor"]).contains("doppler answers at"));
}

/// The failure for an unknown name lists the components and groups.
#[test]
fn an_unknown_component_is_refused_with_the_known_ones() {
    let output = command(directory().path())
        .args(["up", "--only", "uaa,dopler"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("component `dopler`: there is none")
            && said.contains("access, logs, routing, uaa, forwarder-agent"),
        "{said}"
    );
}
