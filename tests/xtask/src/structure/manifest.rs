//! The manifests of a workspace, as far as its structure is concerned.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

/// One crate's manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where the crate is, relative to the workspace root, with `/` between the parts; empty for the root package.
    pub path: String,
    /// Name of the package.
    pub name: String,
    /// Whether it takes the workspace's lints.
    pub workspace_lints: bool,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
}

/// One dependency.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// Name of the package.
    pub name: String,
    /// Where it is named.
    pub section: Section,
    /// Whether version and source come from the root manifest.
    pub from_workspace: bool,
}

/// Where a dependency is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `[dependencies]` or `[build-dependencies]`, of any target.
    Normal,
    /// `[dev-dependencies]`, of any target.
    Dev,
}

impl Manifest {
    /// Reads a manifest that lies at `path` of its workspace.
    ///
    /// # Errors
    /// When it is not TOML or has no package.
    pub fn parse(path: &str, text: &str) -> anyhow::Result<Self> {
        let table: Table = text.parse()?;
        let Some(name) = string(&table, &["package", "name"]) else {
            bail!("there is no package name")
        };
        let mut dependencies = Vec::new();
        collect(&table, &mut dependencies);
        for target in table
            .get("target")
            .and_then(Value::as_table)
            .into_iter()
            .flat_map(Table::values)
        {
            if let Some(target) = target.as_table() {
                collect(target, &mut dependencies);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            workspace_lints: get(&table, &["lints", "workspace"])
                .and_then(Value::as_bool)
                .unwrap_or(false),
            dependencies,
        })
    }
}

fn collect(table: &Table, dependencies: &mut Vec<Dependency>) {
    for (key, section) in [
        ("dependencies", Section::Normal),
        ("build-dependencies", Section::Normal),
        ("dev-dependencies", Section::Dev),
    ] {
        for (name, value) in table.get(key).and_then(Value::as_table).into_iter().flatten() {
            let renamed = value.get("package").and_then(Value::as_str);
            dependencies.push(Dependency {
                name: renamed.unwrap_or(name).to_owned(),
                section,
                from_workspace: value.get("workspace").and_then(Value::as_bool).unwrap_or(false),
            });
        }
    }
}

/// Reads the manifests of all members of the workspace at `root`, sorted by path.
pub(super) fn read_workspace(root: &Path) -> anyhow::Result<Vec<Manifest>> {
    let read = |path: &str| -> anyhow::Result<String> {
        let file = root.join(path).join("Cargo.toml");
        fs::read_to_string(&file).with_context(|| format!("manifest `{}`", file.display()))
    };
    let table: Table = read("")?.parse().context("root manifest")?;
    let members = get(&table, &["workspace", "members"]).and_then(Value::as_array);
    let Some(members) = members else {
        bail!("the root manifest has no `workspace.members`")
    };
    let mut paths = Vec::new();
    for member in members {
        let Some(member) = member.as_str() else {
            bail!("a workspace member is no text: `{member}`")
        };
        match member.strip_suffix("/*") {
            Some(parent) => paths.extend(crates_in(root, parent)?),
            None if member == "." => paths.push(String::new()),
            None => paths.push(member.to_owned()),
        }
    }
    paths.sort();
    paths
        .iter()
        .map(|path| Manifest::parse(path, &read(path)?).with_context(|| format!("manifest of `{path}`")))
        .collect()
}

/// The crates that lie directly in `parent`.
fn crates_in(root: &Path, parent: &str) -> anyhow::Result<Vec<String>> {
    let directory = root.join(parent);
    let context = || format!("workspace members `{}`", directory.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        if entry.path().join("Cargo.toml").is_file() {
            paths.push(format!("{parent}/{}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(paths)
}

fn get<'t>(table: &'t Table, keys: &[&str]) -> Option<&'t Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(*key))
}

fn string<'t>(table: &'t Table, keys: &[&str]) -> Option<&'t str> {
    get(table, keys).and_then(Value::as_str)
}
