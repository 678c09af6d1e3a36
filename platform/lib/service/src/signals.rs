//! The operating system asks to stop: SIGINT and SIGTERM.

use std::fmt;
use std::io;

use tokio::signal::unix::{self, SignalKind};

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: somebody pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: a supervisor wants us gone.
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

/// A subscription to both signals. From its creation on, neither ends the process by itself, and none is missed between
/// two calls of [`Signals::next`]: the second one usually means "now".
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Subscribes.
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

    /// Both kinds subscribe, and say their name as operators write it.
    #[tokio::test]
    async fn subscribes() {
        let mut signals = Signals::new().unwrap();
        assert!(futures::poll!(std::pin::pin!(signals.next())).is_pending());
        assert_eq!(Signal::Terminate.to_string(), "SIGTERM");
        assert_eq!(Signal::Interrupt.to_string(), "SIGINT");
    }
}
