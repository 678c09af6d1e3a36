//! The client library of the stack with the server of the stack.

use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;
use weir_config::PeerAddr;
use weir_eventually::{PATIENCE, eventually};
use weir_nats_client::{ConnectionState, NatsClient, NatsError, NatsSettings, RegistryMessage, Subscription, subjects};
use weir_platform_nats::RawConfig;
use weir_tls::{Authority, IdentityFiles};

use crate::running::Running;

/// A client without a certificate and a user.
pub(crate) fn settings(address: std::net::SocketAddr) -> NatsSettings {
    NatsSettings {
        servers: vec![PeerAddr::from(address)],
        ..NatsSettings::default()
    }
}

pub(crate) async fn connected(settings: &NatsSettings) -> NatsClient {
    let client = NatsClient::connect(settings, "test").await.expect("a client");
    reached(&client, 1).await;
    client
}

/// Waits for a connection, the `number`th or a later one.
async fn reached(client: &NatsClient, number: u64) {
    let mut state = client.state();
    let reached =
        |state: &ConnectionState| matches!(state, ConnectionState::Connected { connection } if *connection >= number);
    let waited = tokio::time::timeout(PATIENCE, state.wait_for(reached)).await;
    waited.expect("connected in time").expect("the client lives");
}

pub(crate) async fn next(subscription: &mut Subscription) -> weir_nats_client::Message {
    let message = tokio::time::timeout(PATIENCE, subscription.next()).await;
    message.expect("a message in time").expect("the client lives")
}

/// An identity of a CA in this folder.
pub(crate) fn identity(folder: &Path, name: &str) -> IdentityFiles {
    let authority = Authority::open_or_create(folder).expect("a CA");
    authority.issue(name, &[name]).expect("a certificate")
}

/// The registrations of a route, with a reply to who greets, pass between two clients; of a group one member takes each.
pub(crate) async fn routes_are_registered(settings: &NatsSettings) {
    let (router, registrar) = (connected(settings).await, connected(settings).await);
    let mut routes = router.subscribe(subjects::ALL, None).await.expect("subscribed");
    let mut greetings = router
        .subscribe(subjects::GREET, Some("routers"))
        .await
        .expect("subscribed");
    router.flush().await.expect("flushed");
    let message = RegistryMessage {
        uris: vec!["app.example.com".to_owned()],
        host: "10.0.0.1".to_owned(),
        port: 8080,
        ..RegistryMessage::default()
    };
    // The subscription is there when a message of the router itself has come back.
    router.publish("router.ready", Bytes::new()).await.expect("published");
    assert_eq!(next(&mut routes).await.subject, "router.ready");
    registrar
        .publish_json(subjects::REGISTER, &message)
        .await
        .expect("published");
    let received = next(&mut routes).await;
    assert_eq!(received.subject, subjects::REGISTER);
    assert_eq!(RegistryMessage::read(&received.payload).expect("readable"), message);
    registrar
        .publish(subjects::GREET, Bytes::from_static(b"hi"))
        .await
        .expect("published");
    assert_eq!(next(&mut greetings).await.payload, "hi");
    assert_eq!((router.dropped(), registrar.dropped()), (0, 0));
    registrar.close().await;
    router.close().await;
}

/// Routes are registered without TLS and users.
#[tokio::test]
async fn without_tls() {
    let server = Running::start(RawConfig::default()).await;
    routes_are_registered(&settings(server.address)).await;
    server.stop().await;
}

/// Routes are registered over mutual TLS, which begins after the first line, by a user with a password.
#[tokio::test]
async fn with_certificates_and_a_user() {
    let folder = TempDir::new().expect("a folder");
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "secret\n").expect("written");
    let raw = RawConfig {
        identity: Some(identity(folder.path(), "nats")),
        user: Some("nats".to_owned()),
        password_file: Some(password_file.clone()),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let trusted = NatsSettings {
        identity: Some(identity(folder.path(), "gorouter")),
        server_name: Some("nats".to_owned()),
        user: Some("nats".to_owned()),
        password_file: Some(password_file),
        ..settings(server.address)
    };
    routes_are_registered(&trusted).await;

    let wrong_file = folder.path().join("wrong");
    std::fs::write(&wrong_file, "secre").expect("written");
    let strangers = TempDir::new().expect("a folder");
    let refused = [
        NatsSettings {
            password_file: Some(wrong_file),
            ..trusted.clone()
        },
        NatsSettings {
            user: None,
            ..trusted.clone()
        },
        NatsSettings {
            identity: None,
            ..trusted.clone()
        },
        NatsSettings {
            server_name: Some("doppler".to_owned()),
            ..trusted.clone()
        },
        NatsSettings {
            identity: Some(IdentityFiles {
                ca: trusted.identity.as_ref().expect("an identity").ca.clone(),
                ..identity(strangers.path(), "gorouter")
            }),
            ..trusted.clone()
        },
    ];
    let mut clients = Vec::new();
    for settings in &refused {
        clients.push(NatsClient::connect(settings, "test").await.expect("a client"));
    }
    // Each of them had time for many attempts when one that is trusted has had as many connections.
    for _ in 0..5 {
        connected(&trusted).await.close().await;
    }
    for (client, settings) in clients.iter().zip(&refused) {
        assert!(!client.state().borrow().is_connected(), "{settings:?}");
    }
    server.stop().await;
}

/// While no server runs nothing is published, and nothing waits; a server that is there again has the subscription again.
#[tokio::test]
async fn clients_come_back() {
    let server = Running::start(RawConfig::default()).await;
    let address = server.address;
    let client = connected(&settings(address)).await;
    let mut subscription = client.subscribe("a", None).await.expect("subscribed");
    client.publish("a", Bytes::from_static(b"1")).await.expect("published");
    assert_eq!(next(&mut subscription).await.payload, "1");
    server.stop().await;
    eventually("the client knows", || !client.state().borrow().is_connected()).await;
    let refused = client.publish("a", Bytes::from_static(b"2")).await;
    assert!(matches!(refused, Err(NatsError::Disconnected)), "{refused:?}");

    let raw = RawConfig {
        listen: address.into(),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    reached(&client, 2).await;
    // The subscription is made again before anything else is sent.
    client.publish("a", Bytes::from_static(b"3")).await.expect("published");
    assert_eq!(next(&mut subscription).await.payload, "3");
    server.stop().await;
}

/// A client whose subscription is not read loses what does not fit, counts it, and keeps its connection.
#[tokio::test]
async fn an_unread_subscription_loses_and_counts() {
    let server = Running::start(RawConfig::default()).await;
    let settings = NatsSettings {
        buffer: 16,
        ..settings(server.address)
    };
    let client = connected(&settings).await;
    let mut unread = client.subscribe("a", None).await.expect("subscribed");
    for _ in 0..100 {
        client.publish("a", Bytes::new()).await.expect("published");
    }
    eventually("the rest is lost", || client.dropped() == 84).await;
    for _ in 0..16 {
        next(&mut unread).await;
    }
    client
        .publish("a", Bytes::from_static(b"now"))
        .await
        .expect("published");
    assert_eq!(next(&mut unread).await.payload, "now");
    server.stop().await;
}

/// A renewed certificate is used from the next connection on, without a restart of the client.
#[tokio::test]
async fn renewed_certificates_are_followed() {
    let (old, new) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let raw = |folder: &TempDir| RawConfig {
        identity: Some(identity(folder.path(), "nats")),
        ..RawConfig::default()
    };
    let server = Running::start(raw(&old)).await;
    let address = server.address;
    let files = identity(old.path(), "gorouter");
    let client = connected(&NatsSettings {
        identity: Some(files.clone()),
        server_name: Some("nats".to_owned()),
        ..settings(address)
    })
    .await;
    server.stop().await;
    let renewed = identity(new.path(), "gorouter");
    for (from, to) in [
        (renewed.ca, files.ca),
        (renewed.key, files.key),
        (renewed.cert, files.cert),
    ] {
        std::fs::copy(from, to).expect("replaced");
    }
    let server = Running::start(RawConfig {
        listen: address.into(),
        ..raw(&new)
    })
    .await;
    reached(&client, 2).await;
    server.stop().await;
}
