//! Host names and addresses of drains.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weir_drain::{Failure, Resolver, Settings, Stage, connect, locate};
use weir_error::Classify as _;

use crate::support::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn refused(url: &str, settings: &Settings) -> Failure {
    let failure = connect(&binding(url), settings, &tasks())
        .await
        .map(|_| ())
        .expect_err(url);
    harmless(&failure);
    failure
}

/// No form of a blocked address is dialled, and the check is made on the address that the name has at the dial.
#[tokio::test]
async fn blocked_addresses_are_not_dialled() {
    let (listener, address) = listen().await;
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
    let settings = Settings {
        addresses: "127.0.0.0-127.255.255.255,::1-::1".parse().unwrap(),
        resolver: Resolver::fixed([
            ("inside", vec![HERE]),
            ("mapped", vec![mapped]),
            ("both", vec![HERE, mapped]),
        ]),
        ..settings()
    };
    let port = address.port();
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "0x7f.1",
        "inside",
        "mapped",
        "both",
    ] {
        for scheme in ["syslog", "syslog-tls", "https", "https-batch"] {
            let failure = refused(&format!("{scheme}://u:{SECRET}@{host}:{port}"), &settings).await;
            assert_eq!(failure.stage, Stage::Blocked, "{host}: {failure}");
            assert!(failure.permanent);
        }
    }
    let listening = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(listening.is_err(), "something was dialled");
}

/// Several addresses are tried in order, without the blocked ones.
#[tokio::test]
async fn addresses_are_tried_in_order() {
    let (listener, address) = listen().await;
    let dead: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    let settings = Settings {
        addresses: "127.0.0.3".parse().unwrap(),
        resolver: Resolver::fixed([
            ("drain.example", vec![Ipv4Addr::new(127, 0, 0, 3).into(), dead, HERE]),
            ("gone.example", vec![dead, Ipv4Addr::new(127, 0, 0, 4).into()]),
        ]),
        ..settings()
    };
    let url = format!("syslog://drain.example:{}", address.port());
    let located = locate(&binding(&url).url, &settings, &tasks()).await.unwrap();
    assert_eq!(located, [dead, HERE]);
    let _connection = connect(&binding(&url), &settings, &tasks()).await.unwrap();
    accept(&listener).await;

    let port = address.port();
    let failure = refused(&format!("syslog://gone.example:{port}"), &settings).await;
    assert_eq!(failure.stage, Stage::Connect);
    assert_eq!(
        failure.to_string(),
        format!(
            "no connection to `127.0.0.2:{port}`: connection refused; no connection to `127.0.0.4:{port}`: connection refused"
        )
    );
    assert!(failure.hint().unwrap().starts_with("nothing listens there"));
}

/// A drain is reached over IPv6, if the machine has IPv6.
#[tokio::test]
async fn ipv6_drains_are_reached() {
    let Ok(listener) = tokio::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let _connection = connect(&binding(&format!("syslog://[::1]:{port}")), &settings(), &tasks())
        .await
        .unwrap();
    accept(&listener).await;
}

/// A host name without an address is reported, by the system's resolver and by a fixed one.
#[tokio::test]
async fn names_without_addresses_are_reported() {
    for settings in [
        settings(),
        Settings {
            resolver: Resolver::fixed([]),
            ..settings()
        },
    ] {
        let failure = refused(
            &format!("syslog://u:{SECRET}@no-such-host.invalid:514?{SECRET}"),
            &settings,
        )
        .await;
        assert_eq!(failure.stage, Stage::Dns);
        let text = failure.to_string();
        assert!(
            text.starts_with("name `no-such-host.invalid` cannot be resolved: "),
            "{text}"
        );
    }
    let located = locate(&binding("syslog://localhost:514").url, &settings(), &tasks())
        .await
        .unwrap();
    assert!(located.iter().all(IpAddr::is_loopback));
}

/// An address that drops packets is given up at the dial time-out. (On Linux, a listener with a full backlog does
/// that.)
#[tokio::test]
async fn an_unresponsive_address_ends_at_the_dial_timeout() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut full = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        full.push(stream);
    }
    let settings = Settings {
        dial_timeout: Duration::from_millis(500),
        ..settings()
    };
    let failure = refused(&format!("syslog://{address}"), &settings).await;
    assert_eq!(
        failure.to_string(),
        format!("no connection to `{address}`: no answer within 0.5 s")
    );
}
