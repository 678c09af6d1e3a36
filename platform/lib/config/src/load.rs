//! Loads a typed configuration from the file, the environment and flags, or reports all of its problems.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use weir_error::nearest;

use crate::de::{DeError, Fault, NodeDeserializer};
use crate::node::{self, Node, Origin, Step, Value};
use crate::setting::derived;
use crate::{Problem, Problems};

/// Loads the raw configuration of `component`. [`Loader`] validates as well.
///
/// # Errors
/// All problems of the configuration.
pub fn load<R: DeserializeOwned>(
    component: &str,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<R, Problems> {
    let mut loader = Loader::new(component).env(env).overrides(overrides);
    if let Some(file) = file {
        loader = loader.file(file);
    }
    loader.raw()
}

/// The environment of this process. A variable that is not UTF-8 is left out, because no setting can have such a value.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Loads a configuration from its sources.
#[derive(Debug, Clone)]
pub struct Loader {
    component: String,
    file: Option<PathBuf>,
    env: BTreeMap<String, String>,
    overrides: Vec<(String, String)>,
}

impl Loader {
    /// A loader for `component`, which is the name of a subcommand. Without further sources it loads the defaults.
    #[must_use]
    pub fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            file: None,
            env: BTreeMap::new(),
            overrides: Vec::new(),
        }
    }

    /// Adds a TOML file as source.
    #[must_use]
    pub fn file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_owned());
        self
    }

    /// Adds environment variables ([`environment`]), which are stronger than the file.
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(variables);
        self
    }

    /// Adds flags as pairs of a key such as `ingress.listen` and its value. They are stronger than all other sources.
    /// Of two flags with one key, the last one counts.
    #[must_use]
    pub fn overrides(mut self, overrides: &[(String, String)]) -> Self {
        self.overrides.extend_from_slice(overrides);
        self
    }

    /// Reads the raw configuration.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn raw<R: DeserializeOwned>(self) -> Result<R, Problems> {
        match self.read() {
            (Some(raw), problems) => problems.into_result(raw),
            (None, problems) => Err(problems),
        }
    }

    /// Reads and validates the configuration. The raw form is returned as well, for [`crate::render()`].
    ///
    /// # Errors
    /// All problems: values that cannot be read, and values that are not allowed.
    pub fn load<R, C>(self) -> Result<(R, C), Problems>
    where
        R: DeserializeOwned + Clone,
        C: TryFrom<R, Error = Problems>,
    {
        let (raw, mut problems) = self.read::<R>();
        let Some(raw) = raw else { return Err(problems) };
        match C::try_from(raw.clone()) {
            Ok(config) => problems.into_result((raw, config)),
            Err(invalid) => {
                problems.merge(invalid);
                Err(problems)
            }
        }
    }

    /// Reads every value that can be read. A value that cannot be read has its default, and is reported as a problem.
    fn read<R: DeserializeOwned>(self) -> (Option<R>, Problems) {
        let mut problems = Problems::default();
        let mut tree = self
            .file
            .as_deref()
            .and_then(|path| read_file(path, &mut problems))
            .unwrap_or_else(Node::root);
        self.merge(&mut tree);
        // serde stops at the first error. Each round reports one, drops its value from the tree and reads again.
        loop {
            let error = match R::deserialize(NodeDeserializer::root(&tree)) {
                Ok(raw) => return (Some(raw), problems),
                Err(error) => error,
            };
            let path = error.path.clone().unwrap_or_default();
            let node = tree.nearest(&path);
            if !follows(&error, node) {
                problems.push(problem(&error, &path, node));
            }
            // Without its root the tree has nothing to read, and the error of a dropped node would come again in every
            // round.
            if path.is_empty() || matches!(node.value, Value::Dropped) {
                return (None, problems);
            }
            node.value = Value::Dropped;
        }
    }

    fn merge(&self, tree: &mut Node) {
        let prefix = format!("{}__", self.component.to_uppercase().replace('-', "_"));
        let from_env = |name: &str, value: &str| Node {
            origin: Origin::Environment(name.into()),
            value: Value::Text(value.to_owned()),
        };
        // The environment comes first, so that a flag replaces its value.
        for (name, value) in &self.env {
            if let Some(key) = name.strip_prefix(&prefix) {
                let key = key.to_lowercase();
                tree.insert(&key.split("__").collect::<Vec<_>>(), from_env(name, value));
            }
        }
        for (key, value) in &self.overrides {
            let node = Node {
                origin: Origin::Flag,
                value: Value::Text(value.clone()),
            };
            tree.insert(&key.split('.').collect::<Vec<_>>(), node);
        }
    }
}

fn read_file(path: &Path, problems: &mut Problems) -> Option<Node> {
    let name = path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let mut unusable = |origin: String, reason: String, hint: Option<String>| {
        problems.push(Problem {
            key: String::new(),
            value: None,
            origin: Some(origin),
            reason,
            hint,
        });
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            unusable(
                format!("file `{}`", path.display()),
                format!("cannot be read: {error}"),
                None,
            );
            return None;
        }
    };
    match node::parse(&name, &text) {
        Ok(tree) => Some(tree),
        Err(error) => {
            let line = node::line(&text, error.span().map_or(0, |span| span.start));
            unusable(
                format!("{name}:{line}"),
                // A problem is shown on one line.
                format!("is not TOML: {}", error.message().replace('\n', ", ")),
                None,
            );
            None
        }
    }
}

/// Whether a key is missing only because its value was dropped after its problem was reported.
fn follows(error: &DeError, node: &Node) -> bool {
    match (&error.fault, &node.value) {
        (Fault::Missing(name), Value::Table(table)) => table.contains_key(*name),
        _ => false,
    }
}

/// Describes an error of serde for operators.
fn problem(error: &DeError, path: &[Step], node: &Node) -> Problem {
    let mut key = node::key(path);
    let mut value = node.text().filter(|_| !error.secret);
    let mut hint = None;
    let mut reason = error.to_string();
    match &error.fault {
        Fault::UnknownKey(known) => {
            // A misspelt key may be that of a secret.
            value = None;
            let (last, parents) = path.split_last().map_or(("", path), |(last, parents)| match last {
                Step::Key(name) => (name.as_str(), parents),
                Step::Index(_) => ("", parents),
            });
            hint = Some(match nearest(last, known.iter().copied()) {
                Some(meant) => format!("did you mean `{}`?", below(parents, meant)),
                None if known.is_empty() => "there are no keys here".to_owned(),
                None => format!("known here: `{}`", known.join("`, `")),
            });
        }
        Fault::UnknownWord(known) => {
            let word = value.as_deref().unwrap_or_default();
            hint = nearest(word, known.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        }
        Fault::Missing(name) => {
            key = below(path, name);
            value = None;
            reason = "must be set".to_owned();
        }
        Fault::Unexpected(_) | Fault::Other(_) => {}
    }
    let origin = if key.is_empty() {
        None
    } else {
        Some(node.origin.to_string())
    };
    Problem {
        key,
        value,
        origin,
        reason,
        hint,
    }
}

fn below(parents: &[Step], name: &str) -> String {
    derived::below(&node::key(parents), name)
}
