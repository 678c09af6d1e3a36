//! Finds ports that stay free while nobody listens on them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

/// Returns a free port of the loopback interface below the ephemeral range. The kernel gives it to no outgoing
/// connection while its owner is stopped, so a client that connects to it meanwhile cannot connect to itself.
///
/// # Errors
/// Fails when no port is free.
pub fn steady_port() -> anyhow::Result<SocketAddr> {
    let first = ephemeral();
    let range = 10_000..first.clamp(10_001, u16::MAX);
    // Several test programs search at once, so each begins at another port.
    let size = range.end - range.start;
    let seed = u16::try_from(std::process::id() % u32::from(u16::MAX)).unwrap_or_default();
    let mut place = seed
        .wrapping_mul(31)
        .wrapping_add(NEXT.fetch_add(7, std::sync::atomic::Ordering::Relaxed));
    for _ in 0..size {
        place = place.wrapping_add(1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, range.start + place % size));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port below {first}")
}

static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

/// Returns the first port that the kernel gives to outgoing connections.
fn ephemeral() -> u16 {
    const USUAL: u16 = 32_768;
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(USUAL)
}
