//! The description of a component, which is known before it runs.

/// The constants of a component.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// The subcommand; also the name of its configuration file, its ledger, its log and its certificate file.
    pub name: &'static str,
    /// The group that `weir up --only` knows it by, beside its name.
    pub group: &'static str,
    /// The line of `weir --help` that belongs to it.
    pub help: &'static str,
    /// The names in its certificate; clients expect the first one, unless they are told another. In the others, `{domain}`
    /// stands for the domain of the stack.
    pub server_names: &'static [&'static str],
    /// Where it listens. The first port is the one that other components call.
    pub ports: &'static [Port],
    /// The names of the components that must serve before this one starts, and that stop only after it: those that it
    /// asks, and those that take what it hands on. A subscriber does not need the component that it subscribes to: it
    /// takes what that one hands on, and is needed by it.
    pub needs: &'static [&'static str],
}

impl Description {
    /// The name under which clients expect its certificate.
    #[must_use]
    pub const fn server_name(&self) -> &'static str {
        self.server_names[0]
    }

    /// The port that other components call.
    #[must_use]
    pub const fn port(&self) -> &'static Port {
        &self.ports[0]
    }
}

/// One address on which a component listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The port's key in `endpoints.json` and `ports.json`.
    pub key: &'static str,
    /// The number that documentation and examples use.
    pub default: u16,
    /// The scheme of its URL in `endpoints.json`; without one, `host:port` stands there.
    pub scheme: Option<&'static str>,
    /// Whether each connection begins with a TLS handshake.
    pub tls: bool,
}

impl Port {
    /// A port with TLS that clients know as `host:port`: gRPC, syslog.
    #[must_use]
    pub const fn plain(key: &'static str, default: u16) -> Self {
        Self::new(key, default, None, true)
    }

    /// A port that clients know as `https://host:port`.
    #[must_use]
    pub const fn https(key: &'static str, default: u16) -> Self {
        Self::new(key, default, Some("https"), true)
    }

    /// A port that clients know as `wss://host:port`.
    #[must_use]
    pub const fn wss(key: &'static str, default: u16) -> Self {
        Self::new(key, default, Some("wss"), true)
    }

    /// A port without TLS that clients know as `http://host:port`.
    #[must_use]
    pub const fn http(key: &'static str, default: u16) -> Self {
        Self::new(key, default, Some("http"), false)
    }

    /// A port that clients know as `host:port`, and whose connections do not begin with a TLS handshake: NATS, where TLS
    /// comes after the server's first line.
    #[must_use]
    pub const fn tcp(key: &'static str, default: u16) -> Self {
        Self::new(key, default, None, false)
    }

    const fn new(key: &'static str, default: u16, scheme: Option<&'static str>, tls: bool) -> Self {
        Self {
            key,
            default,
            scheme,
            tls,
        }
    }
}
