//! Refuses dependencies that point up, and what else would let the layers of the workspace grow together.
//!
//! The rules (docs: `ARCHITECTURE.md`):
//!
//! - The base layer (`platform/lib`) depends on the base layer only, and there only on what is below: `LAYERS`.
//! - A service depends on the base layer. The few arrows between crates of one service are listed: `WITHIN_SERVICES`.
//! - The root package composes the services; nothing depends on it but tests.
//! - Test crates may use everything. Outside of them `weir-testkit` is named in `[dev-dependencies]` only.
//! - DataFusion is named by `log-cache/query` only, so that a change elsewhere never builds it again.
//! - Versions stand in the root manifest only, every crate takes the workspace's lints, and a package is called `weir-` and
//!   the words of its path.
//!
//! Files of more than `LONG_FILE` lines are pointed out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

mod manifest;

pub use manifest::{Manifest, Section};

/// The base layer from the bottom up; crates of one row do not know each other.
const LAYERS: &[&[&str]] = &[
    &["error", "files", "jose"],
    &["proto"],
    &["envelope"],
    &["tls", "config", "service"],
    &["flow", "net"],
    &["telemetry", "syslog", "db", "auth", "uaa-client"],
    &["rpc"],
    &["drain", "component"],
];

/// Which crates of a service may use which others, by their paths.
const WITHIN_SERVICES: &[(&str, &str)] = &[
    ("agents/binding-cache", "agents/lib"),
    ("agents/forwarder", "agents/lib"),
    ("agents/loggregator", "agents/lib"),
    ("agents/syslog", "agents/lib"),
    ("doppler/server", "doppler/router"),
    ("log-cache/query", "log-cache/store"),
    ("log-cache/server", "log-cache/store"),
    ("log-cache/server", "log-cache/query"),
];

/// The one crate that may name DataFusion.
const DATAFUSION: &str = "log-cache/query";

/// The crate that tests are made with.
const TESTKIT: &str = "weir-testkit";

/// Lines from which a file is long.
const LONG_FILE: usize = 600;

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// What must be mended.
    pub violations: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// Checks the workspace at `root`.
///
/// # Errors
/// When a manifest or a source file cannot be read.
pub fn check(root: &Path) -> anyhow::Result<Report> {
    let manifests = manifest::read_workspace(root)?;
    let mut report = Report {
        violations: violations(&manifests),
        warnings: Vec::new(),
    };
    for manifest in &manifests {
        for directory in ["src", "tests", "benches", "examples"] {
            long_files(root, &root.join(&manifest.path).join(directory), &mut report.warnings)?;
        }
    }
    Ok(report)
}

/// What is wrong with the dependencies of these crates, which are all of a workspace.
#[must_use]
pub fn violations(manifests: &[Manifest]) -> Vec<String> {
    let mut violations = Vec::new();
    for manifest in manifests {
        check_form(manifest, &mut violations);
        for dependency in &manifest.dependencies {
            if dependency.name.starts_with("datafusion") && manifest.path != DATAFUSION {
                violations.push(format!(
                    "`{}` names `{}`: only `{DATAFUSION}` may",
                    manifest.path, dependency.name
                ));
            }
            let shipped = Place::of(&manifest.path) != Place::Tests;
            if dependency.name == TESTKIT && dependency.section != Section::Dev && shipped {
                violations.push(format!(
                    "`{}` names `{TESTKIT}`: only [dev-dependencies] may",
                    manifest.path
                ));
            }
            let Some(target) = manifests.iter().find(|other| other.name == dependency.name) else {
                continue;
            };
            let is_dev = dependency.section == Section::Dev;
            // A crate may name itself there, to turn a feature on for its own tests.
            let for_tests = is_dev && (target.name == TESTKIT || target.path == manifest.path);
            if !for_tests && !may_use(&manifest.path, &target.path) {
                violations.push(format!(
                    "`{}` depends on `{}`: that points up",
                    manifest.path, target.path
                ));
            }
        }
    }
    violations
}

fn check_form(manifest: &Manifest, violations: &mut Vec<String>) {
    let expected = expected_name(&manifest.path);
    if manifest.name != expected {
        violations.push(format!(
            "`{}` is called `{}`: it should be `{expected}`",
            manifest.path, manifest.name
        ));
    }
    if !manifest.workspace_lints {
        violations.push(format!("`{}` does not take the workspace's lints", manifest.path));
    }
    for dependency in manifest
        .dependencies
        .iter()
        .filter(|dependency| !dependency.from_workspace)
    {
        violations.push(format!(
            "`{}` has its own idea of `{}`: versions and paths stand in the root manifest",
            manifest.path, dependency.name
        ));
    }
}

/// `platform/lib/tls` is `weir-tls`, `doppler/router` is `weir-doppler-router`.
fn expected_name(path: &str) -> String {
    if path.is_empty() {
        return "weir".to_owned();
    }
    let words = path
        .strip_prefix("platform/lib/")
        .or_else(|| path.strip_prefix("tests/"))
        .unwrap_or(path);
    format!("weir-{}", words.replace('/', "-"))
}

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'p> {
    /// The base layer, in this row; `None` if nobody has placed it yet.
    Base(Option<usize>),
    Service(&'p str),
    Root,
    Tests,
}

impl<'p> Place<'p> {
    fn of(path: &'p str) -> Self {
        if path.is_empty() {
            Self::Root
        } else if let Some(name) = path.strip_prefix("platform/lib/") {
            Self::Base(LAYERS.iter().position(|row| row.contains(&name)))
        } else if path.starts_with("tests/") {
            Self::Tests
        } else {
            Self::Service(path)
        }
    }
}

fn may_use(from: &str, to: &str) -> bool {
    match (Place::of(from), Place::of(to)) {
        (Place::Tests, _) => true,
        (_, Place::Tests | Place::Root) => false,
        (Place::Root, _) | (Place::Service(_), Place::Base(_)) => true,
        (Place::Service(from), Place::Service(to)) => WITHIN_SERVICES.contains(&(from, to)),
        (Place::Base(_), Place::Service(_)) => false,
        // One that has no row is above all that have one.
        (Place::Base(from), Place::Base(to)) => to.is_some_and(|to| from.is_none_or(|from| to < from)),
    }
}

fn long_files(root: &Path, directory: &Path, warnings: &mut Vec<String>) -> anyhow::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    let context = || format!("`{}`", directory.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        paths.push(entry.with_context(context)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            // Nobody reads or writes generated code.
            if path.file_name().is_some_and(|name| name != "generated") {
                long_files(root, &path, warnings)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("`{}`", path.display()))?;
            let lines = text.lines().count();
            if lines > LONG_FILE {
                let path = path.strip_prefix(root).unwrap_or(&path);
                warnings.push(format!("`{}` has {lines} lines: look for a seam", path.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
