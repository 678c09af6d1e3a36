//! Resolves the host of a drain's URL, checks the addresses, and opens a TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use url::Host;
use weir_service::Tasks;

use crate::{DrainUrl, Failure, Settings, Stage};

/// The shortest time for which an address is tried, even if others are left.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(2);

/// How many keepalive probes may stay unanswered before a connection counts as lost.
const KEEPALIVE_PROBES: u32 = 3;

/// Returns the addresses of a drain that may be dialled, in order. IPv4 addresses in an IPv6 form are returned as IPv4.
///
/// The binding cache makes this check for a binding, and every dial makes it again, because a name may get another
/// address.
///
/// # Errors
/// With [`Stage::Dns`] if there is no address, and with [`Stage::Blocked`] if all addresses are in blocked ranges.
///
/// # Panics
/// If it is called outside a tokio runtime.
pub async fn locate(url: &DrainUrl, settings: &Settings, tasks: &Tasks) -> Result<Vec<IpAddr>, Failure> {
    let all = match url.address() {
        Host::Ipv4(address) => vec![IpAddr::V4(*address)],
        Host::Ipv6(address) => vec![IpAddr::V6(*address)],
        Host::Domain(name) => resolve(name, settings, tasks).await?,
    };
    let all: Vec<IpAddr> = all.into_iter().map(|address| address.to_canonical()).collect();
    let allowed: Vec<IpAddr> = all
        .iter()
        .copied()
        .filter(|ip| settings.addresses.allows(*ip))
        .collect();
    if allowed.is_empty() {
        let listed: Vec<String> = all.iter().map(IpAddr::to_string).collect();
        let text = format!(
            "address {} of the drain is in a range that drains may not be in",
            listed.join(", ")
        );
        return Err(Failure::new(Stage::Blocked, text)
            .permanent()
            .hint("use a drain at another address, or ask the operator of the platform to allow this one"));
    }
    Ok(allowed)
}

async fn resolve(name: &str, settings: &Settings, tasks: &Tasks) -> Result<Vec<IpAddr>, Failure> {
    let hint = "check the host in the drain's URL, and that it is known to the platform's name servers";
    let failed =
        |reason: String| Failure::new(Stage::Dns, format!("name `{name}` cannot be resolved: {reason}")).hint(hint);
    match timeout(settings.dial_timeout, settings.resolver.resolve(name, tasks)).await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(failed(io_text(&error))),
        Err(_) => Err(failed(format!("no answer within {:?}", settings.dial_timeout))),
    }
}

/// Opens a TCP connection to the drain. `send_buffer` is the size of the kernel's send buffer in bytes; `None` for its
/// default.
pub(crate) async fn dial(
    url: &DrainUrl,
    settings: &Settings,
    tasks: &Tasks,
    send_buffer: Option<usize>,
) -> Result<TcpStream, Failure> {
    let addresses = locate(url, settings, tasks).await?;
    to_any(&addresses, url.port(), settings, send_buffer).await
}

/// Opens a TCP connection to the first of the addresses that accepts one, all within the dial time-out.
pub(crate) async fn to_any(
    addresses: &[IpAddr],
    port: u16,
    settings: &Settings,
    send_buffer: Option<usize>,
) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + settings.dial_timeout;
    let mut reasons = Vec::new();
    let mut refused = true;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        // Each address gets an equal share of the time that is left, so that a silent one does not use up that of the
        // others.
        let share = (left / others).max(SHORTEST_ATTEMPT).min(left);
        let address = SocketAddr::new(*address, port);
        let reason = match timeout(share, attempt(address, settings, send_buffer)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                refused &= error.kind() == io::ErrorKind::ConnectionRefused;
                io_text(&error)
            }
            Err(_) => {
                refused = false;
                format!("no answer within {:.1} s", share.as_secs_f64())
            }
        };
        reasons.push(format!("no connection to `{address}`: {reason}"));
    }
    let hint = if refused {
        "nothing listens there: check host and port of the drain's URL, and that the drain runs"
    } else {
        "check host and port of the drain's URL, and what lies between: routes, firewalls, security groups"
    };
    Err(Failure::new(Stage::Connect, reasons.join("; ")).hint(hint))
}

async fn attempt(address: SocketAddr, settings: &Settings, send_buffer: Option<usize>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A shipment is written as a whole, so waiting to fill packets would only delay it.
    socket.set_nodelay(true)?;
    if let Some(size) = send_buffer {
        socket.set_send_buffer_size(u32::try_from(size).unwrap_or(u32::MAX))?;
    }
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(settings.keepalive)
        .with_interval(settings.keepalive)
        .with_retries(KEEPALIVE_PROBES);
    let options = socket2::SockRef::from(&socket);
    options.set_tcp_keepalive(&keepalive)?;
    // Without this, data that a vanished peer does not acknowledge is retransmitted for many minutes.
    #[cfg(target_os = "linux")]
    options.set_tcp_user_timeout(Some(settings.write_timeout + settings.keepalive))?;
    socket.connect(address).await
}

/// Returns the text of an I/O error, without the system's error number and in lower case.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = weir_error::chain(error);
    let text = match text.find(" (os error ") {
        Some(end) => &text[..end],
        None => &text,
    };
    let mut letters = text.chars();
    match letters.next() {
        // `Connection refused` becomes lower case, and an abbreviation such as `DNS` does not.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}
