//! Tests of the receivers: each does what the test sets.

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_tls::{ALPN_H2, ALPN_HTTP1, ClientTls, server_name};

use super::*;
use crate::eventually;

fn framed(message: &[u8]) -> Vec<u8> {
    [format!("{} ", message.len()).as_bytes(), message].concat()
}

fn line(app: &str, number: u64) -> Vec<u8> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let text = format!("weir#{number:012} @{:020} x\n", now.as_nanos());
    format!("<14>1 2026-01-03T10:11:12.5+00:00 o.s.a {app} [APP/0] - - {text}").into_bytes()
}

/// Returns a client that trusts `pki`.
fn trusting(pki: &Pki, protocols: &[&[u8]]) -> anyhow::Result<ClientTls> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &pki.ca)?;
    Ok(ClientTls::trusting(file.path())?.with_alpn(protocols))
}

#[tokio::test]
async fn a_receiver_stops_and_starts() -> anyhow::Result<()> {
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let mut stream = TcpStream::connect(receiver.address()).await?;
    stream
        .write_all(&[framed(&line("a", 0)), framed(&line("b", 0)), framed(&line("a", 1))].concat())
        .await?;
    receiver.wait_for_lines(3).await?;
    receiver.stop().await;
    assert!(TcpStream::connect(receiver.address()).await.is_err());
    eventually("the cut", async || match stream.try_read(&mut [0; 8]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    receiver.start().await?;
    let mut stream = TcpStream::connect(receiver.address()).await?;
    stream
        .write_all(&[framed(&line("a", 1)), framed(&line("a", 2))].concat())
        .await?;
    receiver.wait_for_lines(4).await?;
    let tally = receiver.lines().of("a");
    assert_eq!((tally.once, tally.twice, tally.late), (3, 1, 0));
    assert!(receiver.lines().take_age(990) < 60_000.0);
    Ok(())
}

/// Setup: a receiver that never reads, and later does. Must hold: it takes what fits into buffers and no more. When it
/// reads again, it gets what is there.
#[tokio::test]
async fn a_receiver_can_stop_reading_or_read_slowly() -> anyhow::Result<()> {
    let receiver = DrainReceiver::tcp(Behaviour::NeverReads).await?;
    let stream = TcpStream::connect(receiver.address()).await?;
    let message = framed(&line("a", 0));
    let mut written = 0;
    let blocked = async {
        loop {
            stream.writable().await?;
            match stream.try_write(&message) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err::<(), _>(error),
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), blocked).await.is_err());
    assert!(written > 1000 && receiver.lines().total() == 0, "{written}");
    receiver.set_behaviour(Behaviour::Slow(10_000));
    eventually("some of it", async || {
        let tally = receiver.lines().of("a");
        anyhow::ensure!(tally.twice > 10, "{tally:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

#[tokio::test]
async fn a_receiver_refuses_handshakes_or_shows_the_given_certificate() -> anyhow::Result<()> {
    let (pki, other) = (Pki::new("ours")?, Pki::new("theirs")?);
    let receiver = DrainReceiver::tls(pki.issue(&["127.0.0.1"])?.server(&[], None)?, Behaviour::RefuseTls).await?;
    let tls = trusting(&pki, &[])?;
    let connect = async || {
        let stream = TcpStream::connect(receiver.address()).await?;
        tls.connector().connect(server_name("127.0.0.1").unwrap(), stream).await
    };
    assert!(connect().await.unwrap_err().to_string().contains("HandshakeFailure"));
    receiver.set_behaviour(Behaviour::Read);
    let mut stream = connect().await?;
    stream.write_all(&framed(&line("a", 0))).await?;
    stream.flush().await?;
    receiver.wait_for_lines(1).await?;
    receiver.set_tls(pki.issue_expired(&["127.0.0.1"])?.server(&[], None)?);
    assert!(connect().await.unwrap_err().to_string().contains("expired"));
    receiver.set_tls(other.issue(&["127.0.0.1"])?.server(&[], None)?);
    assert!(connect().await.unwrap_err().to_string().contains("UnknownIssuer"));
    // This one requires a client certificate.
    receiver.set_tls(pki.issue(&["127.0.0.1"])?.server(&[], Some(&other.ca))?);
    let mut stream = connect().await?;
    assert!(stream.read_u8().await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_collector_has_faults() -> anyhow::Result<()> {
    let pki = Pki::new("ours")?;
    for protocol in [ALPN_HTTP1, ALPN_H2] {
        let collector = Collector::start(pki.issue(&["127.0.0.1"])?.server(&[ALPN_H2, ALPN_HTTP1], None)?).await?;
        let tls = trusting(&pki, &[protocol])?;
        let post = async |key: &str, body: Vec<u8>| -> anyhow::Result<http::Response<hyper::body::Incoming>> {
            let url = collector.url("https", "/drain?x=y");
            let address = url
                .strip_prefix("https://")
                .and_then(|rest| rest.split('/').next())
                .unwrap();
            let stream = tls
                .connector()
                .connect(server_name("127.0.0.1")?, TcpStream::connect(address).await?)
                .await?;
            let request = http::Request::post(&url)
                .header("idempotency-key", key)
                .body(Full::new(bytes::Bytes::from(body)))?;
            if protocol == ALPN_H2 {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                return Ok(sender.send_request(request).await?);
            }
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        };
        let both = [line("a", 0), line("a", 1)].concat();
        collector.plan([
            Fault::TooMany(Some(7)),
            Fault::Status(503),
            Fault::Reset,
            Fault::TakenThenReset,
            Fault::Slow(Duration::from_millis(1)),
        ]);
        let busy = post("k", both.clone()).await?;
        assert_eq!(
            (busy.status().as_u16(), &busy.headers()[RETRY_AFTER]),
            (429, &"7".parse()?)
        );
        assert_eq!(post("k", both.clone()).await?.status(), 503);
        assert!(post("k", both.clone()).await.is_err());
        assert_eq!(collector.lines().total(), 0);
        assert!(post("k", both.clone()).await.is_err());
        assert_eq!(post("k", both.clone()).await?.status(), 200);
        assert_eq!(
            post("l", line("a", 2))
                .await?
                .into_body()
                .collect()
                .await?
                .to_bytes()
                .len(),
            0
        );
        collector.wait_for_lines(3).await?;
        let tally = collector.lines().of("a");
        assert_eq!(
            (tally.once, tally.twice, collector.repeated(), collector.count()),
            (3, 0, 1, 6)
        );
        let request = &collector.requests()[0];
        assert_eq!(
            (request.target.as_str(), request.header("idempotency-key")),
            ("/drain?x=y", "k")
        );
        assert_eq!(request.version == http::Version::HTTP_2, protocol == ALPN_H2);
    }
    Ok(())
}

/// rsyslog and syslog-ng parse the same fields from the same messages, over TCP and TLS.
#[tokio::test]
async fn daemons_write_what_they_parse() -> anyhow::Result<()> {
    let pki = Pki::new("ours")?;
    let messages = [
        &br#"<14>1 1970-01-01T00:00:00.012345+00:00 o.s.a 7a1b [APP/PROC/WEB/0] - [gauge@47450 name="cpu" value="0.23"][tags@47450 a.b="q\"\]\\z" __v1_type="" a_name_of_more_than_thirty_two_letters="x"] hello	tab  
"#[..],
        "<11>1 2023-01-01T00:00:00+00:00 o.s.a src [RTR/1] - [tags@47450 a=\"\u{e4}\"]  l\u{e4}ading\r\n".as_bytes(),
        &[b"<14>1 2023-01-01T00:00:00.1+00:00 o.s.a src [RTR/1] - - ".to_vec(), vec![b'x'; 200_000], b"\n".to_vec()].concat(),
    ];
    for product in Product::ALL {
        let daemon = match Daemon::start(product, &pki).await? {
            Ok(daemon) => daemon,
            Err(skip) => {
                skip.report();
                continue;
            }
        };
        let authority = |url: &str| url.split_once("://").unwrap().1.to_owned();
        let mut plain = TcpStream::connect(authority(&daemon.tcp_url())).await?;
        for message in messages {
            plain.write_all(&framed(message)).await?;
        }
        let stream = TcpStream::connect(authority(&daemon.tls_url())).await?;
        let tls = trusting(&pki, &[])?;
        let mut secret = tls.connector().connect(server_name("127.0.0.1")?, stream).await?;
        daemon.parsed(3).await?;
        secret.write_all(&framed(messages[1])).await?;
        secret.flush().await?;
        let parsed = daemon.parsed(4).await?;
        let first = &parsed[0];
        assert_eq!(
            (first.pri, first.app_name.as_str(), first.procid.as_str()),
            (14, "7a1b", "[APP/PROC/WEB/0]")
        );
        assert_eq!((first.hostname.as_str(), first.msgid.as_str()), ("o.s.a", ""));
        assert_eq!(first.message, b"hello\ttab  ");
        assert_eq!(first.structured_data["gauge@47450"]["value"], "0.23");
        assert_eq!(first.structured_data["tags@47450"]["a.b"], r#"q"]\z"#);
        assert_eq!(first.structured_data["tags@47450"].len(), 3);
        assert_eq!(parsed[1].message, " l\u{e4}ading\r".as_bytes());
        assert_eq!(parsed[2].message.len(), 200_000);
        assert_eq!(parsed[3], parsed[1]);
    }
    Ok(())
}

/// The feed counts pages by offset over the URLs, and ends with an empty page.
#[tokio::test]
async fn a_controller_pages() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = weir_tls::Authority::open_or_create(dir.path())?;
    let (server, client) = (authority.issue("cc", &["cc"])?, authority.issue("client", &[])?);
    let controller = Controller::start(&server).await?;
    let certificate = Arc::new(Pki::new("x")?).issue(&["client"])?;
    controller.set([
        DrainItem::new("a", "syslog://x"),
        DrainItem::new("b", "syslog://x").showing(&certificate).trusting("PEM"),
        DrainItem::new("c", "syslog://x"),
        DrainItem::new("d", "syslog://a"),
    ]);
    let https = crate::Https::new(ClientTls::mutual(&client)?);
    let url = format!("https://{}/internal/v5/syslog_drain_urls", controller.address());
    let mut next = serde_json::json!(0);
    let mut urls = Vec::new();
    while let Some(offset) = next.as_u64() {
        let answer = https.get(&format!("{url}?batch_size=1&next_id={offset}")).await?;
        let page: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let results = page["results"].as_array().unwrap();
        urls.extend(results.iter().map(|item| item["url"].as_str().unwrap().to_owned()));
        if let Some(item) = results.iter().find(|item| item["url"] == "syslog://x") {
            assert_eq!(item["credentials"][0]["apps"][1]["app_id"], "c");
            assert_eq!(item["credentials"][1]["ca"], "PEM");
        }
        next = page["next_id"].clone();
    }
    assert_eq!(
        (urls, controller.requests()),
        (vec!["syslog://a".to_owned(), "syslog://x".to_owned()], 3)
    );
    controller.fail(Some(500));
    assert_eq!(https.get(&url).await?.status, 500);
    Ok(())
}
