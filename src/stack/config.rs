//! The configuration of a component, from its file, the environment and flags.

use std::path::Path;

use weir_component::Component;
use weir_config::{Loader, environment};
use weir_flow::LogContext;

use crate::components::Entry;
use crate::failure::Failure;

/// A component with its validated configuration, and the TOML text of that configuration.
pub(crate) type Loaded = weir_component::Loaded<LogContext>;

/// Reads the configuration of `component`. The failure lists all problems, not only the first.
pub(crate) fn load(component: &Entry, file: Option<&Path>, overrides: &[(String, String)]) -> Result<Loaded, Failure> {
    Ok(component.load(loader(component.name(), file).overrides(overrides))?)
}

/// Reads the configuration of the component `C` as its own type.
pub(super) fn load_as<C: Component>(file: &Path) -> Result<C::Config, Failure> {
    let loader = loader(C::DESCRIPTION.name, Some(file));
    let (_, config) = loader.load::<C::RawConfig, C::Config>()?;
    Ok(config)
}

fn loader(component: &str, file: Option<&Path>) -> Loader {
    let loader = Loader::new(component).env(environment());
    match file {
        Some(file) => loader.file(file),
        None => loader,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of each component has the same values as no configuration at all: the defaults.
    #[test]
    fn examples_are_the_defaults() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("example.toml");
        for component in crate::components::table().iter() {
            let text = component.example().expect("an example");
            std::fs::write(&path, &text).expect("written");
            // Some defaults are refused, as the log cache needs a token. The example is then refused in the same words.
            let in_force = |file| match load(component, file, &[]) {
                Ok(loaded) => loaded.effective,
                Err(failure) => failure.to_string(),
            };
            assert_eq!(
                in_force(Some(path.as_path())),
                in_force(None),
                "{}:\n{text}",
                component.name()
            );
        }
    }
}
