//! A stack in a temporary directory, started and stopped as a user would, and commands for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weir_eventually::eventually_blocking;

/// The program under test.
pub(crate) const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// A command that runs until it is dropped.
pub(crate) struct Background(pub(crate) Child);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A running `weir up`.
pub(crate) struct Stack {
    directory: PathBuf,
    up: Child,
}

impl Stack {
    /// Starts `weir up --ports auto` with `arguments` in `directory` and waits until it serves.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_with(directory, arguments, &[])
    }

    /// Starts `weir up --ports auto` with environment variables that set configuration keys.
    pub(crate) fn start_with(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let stdout = fs::File::create(directory.join("up.out")).expect("file");
        let stderr = fs::File::create(directory.join("up.err")).expect("file");
        let up = command(directory)
            .args(["up", "--ports", "auto"])
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("starts");
        let mut stack = Self {
            directory: directory.to_owned(),
            up,
        };
        eventually_blocking("the stack serves", || {
            let ended = stack.up.try_wait().expect("waited");
            assert!(ended.is_none(), "`weir up` ended with {ended:?}:\n{}", stack.said());
            directory.join("endpoints.json").exists().then_some(())
        });
        stack
    }

    /// Returns the output of `weir up` so far.
    pub(crate) fn said(&self) -> String {
        ["up.out", "up.err"]
            .map(|name| fs::read_to_string(self.directory.join(name)).unwrap_or_default())
            .join("\n")
    }

    /// Returns the process id of `weir up`.
    pub(crate) fn pid(&self) -> u32 {
        self.up.id()
    }

    /// Returns a `weir` command for this stack.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.directory);
        command.args(arguments);
        command
    }

    /// Runs a `weir` command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("runs")
    }

    /// Runs a command that must succeed. Returns its standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "`weir {}`: {}",
            arguments.join(" "),
            text(&output)
        );
        output.stdout
    }

    /// Runs a command that must succeed. Returns its standard output as text.
    pub(crate) fn say(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.ok(arguments)).expect("text")
    }

    /// Runs a command that must succeed with `input` on its standard input. Returns its standard output.
    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> String {
        let path = self.directory.join("input");
        fs::write(&path, input).expect("written");
        let stdin = fs::File::open(path).expect("opened");
        let output = self.command(arguments).stdin(stdin).output().expect("runs");
        assert!(
            output.status.success(),
            "`weir {}`: {}",
            arguments.join(" "),
            text(&output)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Returns the rows of a query as JSON objects.
    pub(crate) fn rows(&self, query: &str) -> Vec<Value> {
        let text = self.say(&["sql", "--format", "ndjson", query]);
        text.lines()
            .map(|line| serde_json::from_str(line).expect("an object per line"))
            .collect()
    }

    /// Returns the present `endpoints.json`.
    pub(crate) fn endpoints(&self) -> Value {
        let text = fs::read(self.directory.join("endpoints.json")).expect("the stack serves");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Stops `weir up` by SIGTERM. Returns its exit status and output.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        kill(self.up.id(), Signal::TERM);
        let status = eventually_blocking("the stack stops", || self.up.try_wait().expect("waited"));
        (status, self.said())
    }

    /// Kills `weir up` by SIGKILL, as the kernel would when memory is short.
    pub(crate) fn kill(mut self) {
        kill(self.up.id(), Signal::KILL);
        self.up.wait().expect("waited");
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(None)) {
            kill(self.up.id(), Signal::TERM);
            self.up.wait().ok();
        }
    }
}

/// Returns a `weir` command for the stack in `directory`.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(WEIR);
    command
        .current_dir(directory)
        .env("WEIR_STATE_DIR", directory)
        .env("NO_COLOR", "1");
    command
}

/// Creates a temporary state directory.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary directory")
}

/// Sends a signal.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero");
    kill_process(pid, signal).ok();
}

/// Returns whether a process runs.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended: it only waits for its parent to read its status.
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Returns the exit status and all output of a command.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
