//! A whole stack on one machine: what `weir up` starts, supervises and stops.
//!
//! ```text
//! Plan      ports, certificates, token, one configuration file per component
//!   ├─ embedded   every component a part of this process
//!   └─ processes  every component `weir <component> --config DIR/config/<component>.toml`, restarted when it dies
//! Status    one line per second from the ledgers
//! ```

mod component;
mod ports;
mod status;

pub(crate) use component::Component;
pub(crate) use ports::Ports;
pub(crate) use status::{Counts, StatusLine};
