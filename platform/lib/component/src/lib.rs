//! What the program knows of a component: one trait, implemented beside each server, and the table of them.
//!
//! ```text
//! impl Component for Server ─▶ Entry::of::<Server>() ─▶ Table ─┬▶ command line, `--help`
//!   DESCRIPTION   names, ports, needs                          ├▶ ports, `endpoints.json`, `weir doctor`
//!   configuration what `weir up` writes for it                 ├▶ configuration files, certificates
//!   bind, run     the server itself                            └▶ start order; stop order, which is the reverse
//! ```
//!
//! - A [`Component`] describes itself by constants, makes its configuration from the [`Layout`] of a stack, and can be
//!   bound and run.
//! - An [`Entry`] is a component whose types are erased, so that components of all kinds stand in one [`Table`].
//! - A [`Table`] knows the order: a component starts after all that it [needs](Description::needs) and stops before them.
//!   Components that do not need each other start and stop at the same time ([`Table::walk`]).
//!
//! Nothing here knows a particular component or what components carry. What a component is given when it is bound is
//! its own [`Component::Context`], made from the one that the host of the table gives to all of them.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod component;
mod description;
mod entry;
mod error;
#[cfg(test)]
mod examples;
mod layout;
mod table;
mod walk;

pub use component::Component;
pub use description::{Description, Port};
pub use entry::{Entry, Loaded, Run};
pub use error::Error;
pub use layout::{Layout, Peer, UnknownPort};
pub use table::{Table, TableError, UnknownComponent};
pub use walk::{Direction, Walk};
