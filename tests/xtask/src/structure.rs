//! Refuses dependencies that point up, and what else would let the layers of the workspace grow together.
//!
//! The rules (docs: `ARCHITECTURE.md`; the lists: `layers` and `owners`):
//!
//! - `platform/lib` has two columns. The base depends on what is below it in the base, and knows no envelope; the log column
//!   depends on what is below it and on the base.
//! - A service depends on the base. Those of the log plane depend on the log column as well. No service depends on another;
//!   the crates of one service stand in rows of their own.
//! - The root package composes the services; nothing depends on it but tests.
//! - Test crates may use everything. Outside of them, `FOR_TESTS` are named in `[dev-dependencies]` only.
//! - A library that has an owner is named by that crate only; pure crates name nothing that does input and output.
//! - Versions stand in the root manifest only, every crate takes the workspace's lints, and a package is called `weir-` and
//!   the words of its path.
//!
//! Files of more than `LONG_FILE` lines are pointed out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

mod layers;
mod manifest;
mod owners;

use layers::{Place, may_use};
pub use manifest::{Manifest, Section};

/// The crates that tests of any crate may be made with.
const FOR_TESTS: &[&str] = &["weir-eventually", "weir-testkit"];

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
            let is_dev = dependency.section == Section::Dev;
            let mut refuse = |reason: &str| {
                violations.push(format!("`{}` names `{}`: {reason}", manifest.path, dependency.name));
            };
            if let Some(reason) = owners::refused(&manifest.path, &dependency.name) {
                refuse(&reason);
            }
            if let Some(reason) = owners::impure(&manifest.path, &dependency.name).filter(|_| !is_dev) {
                refuse(reason);
            }
            let shipped = Place::of(&manifest.path) != Place::Tests;
            let is_for_tests = FOR_TESTS.contains(&dependency.name.as_str());
            if is_for_tests && !is_dev && shipped {
                refuse("only [dev-dependencies] may");
            }
            let Some(target) = manifests.iter().find(|other| other.name == dependency.name) else {
                continue;
            };
            // A crate may name itself there, to turn a feature on for its own tests.
            let for_tests = is_dev && (is_for_tests || target.path == manifest.path);
            if let Err(reason) = may_use(&manifest.path, &target.path)
                && !for_tests
            {
                violations.push(format!("`{}` depends on `{}`: {reason}", manifest.path, target.path));
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
