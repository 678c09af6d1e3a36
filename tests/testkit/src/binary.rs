//! Finds the `weir` program that tests start, and builds it where cargo did not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context as _, bail};

/// The reason why a test cannot run on this machine.
#[derive(Debug, Clone)]
pub struct Skip(pub String);

impl Skip {
    /// Prints the reason. With `WEIR_REQUIRED=1`, where no test may be skipped, it panics instead.
    ///
    /// # Panics
    /// Panics if `WEIR_REQUIRED=1` is set.
    #[expect(clippy::print_stderr, reason = "a skipped test says so where its other output goes")]
    pub fn report(&self) {
        let required = std::env::var_os("WEIR_REQUIRED").is_some_and(|value| value == "1");
        assert!(!required, "WEIR_REQUIRED=1 allows no skips: {}", self.0);
        eprintln!("skipped: {}", self.0);
    }
}

/// Returns the path of the program: `WEIR_BIN` if it is set, or else the program beside this test in the target
/// directory. That one is built if it is missing or older than its sources.
///
/// # Errors
/// Fails when the program cannot be built.
pub fn weir_binary() -> anyhow::Result<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    match found {
        Ok(path) => Ok(path),
        Err(error) => bail!("{error}"),
    }
}

fn find() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_BIN") {
        return Ok(path.into());
    }
    // This is target/<profile>/deps/<test> or target/<profile>/<program>.
    let this = std::env::current_exe().context("the path of this program")?;
    let folder = this.parent().context("a program lies in a folder")?;
    let profile = if folder.ends_with("deps") {
        folder.parent().context("`deps` lies in a folder")?
    } else {
        folder
    };
    let binary = profile.join("weir");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("the workspace")?;
    if is_fresh(&binary, workspace) {
        return Ok(binary);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let target = profile.parent().context("the target directory")?;
    let mut build = Command::new(cargo);
    build
        .current_dir(workspace)
        // These arguments select the same features as `cargo test --workspace`, so that dependencies are not built
        // again. A test of xtask is among the targets because cargo then builds the parts of procedural macros with
        // debug information, as it does for the workspace. The tests of the program (`cli`) build the program.
        .args([
            "test",
            "--no-run",
            "--quiet",
            "--workspace",
            "--test",
            "cli",
            "--test",
            "generated",
            "--target-dir",
        ])
        .arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().context("cargo")?;
    if !status.success() {
        bail!("`weir` cannot be built: {status}");
    }
    Ok(binary)
}

/// Returns whether the binary is younger than all of its sources.
fn is_fresh(binary: &Path, workspace: &Path) -> bool {
    let Ok(built) = binary.metadata().and_then(|meta| meta.modified()) else {
        return false;
    };
    let folders = [
        "src",
        "platform",
        "agents",
        "doppler",
        "rlp",
        "traffic-controller",
        "log-cache",
    ];
    let manifest = workspace.join("Cargo.toml");
    !younger(&manifest, built)
        && folders
            .iter()
            .all(|folder| !any_younger(&workspace.join(folder), built))
}

fn any_younger(folder: &Path, than: SystemTime) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match entry.file_type() {
            // The tests of a crate are not part of the program.
            Ok(kind) if kind.is_dir() => entry.file_name() != "tests" && any_younger(&path, than),
            _ => path.extension().is_some_and(|kind| kind == "rs" || kind == "toml") && younger(&path, than),
        }
    })
}

fn younger(path: &Path, than: SystemTime) -> bool {
    path.metadata()
        .and_then(|meta| meta.modified())
        .is_ok_and(|modified| modified > than)
}
