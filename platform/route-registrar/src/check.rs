//! Asks the program of a route whether it is healthy: by a script, or by an HTTP request.

mod http;
mod script;

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

/// How a program is asked, and how long that may take.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    pub(crate) probe: Probe,
    pub(crate) timeout: Duration,
}

/// How a program is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Probe {
    /// A command for a shell. Exit status 0 means healthy.
    Script(String),
    /// A GET request without TLS. A status from 200 to 299 means healthy.
    Http { host: String, port: u16, path: String },
}

impl Check {
    /// Asks once. Cancel safe: a script is killed with everything that it started.
    ///
    /// # Errors
    /// Why the program is not healthy, in one line.
    pub(crate) async fn run(&self) -> Result<(), String> {
        let asking = async {
            match &self.probe {
                Probe::Script(command) => script::run(command).await,
                Probe::Http { host, port, path } => http::get(host, *port, path).await,
            }
        };
        timeout(self.timeout, asking).await.unwrap_or_else(|_| {
            Err(format!(
                "no answer within {}",
                weir_config::Duration::from(self.timeout)
            ))
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::Script(command) => formatter.write_str(command),
            Probe::Http { host, port, path } => write!(formatter, "http://{host}:{port}{path}"),
        }
    }
}
