//! Clients of the traffic controller that violate the WebSocket protocol, or HTTP before it.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use weir_faults::{assert_no_panics, assert_serves};
use weir_testkit::{Endpoints, Mode, Stack, connect_firehose};
use weir_tls::{ALPN_HTTP1, server_name};

const PATIENCE: Duration = Duration::from_secs(60);

async fn tls(endpoints: &Endpoints) -> anyhow::Result<TlsStream<TcpStream>> {
    let address = endpoints.traffic_controller.trim_start_matches("wss://");
    let stream = TcpStream::connect(address).await?;
    let connector = endpoints.trusting()?.with_alpn(&[ALPN_HTTP1]).connector();
    Ok(connector.connect(server_name("localhost")?, stream).await?)
}

/// Writes `bytes`, and reads until the server closes the connection.
async fn exchange(endpoints: &Endpoints, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = tls(endpoints).await?;
    drop(stream.write_all(bytes).await);
    let mut answer = vec![0; 64 * 1024];
    let read = timeout(PATIENCE, stream.read(&mut answer))
        .await
        .expect("an answer or an end in time");
    let length = read.unwrap_or(0);
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Setup: malformed requests. Must hold: each gets a 4xx status or a closed connection.
#[tokio::test(flavor = "multi_thread")]
async fn broken_requests_are_refused() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let token = stack.token()?;
    let upgrade = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: {token}\r\n{more}\r\n"
        )
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let requests = [
        "\r\n\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(500_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(20_000)),
        // Handshakes without a key, with a wrong version, and with a body that never arrives.
        upgrade("/firehose/x", "Sec-WebSocket-Version: 13\r\n"),
        upgrade("/firehose/x", &format!("{key}Sec-WebSocket-Version: 99\r\n")),
        upgrade("/firehose/%00%ff", &format!("{key}Sec-WebSocket-Version: 99\r\n")),
        upgrade(
            "/apps/../../etc/passwd/stream",
            &format!("{key}Sec-WebSocket-Version: 13\r\n"),
        ),
        "POST /set-cookie HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx".to_owned(),
    ];
    for request in requests {
        let answer = exchange(stack.endpoints(), request.as_bytes()).await?;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4");
        assert!(refused, "{:.60?} was answered {:.200?}", request, answer);
    }
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Returns frames that no client may send (RFC 6455, section 5).
fn frames() -> Vec<Vec<u8>> {
    vec![
        // A frame without a mask, one with reserved bits, and one with an unknown opcode.
        vec![0x82, 0x01, b'x'],
        vec![0xf2, 0x81, 0, 0, 0, 0, b'x'],
        vec![0x83, 0x81, 0, 0, 0, 0, b'x'],
        // A length of 2^63 - 1, one with the top bit set, a fragmented ping, and a ping of 64 KiB.
        [&[0x82, 0xff, 0x7f][..], &[0xff; 7], &[0; 4]].concat(),
        [&[0x82, 0xff][..], &[0xff; 8], &[0; 4]].concat(),
        vec![0x09, 0x80, 0, 0, 0, 0],
        [&[0x89, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &[0; 65_535]].concat(),
        // A continuation without a first frame, a close frame with half a status code, and text that is not UTF-8.
        vec![0x80, 0x80, 0, 0, 0, 0],
        vec![0x88, 0x81, 0, 0, 0, 0, 3],
        vec![0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe],
        vec![0xaa; 100_000],
    ]
}

/// Setup: frames that no client may send follow a valid handshake. Must hold: the stream ends or ignores them, and
/// others are served.
#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_end_their_stream_only() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let token = stack.token()?;
    let mut bystander = connect_firehose(stack.endpoints(), "/firehose/bystander", &token).await?;
    for frame in frames() {
        let socket = connect_firehose(stack.endpoints(), "/firehose/hostile", &token).await?;
        let mut stream = socket.into_inner();
        drop(stream.write_all(&frame).await);
        drop(stream.shutdown().await);
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "a stream outlives its client after {frame:.20?}");
    }
    assert_serves(&stack).await?;
    // The stack's own envelopes keep this stream busy.
    let next = timeout(PATIENCE, bystander.next()).await?;
    assert!(matches!(next, Some(Ok(_))), "{next:?}");
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: five hundred clients that never finish their handshake, or open a stream and drop the connection. Must hold:
/// others are served.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_clients_do_no_harm() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let token = stack.token()?;
    let mut half_open = Vec::new();
    for _ in 0..250 {
        let mut stream = tls(stack.endpoints()).await?;
        stream.write_all(b"GET /firehose/x HTTP/1.1\r\nHost:").await?;
        half_open.push(stream);
    }
    for index in 0..250 {
        drop(connect_firehose(stack.endpoints(), &format!("/firehose/gone-{index}"), &token).await?);
    }
    assert_serves(&stack).await?;
    drop(half_open);
    assert_no_panics(&stack);
    Ok(())
}
