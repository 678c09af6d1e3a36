//! Syslog drains over TLS: which certificates are trusted, and the texts for those that are not.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use weir_drain::{Binding, Credentials, Failure, Outcome, Resolver, Settings, Stage, connect};
use weir_error::Classify as _;
use weir_tls::{CipherSuites, Trust};

use crate::support::*;

const NAME: &str = "logs.example";

static ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
static ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

fn named() -> Settings {
    Settings {
        resolver: Resolver::fixed([(NAME, vec![std::net::Ipv4Addr::LOCALHOST.into()])]),
        ..settings()
    }
}

/// Serves one connection; returns the received bytes, or the error of the handshake.
async fn serve(listener: &TcpListener, acceptor: TlsAcceptor) -> std::io::Result<Vec<u8>> {
    let mut stream = acceptor.accept(accept(listener).await).await?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await?;
    Ok(received)
}

/// Sends one shipment to such a server; returns the bytes that it received, or the failure of the drain.
async fn deliver(
    binding: impl Fn(u16) -> Binding,
    settings: &Settings,
    acceptor: TlsAcceptor,
) -> Result<Vec<u8>, Failure> {
    let (listener, address) = listen().await;
    let serving = tokio::spawn(async move { serve(&listener, acceptor).await });
    let tasks = tasks();
    let connected = connect(&binding(address.port()), settings, &tasks)
        .await
        .inspect_err(harmless);
    let (mut sender, mut outcomes) = connected?;
    _ = sender.send(shipment(1, 3, 20)).await;
    loop {
        match next(&mut outcomes).await {
            Outcome::Written(_) => {}
            Outcome::Settled(1) => break,
            Outcome::Broken(failure) => return Err(failure),
            other => panic!("{other:?}"),
        }
    }
    drop(sender);
    until_broken(&mut outcomes).await;
    Ok(tokio::time::timeout(LONG, serving).await.unwrap().unwrap().unwrap())
}

fn url(port: u16) -> String {
    format!("syslog-tls://u:{SECRET}@{NAME}:{port}?token={SECRET}")
}

/// The binding's own CA is trusted, also for a certificate behind an intermediate, in TLS 1.2 and 1.3.
#[tokio::test]
async fn the_ca_of_a_binding_is_trusted() {
    let root = Ca::root("Root");
    let identity = root
        .intermediate("Intermediate", Time::Now)
        .issue(NAME, &[NAME], Time::Now);
    for versions in [ONLY_12, ONLY_13] {
        let server = Server {
            versions: Some(versions),
            ..Server::default()
        };
        let credentials = trusting(&root.pem());
        let received = deliver(
            |port| with(&url(port), credentials.clone()),
            &named(),
            server.acceptor(&identity),
        )
        .await;
        assert_eq!(numbers(&received.unwrap()).0.len(), 3);
    }
}

/// The platform's CA file is trusted for every drain, and is read again when it changes.
#[tokio::test]
async fn the_platforms_cas_are_trusted_for_every_drain() {
    let (root, next) = (Ca::root("Root"), Ca::root("Next Root"));
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "ca.pem", &root.pem());
    let settings = Settings {
        trust: Trust::only(&path).unwrap(),
        ..named()
    };
    let serve = |ca: &Ca| Server::default().acceptor(&ca.issue(NAME, &[NAME], Time::Now));
    deliver(|port| binding(&url(port)), &settings, serve(&root))
        .await
        .unwrap();
    deliver(|port| binding(&url(port)), &settings, serve(&next))
        .await
        .unwrap_err();
    file(&dir, "ca.pem", &format!("{}{}", root.pem(), next.pem()));
    // The file is checked once a second.
    let deadline = tokio::time::Instant::now() + LONG;
    while deliver(|port| binding(&url(port)), &settings, serve(&next))
        .await
        .is_err()
    {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    deliver(|port| binding(&url(port)), &settings, serve(&root))
        .await
        .unwrap();
}

/// A self-signed certificate that is given as CA is trusted for its own name, whether it is marked as a CA or not, as
/// in Go.
#[tokio::test]
async fn self_signed_servers_can_be_pinned() {
    for is_ca in [false, true] {
        let identity = self_signed(NAME, &[NAME], is_ca);
        let serve = || Server::default().acceptor(&identity);
        let credentials = trusting(&identity.cert);
        deliver(|port| with(&url(port), credentials.clone()), &named(), serve())
            .await
            .unwrap();
        let failure = deliver(|port| binding(&url(port)), &named(), serve())
            .await
            .unwrap_err();
        assert!(
            failure
                .to_string()
                .ends_with(": certificate `logs.example` is self-signed and not among the trusted CAs"),
            "{failure}"
        );
        let other = |port| with(&format!("syslog-tls://127.0.0.1:{port}"), credentials.clone());
        let failure = deliver(other, &named(), serve()).await.unwrap_err();
        assert!(
            failure
                .to_string()
                .ends_with(": certificate `logs.example` is for `logs.example`, not for `127.0.0.1`"),
            "{failure}"
        );
    }
}

/// Two bindings of one URL, each with its own CA, have separate trust stores. Neither trusts the other's CA, in
/// whichever order they connect.
#[tokio::test]
async fn trust_is_not_shared() {
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let first = |port| with(&url(port), trusting(&one.pem()));
    let second = |port| with(&url(port), trusting(&two.pem()));
    assert_ne!(first(1).id, second(1).id);
    let settings = named();
    for _ in 0..2 {
        let serve = |ca: &Ca| Server::default().acceptor(&ca.issue(NAME, &[NAME], Time::Now));
        deliver(first, &settings, serve(&one)).await.unwrap();
        deliver(second, &settings, serve(&two)).await.unwrap();
        for failure in [
            deliver(first, &settings, serve(&two)).await.unwrap_err(),
            deliver(second, &settings, serve(&one)).await.unwrap_err(),
            deliver(|port| binding(&url(port)), &settings, serve(&one))
                .await
                .unwrap_err(),
        ] {
            assert_eq!(failure.stage, Stage::Tls);
            assert!(failure.to_string().contains("which is not a trusted CA"), "{failure}");
        }
    }
}

/// Each fault of a certificate chain is reported with the subject of the certificate that has it.
#[tokio::test]
async fn chains_are_explained() {
    let root = Ca::root("Root");
    let old_root = Ca::root_of("Old Root", Time::Past);
    let same_name = Ca::root("Root");
    let fresh = root.intermediate("Intermediate", Time::Now);
    let stale = root.intermediate("Stale Intermediate", Time::Past);
    let mut alone = fresh.issue(NAME, &[NAME], Time::Now);
    alone.cert = alone
        .cert
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap()
        .to_owned();
    let many: Vec<String> = (0..7).map(|index| format!("n{index}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let ca = trusting(&root.pem());
    for (identity, credentials, text) in [
        (
            root.issue(NAME, &[NAME], Time::Past),
            &ca,
            "certificate `logs.example` expired on 2021-02-03",
        ),
        (
            root.issue(NAME, &[NAME], Time::Future),
            &ca,
            "certificate `logs.example` is not valid before 2190-04-05",
        ),
        (
            stale.issue(NAME, &[NAME], Time::Now),
            &ca,
            "intermediate certificate `Stale Intermediate` expired on 2021-02-03",
        ),
        (
            root.issue("other", &["other.example", "*.other.example"], Time::Now),
            &ca,
            "certificate `other` is for `other.example`, `*.other.example`, not for `logs.example`",
        ),
        (
            root.issue("many", &many, Time::Now),
            &ca,
            "certificate `many` is for `n0.example`, `n1.example`, `n2.example`, `n3.example`, `n4.example` and 2 more, not for `logs.example`",
        ),
        (
            root.issue("none", &[], Time::Now),
            &ca,
            "certificate `none` is for no name at all, not for `logs.example`",
        ),
        (
            alone,
            &ca,
            "certificate `logs.example` was issued by `Intermediate`, which is not a trusted CA",
        ),
        (
            same_name.issue(NAME, &[NAME], Time::Now),
            &ca,
            "certificate `logs.example` names `Root` as its issuer, but the trusted CA of that name did not sign it",
        ),
        (
            fresh.issue(NAME, &[NAME], Time::Now),
            &Credentials::default(),
            "intermediate certificate `Intermediate` was issued by `Root`, which is not a trusted CA",
        ),
        (
            old_root.issue(NAME, &[NAME], Time::Now),
            &trusting(&old_root.pem()),
            "CA certificate `Old Root` given for it expired on 2021-02-03",
        ),
    ] {
        let failure = deliver(
            |port| with(&url(port), credentials.clone()),
            &named(),
            Server::default().acceptor(&identity),
        )
        .await
        .unwrap_err();
        assert_eq!(failure.stage, Stage::Tls);
        let shown = failure.to_string();
        assert_eq!(shown.split_once("`: ").map(|(_, reason)| reason), Some(text), "{shown}");
        assert!(shown.starts_with("tls with `logs.example:"), "{shown}");
        assert!(failure.hint().is_some() && !failure.permanent);
        // Without verification, the certificate is accepted.
        let without_kernel_answers = Settings {
            skip_verify: true,
            ..named()
        };
        let acceptor = Server::default().acceptor(&identity);
        deliver(
            |port| with(&url(port), credentials.clone()),
            &without_kernel_answers,
            acceptor,
        )
        .await
        .unwrap();
    }
}

/// A drain requires a client certificate, and gets the right one, none, one of another CA, or an expired one. TLS 1.2
/// and TLS 1.3 are both tested, because they refuse at different times.
#[tokio::test]
async fn drains_may_demand_a_certificate() {
    let (root, clients, others) = (Ca::root("Root"), Ca::root("Clients"), Ca::root("Others"));
    let identity = root.issue(NAME, &[NAME], Time::Now);
    let client = |ca: &Ca, time| {
        let identity = ca.issue("the-app", &["the-app"], time);
        Credentials {
            cert: Some(identity.cert),
            key: Some(identity.key),
            ca: Some(root.pem()),
        }
    };
    for versions in [ONLY_12, ONLY_13] {
        let serve = || {
            let server = Server {
                clients: Some(&clients),
                versions: Some(versions),
                ..Server::default()
            };
            server.acceptor(&identity)
        };
        let valid = client(&clients, Time::Now);
        deliver(|port| with(&url(port), valid.clone()), &named(), serve())
            .await
            .unwrap();
        for (credentials, text) in [
            (trusting(&root.pem()), "the drain requires a client certificate"),
            (
                client(&others, Time::Now),
                "the drain refuses our certificate `the-app`: ",
            ),
            (
                client(&clients, Time::Past),
                "the drain refuses our certificate `the-app`, which expired on 2021-02-03",
            ),
        ] {
            let failed = deliver(|port| with(&url(port), credentials.clone()), &named(), serve()).await;
            let failure = failed.unwrap_err();
            assert!(failure.to_string().contains(text), "{failure}");
            assert_eq!(failure.stage, Stage::Tls);
        }
    }
}

/// Credentials that cannot be used are reported before a connection is made, without showing their contents.
#[tokio::test]
async fn unusable_credentials_are_reported() {
    let one = self_signed("one", &["one"], false);
    let two = self_signed("two", &["two"], false);
    for (cert, key, ca, text) in [
        (
            Some(one.cert.as_str()),
            Some(two.key.as_str()),
            None,
            "client key does not belong to the client certificate",
        ),
        (
            Some(SECRET),
            Some(&one.key),
            None,
            "client certificate holds no certificate in PEM form",
        ),
        (
            Some(&one.cert),
            Some(SECRET),
            None,
            "client key holds no private key in PEM form",
        ),
        (None, None, Some(SECRET), "CA holds no certificate in PEM form"),
    ] {
        let credentials = Credentials {
            cert: cert.map(str::to_owned),
            key: key.map(str::to_owned),
            ca: ca.map(str::to_owned),
        };
        let failure = connect(&with(&url(1), credentials), &named(), &tasks())
            .await
            .map(|_| ())
            .unwrap_err();
        harmless(&failure);
        assert!(failure.permanent && failure.stage == Stage::Tls);
        assert_eq!(
            failure.to_string(),
            format!("credentials of the binding are not usable: {text}")
        );
    }
}

/// A port that does not speak TLS, one that sends nothing, and one that closes the connection are reported.
#[tokio::test]
async fn a_port_without_tls_is_reported() {
    let (listener, address) = listen().await;
    let settings = Settings {
        dial_timeout: Duration::from_millis(300),
        ..named()
    };
    let url = url(address.port());
    let peer = format!("tls with `{NAME}:{}`: ", address.port());
    let attempt = async || {
        let failure = connect(&binding(&url), &settings, &tasks())
            .await
            .map(|_| ())
            .unwrap_err();
        harmless(&failure);
        failure.to_string().strip_prefix(&peer).expect("the peer").to_owned()
    };
    let (said, _) = tokio::join!(attempt(), async {
        let mut stream = accept(&listener).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 smtp.example ESMTP\r\n")
            .await
            .unwrap();
        _ = stream.read(&mut [0; 1024]).await;
        stream
    });
    assert_eq!(said, "the drain does not speak tls on this port");
    let (said, _) = tokio::join!(attempt(), accept(&listener));
    assert_eq!(said, "no answer within 300ms");
    let (said, ()) = tokio::join!(attempt(), async { drop(accept(&listener).await) });
    assert!(
        said.starts_with("the connection broke during the handshake: "),
        "{said}"
    );
}

/// The operator's cipher suites force TLS 1.2 for drains outside the platform, and the internal profile has its own
/// suites.
#[tokio::test]
async fn profiles_choose_suites() {
    let root = Ca::root("Root");
    let identity = root.issue(NAME, &[NAME], Time::Now);
    let credentials = trusting(&root.pem());
    let chosen = |list: &str| Settings {
        cipher_suites: Some(CipherSuites::parse(list).unwrap()),
        ..named()
    };
    let only = |versions| {
        let server = Server {
            versions: Some(versions),
            ..Server::default()
        };
        server.acceptor(&identity)
    };
    let external = |port| with(&url(port), credentials.clone());
    let internal = |port| with(&format!("{}&ssl-strict-internal=true", url(port)), credentials.clone());
    // The suites must be for ECDSA, as the servers' keys are.
    let ecdsa = chosen("ECDHE-ECDSA-AES128-GCM-SHA256:AES128-SHA");
    let rsa = chosen("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    deliver(external, &ecdsa, only(ONLY_12)).await.unwrap();
    deliver(external, &ecdsa, only(ONLY_13)).await.unwrap_err();
    deliver(external, &rsa, only(ONLY_12)).await.unwrap_err();
    deliver(internal, &rsa, only(ONLY_13)).await.unwrap();
    let failure = deliver(internal, &named(), only(ONLY_12)).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Tls);
    assert!(CipherSuites::parse("AES128-SHA:RC4").is_err());
}

/// A TLS drain that dies is seen at once, and no message is lost when it comes back, as over plain TCP.
#[tokio::test]
async fn a_tls_receiver_that_dies_is_seen() {
    let root = Ca::root("Root");
    let acceptor = Server::default().acceptor(&root.issue(NAME, &[NAME], Time::Now));
    let (listener, address) = listen().await;
    let binding = with(&url(address.port()), trusting(&root.pem()));
    let (tasks, settings) = (tasks(), named());
    let (connected, server) = tokio::join!(connect(&binding, &settings, &tasks), async {
        acceptor.accept(accept(&listener).await).await
    });
    let (sender, mut outcomes) = connected.unwrap();
    let sending = send_all(sender, (1..=10).map(|sequence| shipment(sequence, 100, 100)).collect());
    let mut server = server.unwrap();
    server.read_exact(&mut [0; 10_000]).await.unwrap();
    drop(server);
    let (_, failure) = until_broken(&mut outcomes).await;
    assert_eq!(failure.stage, Stage::Closed, "{failure}");
    drop(sending);
}
