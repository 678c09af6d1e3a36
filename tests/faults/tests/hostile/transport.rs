//! Clients without a certificate, with one of another CA, without TLS, and without HTTP/2 inside TLS.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use weir_faults::{assert_no_panics, assert_serves};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_proto::loggregator_v2::egress_client::EgressClient;
use weir_testkit::{Endpoints, Mode, Stack, connect};
use weir_tls::{ALPN_H2, Authority, ClientTls, server_name};

use super::MEMORY;

/// How long a server may keep a connection on which nothing valid arrives.
const PATIENCE: Duration = Duration::from_secs(60);

fn grpc_servers(endpoints: &Endpoints) -> [(&str, &'static str); 4] {
    [
        (&endpoints.agent, "metron"),
        (&endpoints.doppler, "doppler"),
        (&endpoints.rlp, "reverselogproxy"),
        (&endpoints.log_cache, "log-cache"),
    ]
}

fn authority(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

fn all_ports(endpoints: &Endpoints) -> Vec<String> {
    let urls = [
        &endpoints.traffic_controller,
        &endpoints.log_cache_gateway,
        &endpoints.sql_http,
    ];
    let grpc = grpc_servers(endpoints);
    grpc.iter()
        .map(|(address, _)| (*address).to_owned())
        .chain(urls.map(|url| authority(url).to_owned()))
        .collect()
}

/// Checks that a call to a server fails before the service answers.
async fn assert_refused(address: &str, name: &str, tls: &ClientTls) {
    let outcome = async {
        let channel = connect(address, name, tls).await?;
        EgressClient::new(channel)
            .batched_receiver(EgressBatchRequest::default())
            .await?;
        Ok::<_, anyhow::Error>(())
    };
    let error = timeout(PATIENCE, outcome)
        .await
        .expect("an answer in time")
        .expect_err("a refusal");
    // In TLS 1.3 the client finishes its handshake before the server has checked the certificate, so the error may come
    // with the call.
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        assert!(
            matches!(
                status.code(),
                Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
            ),
            "{name}: {status}"
        );
    }
}

/// Setup: clients without a certificate, and with one of another CA, call every internal server. Must hold: all are
/// refused, also by the log cache's gateway, which requires certificates over HTTP/1.1.
#[tokio::test(flavor = "multi_thread")]
async fn clients_without_our_certificate_are_refused() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let elsewhere = tempfile::tempdir()?;
    let mut foreign = Authority::open_or_create(elsewhere.path())?.issue("client", &[])?;
    foreign.ca.clone_from(&endpoints.ca);
    let foreign = ClientTls::mutual(&foreign)?;
    let nobody = endpoints.trusting()?;
    for (address, name) in grpc_servers(endpoints) {
        assert_refused(address, name, &foreign).await;
        assert_refused(address, name, &nobody).await;
    }
    for tls in [foreign, nobody] {
        let https = weir_testkit::Https::new(tls);
        let answer = https.get(&format!("{}/api/v1/meta", endpoints.log_cache_gateway)).await;
        assert!(answer.is_err(), "the gateway answered {answer:?}");
    }
    // A client refuses a server whose certificate has another name.
    let right = endpoints.mutual()?;
    assert!(connect(&endpoints.rlp, "doppler", &right).await.is_err());
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Returns what is written instead of a TLS ClientHello.
fn garbage() -> Vec<Vec<u8>> {
    let mut random = vec![0_u8; 200_000];
    let mut state = 0x9e37_79b9_u32;
    for byte in &mut random {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = state.to_le_bytes()[0];
    }
    vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        // A TLS record with a length of 65,535 bytes, one with a wrong version, and a handshake with a length of 16
        // MiB.
        [&[0x16, 0x03, 0x01, 0xff, 0xff][..], &[0; 3000]].concat(),
        [&[0x16, 0xff, 0xff, 0x00, 0x05][..], &[1, 0, 0, 1, 0]].concat(),
        [&[0x16, 0x03, 0x01, 0x00, 0x05][..], &[1, 0xff, 0xff, 0xff, 0]].concat(),
        vec![0; 100_000],
        random,
    ]
}

/// Setup: invalid bytes instead of a TLS handshake at every port, and connections without any bytes. Must hold: the
/// server closes or ignores each, and others are served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_tls() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let ports = all_ports(stack.endpoints());
    let mut silent = Vec::new();
    for port in &ports {
        for _ in 0..20 {
            silent.push(TcpStream::connect(port).await?);
        }
        for bytes in garbage() {
            let mut stream = TcpStream::connect(port).await?;
            // The server may close the connection during the write, so an error is fine here.
            drop(stream.write_all(&bytes).await);
            drop(stream.shutdown().await);
            let mut rest = Vec::new();
            let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            assert!(
                read.is_ok(),
                "{port} keeps a connection on which {} bytes of garbage came",
                bytes.len()
            );
            assert!(rest.len() < 10_000, "{port} answered {} bytes", rest.len());
        }
    }
    assert_serves(&stack).await?;
    drop(silent);
    assert_no_panics(&stack);
    Ok(())
}

/// Returns what is written inside TLS instead of HTTP/2, and malformed HTTP/2.
fn broken_http2() -> Vec<Vec<u8>> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// An empty SETTINGS frame.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let frame = |length: u32, kind: u8, flags: u8, stream: u32, body: &[u8]| {
        [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
    };
    let after_settings = |frames: &[Vec<u8>]| [PREFACE, SETTINGS, &frames.concat()].concat();
    vec![
        b"hello".to_vec(),
        PREFACE.to_vec(),
        // A frame of 16 MiB, data for a stream that was never opened, and a window update of zero.
        after_settings(&[frame(0xff_ffff, 0, 0, 1, &[0; 64])]),
        after_settings(&[frame(4, 0, 0, 7, b"data")]),
        after_settings(&[frame(4, 8, 0, 0, &[0; 4])]),
        // A header block that never ends, in CONTINUATION frames of invalid bytes.
        after_settings(&[
            frame(1, 1, 0, 1, &[0x82]),
            frame(64, 9, 0, 1, &[0xff; 64]),
            frame(64, 9, 0, 1, &[0xff; 64]),
        ]),
        // Streams that are opened and reset at once.
        after_settings(
            &(0..2000_u32)
                .flat_map(|index| {
                    let stream = index * 2 + 1;
                    [
                        frame(3, 1, 4, stream, &[0x83, 0x86, 0x84]),
                        frame(4, 3, 0, stream, &[0, 0, 0, 8]),
                    ]
                })
                .collect::<Vec<_>>(),
        ),
        after_settings(&vec![frame(8, 6, 0, 0, &[1; 8]); 5000]),
    ]
}

/// Setup: a client with a valid certificate sends no HTTP/2, or malformed HTTP/2. Must hold: its connection ends, and
/// others are served.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_inside_tls() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let connector = endpoints.mutual()?.with_alpn(&[ALPN_H2]).connector();
    for (address, name) in grpc_servers(endpoints) {
        for bytes in broken_http2() {
            let stream = TcpStream::connect(address).await?;
            let mut stream = connector.connect(server_name(name)?, stream).await?;
            drop(stream.write_all(&bytes).await);
            drop(stream.shutdown().await);
            let mut rest = Vec::new();
            let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            assert!(read.is_ok(), "{name} keeps a connection of broken HTTP/2");
        }
    }
    assert_serves(&stack).await?;
    assert!(stack.resident_bytes()? < MEMORY);
    assert_no_panics(&stack);
    Ok(())
}
