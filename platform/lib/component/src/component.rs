//! The trait that stands beside each server.

use serde::de::DeserializeOwned;
use weir_config::{Problems, Setting};
use weir_error::Classify;
use weir_tls::IdentityFiles;

use crate::{Description, Layout, UnknownPort};

/// One of the programs that make up a stack, as the `Server` of its crate.
pub trait Component: Sized + Send + 'static {
    /// The component's name, ports and needs.
    const DESCRIPTION: Description;

    /// The configuration as it is written.
    type RawConfig: Setting + Default + DeserializeOwned + Clone;
    /// The validated configuration.
    type Config: TryFrom<Self::RawConfig, Error = Problems> + Send + 'static;
    /// What the component is given when it is bound: the context of every component, or one that wraps it.
    type Context: Send + 'static;
    /// The reason why the component cannot start, or stopped.
    type Error: Classify + Send + Sync + 'static;

    /// The configuration of this component in a stack on one machine; `identity` is its certificate.
    ///
    /// # Errors
    /// When no component of the stack has a port that this one calls.
    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<Self::RawConfig, UnknownPort>;

    /// Reads the files that the configuration names and opens the ports. Connections wait until [`Component::run`].
    ///
    /// It must not wait for another component: all components of a process are bound at the same time.
    ///
    /// # Errors
    /// When a file cannot be used or a port cannot be had.
    fn bind(config: Self::Config, context: Self::Context) -> impl Future<Output = Result<Self, Self::Error>> + Send;

    /// Serves until the context's shutdown is requested, and until what the component holds has been handed on.
    ///
    /// # Errors
    /// When the component cannot go on.
    fn run(self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
