//! `weir up --only`: a part of the stack.

use crate::stack::{Stack, command, directory, text};

/// Setup: UAA alone, once in one process and once as a process of its own. Must hold: it serves and is all that is made
/// known; the doctor misses nothing; a command that asks a component that does not run says so; the stop is clean, and the
/// next start has the other components at ports of their own.
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

/// A name that is neither a component nor a group is answered with those that are.
#[test]
fn an_unknown_component_is_answered_with_the_known_ones() {
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
