//! A component whose types are erased: one line of the table.

use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use weir_config::{Loader, RenderError, example, render};
use weir_tls::IdentityFiles;

use crate::{Component, Description, Error, Layout};

/// The life of a bound component, to be polled until it ends.
pub type Run = BoxFuture<'static, Result<(), Error>>;

type Bind<H> = Box<dyn FnOnce(H) -> BoxFuture<'static, Result<Run, Error>> + Send>;

/// A component as the table has it. `H` is the context that the host of the table gives to each component.
pub struct Entry<H> {
    description: Description,
    configuration: fn(&Layout, IdentityFiles) -> Result<String, Error>,
    example: fn() -> Result<String, RenderError>,
    load: fn(Loader) -> Result<Loaded<H>, Error>,
}

/// A component with its validated configuration, ready to be bound.
pub struct Loaded<H> {
    /// TOML of the configuration that is in force, with secrets redacted.
    pub effective: String,
    bind: Bind<H>,
}

impl<H: Send + 'static> Entry<H> {
    /// The line of the table for the component `C`.
    #[must_use]
    pub const fn of<C>() -> Self
    where
        C: Component,
        C::Context: From<H>,
    {
        Self {
            description: C::DESCRIPTION,
            configuration: configuration::<C>,
            example: example::<C::RawConfig>,
            load: load::<C, H>,
        }
    }
}

impl<H> Entry<H> {
    /// The component's description.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// The name of its subcommand.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.description.name
    }

    /// The TOML of its configuration in a stack on one machine; `identity` is its certificate.
    ///
    /// # Errors
    /// When it calls a port that no component of the stack has.
    pub fn configuration(&self, layout: &Layout, identity: IdentityFiles) -> Result<String, Error> {
        (self.configuration)(layout, identity)
    }

    /// The TOML of its configuration with every key: its text, what is allowed and its default.
    ///
    /// # Errors
    /// When the configuration has no TOML form.
    pub fn example(&self) -> Result<String, Error> {
        Ok((self.example)()?)
    }

    /// Reads and validates its configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self, loader: Loader) -> Result<Loaded<H>, Error> {
        (self.load)(loader)
    }
}

#[cfg(test)]
impl<H> Entry<H> {
    /// A line of the table for a component that cannot be loaded.
    pub(crate) fn described(description: Description) -> Self {
        Self {
            description,
            configuration: |_, _| Ok(String::new()),
            example: || Ok(String::new()),
            load: |_| Err(Error::from(crate::UnknownPort { key: String::new() })),
        }
    }
}

impl<H> Loaded<H> {
    /// Opens the ports of the component. Connections wait until the answer is polled.
    ///
    /// # Errors
    /// When a file cannot be used or a port cannot be had.
    pub async fn bind(self, context: H) -> Result<Run, Error> {
        (self.bind)(context).await
    }
}

// Derived, these would ask the same of the context.
impl<H> Clone for Entry<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Entry<H> {}

impl<H> fmt::Debug for Entry<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Entry").field(&self.name()).finish()
    }
}

impl<H> fmt::Debug for Loaded<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loaded")
            .field("effective", &self.effective)
            .finish_non_exhaustive()
    }
}

fn configuration<C: Component>(layout: &Layout, identity: IdentityFiles) -> Result<String, Error> {
    Ok(render(&C::configuration(layout, identity)?)?)
}

fn load<C, H>(loader: Loader) -> Result<Loaded<H>, Error>
where
    C: Component,
    C::Context: From<H>,
    H: Send + 'static,
{
    let (raw, config) = loader.load::<C::RawConfig, C::Config>()?;
    let bind = move |context: H| {
        async move {
            let server = C::bind(config, context.into()).await.map_err(Error::server)?;
            let run: Run = async move { server.run().await.map_err(Error::server) }.boxed();
            Ok(run)
        }
        .boxed()
    };
    Ok(Loaded {
        effective: render(&raw)?,
        bind: Box::new(bind),
    })
}
