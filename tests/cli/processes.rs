//! `weir up --processes`: a process that dies is restarted, and no process outlives the stack.

use std::fs;

use rustix::process::Signal;

use weir_eventually::eventually_blocking;

use crate::stack::{Stack, directory, kill, lives};

fn pids(stack: &Stack) -> Vec<(String, u32)> {
    let pids = stack.endpoints()["pids"].as_object().expect("an object").clone();
    pids.into_iter()
        .map(|(name, pid)| (name, u32::try_from(pid.as_u64().expect("a pid")).expect("a pid")))
        .collect()
}

fn pid(stack: &Stack, component: &str) -> u32 {
    pids(stack)
        .into_iter()
        .find(|(name, _)| name == component)
        .expect("a component")
        .1
}

/// Each component is a separate process. A killed one is restarted, its new pid is in `endpoints.json`, and lines pass through
/// it again. A stop ends all processes.
#[test]
fn a_killed_process_is_restarted() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &["--processes"]);
    let before = pids(&stack);
    assert_eq!(before.len(), 17);
    assert!(before.iter().all(|(_, pid)| *pid != stack.pid() && lives(*pid)));

    let doppler = pid(&stack, "doppler");
    kill(doppler, Signal::KILL);
    let again = eventually_blocking("the doppler is back", || {
        Some(pid(&stack, "doppler")).filter(|pid| *pid != doppler)
    });
    assert!(lives(again));
    eventually_blocking("lines flow again", || {
        stack.run(&["emit", "--source-id", "after", "--quiet", "-"]);
        let fed = stack
            .command(&["emit", "--source-id", "after"])
            .stdin(input(directory.path()))
            .output()
            .expect("runs");
        let count = stack.rows("select count(*) as n from logs where source_id = 'after'")[0]["n"].as_u64();
        (fed.status.success() && count > Some(0)).then_some(())
    });

    let running = pids(&stack);
    let (status, said) = stack.stop();
    assert!(status.success(), "{said}");
    assert!(running.iter().all(|(_, pid)| !lives(*pid)), "a process is left over");
}

/// The processes of a killed stack end by themselves.
#[test]
fn no_process_outlives_its_stack() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &["--processes"]);
    let running = pids(&stack);
    stack.kill();
    eventually_blocking("all processes are gone", || {
        running.iter().all(|(_, pid)| !lives(*pid)).then_some(())
    });
}

/// Setup: the log of one process has exactly the greatest size, that of another is larger. Must hold: both are renamed, and new
/// ones are begun.
#[test]
fn log_files_stay_within_their_bound() {
    const BOUND: u64 = 16 << 20;
    let directory = directory();
    let logs = directory.path().join("logs");
    fs::create_dir_all(&logs).expect("made");
    for (name, length) in [("doppler.log", BOUND), ("rlp.log", BOUND + 1)] {
        let file = fs::File::create(logs.join(name)).expect("file");
        file.set_len(length).expect("long");
    }
    let _stack = Stack::start(directory.path(), &["--processes"]);
    for (name, length) in [("doppler.log", BOUND), ("rlp.log", BOUND + 1)] {
        let text = eventually_blocking("a new log is begun", || {
            let now = fs::metadata(logs.join(name)).ok()?.len();
            (0 < now && now < 1 << 20).then(|| fs::read_to_string(logs.join(name)).expect("text"))
        });
        assert!(text.contains("component serves"), "{name}: {text}");
        let before = fs::metadata(logs.join(format!("{name}.1"))).expect("what was before");
        assert_eq!(before.len(), length, "{name}");
    }
}

fn input(directory: &std::path::Path) -> std::fs::File {
    let path = directory.join("line");
    std::fs::write(&path, b"a line\n").expect("written");
    std::fs::File::open(path).expect("opened")
}
