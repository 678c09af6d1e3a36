//! The signals that ask the process to stop: SIGINT and SIGTERM.

use std::fmt;
use std::io;

use tokio::signal::unix::{self, SignalKind};

/// A signal that asks the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, which a terminal sends for Ctrl-C.
    Interrupt,
    /// SIGTERM, which supervisors send.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// A subscription to both signals. From its creation on, neither signal ends the process by itself, and none is missed
/// between two calls of [`Signals::next`]. A second signal usually means that the operator does not want to wait.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Subscribes to both signals.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// Waits for the first SIGINT or SIGTERM.
///
/// # Errors
/// When the handler cannot be installed.
pub async fn wait_for_signals() -> io::Result<Signal> {
    Ok(Signals::new()?.next().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subscription waits for a signal, and signals are shown by the names that operators use.
    #[tokio::test]
    async fn a_subscription_waits_for_a_signal() {
        let mut signals = Signals::new().unwrap();
        assert!(futures::poll!(std::pin::pin!(signals.next())).is_pending());
        assert_eq!(Signal::Terminate.to_string(), "SIGTERM");
        assert_eq!(Signal::Interrupt.to_string(), "SIGINT");
    }
}
