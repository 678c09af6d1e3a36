//! Syslog drains over plain TCP.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use weir_drain::{Closed, Outcome, Stage, Unsettled, connect};
use weir_eventually::eventually;

use crate::support::*;

/// Shipments arrive unchanged and in order. Each is written first, and settled when it is old enough. When the sender
/// is dropped, the rest arrives and the connection is closed.
#[tokio::test]
async fn shipments_arrive_and_settle() {
    let (listener, address) = listen().await;
    let binding = binding(&format!("syslog://u:{SECRET}@{address}?t={SECRET}"));
    let (sender, mut outcomes) = connect(&binding, &settings(), &tasks()).await.unwrap();
    let mut server = accept(&listener).await;
    let shipments: Vec<_> = (1..=20).map(|sequence| shipment(sequence, 10, 100)).collect();
    let expected: Vec<u8> = shipments.iter().flat_map(|shipment| shipment.bytes.to_vec()).collect();
    let begin = Instant::now();
    let sending = send_all(sender, shipments);
    let (mut written, mut settled) = (Vec::new(), Vec::new());
    while settled.len() < 20 {
        match next(&mut outcomes).await {
            Outcome::Written(sequence) => written.push(sequence),
            Outcome::Settled(sequence) => settled.push(sequence),
            other => panic!("{other:?}"),
        }
    }
    assert!(begin.elapsed() >= Duration::from_millis(250));
    assert_eq!((&written, &settled), (&(1..=20).collect(), &(1..=20).collect()));
    drop(sending.await.unwrap());
    let (_, failure) = until_broken(&mut outcomes).await;
    assert_eq!(failure.stage, Stage::Closed);
    let mut received = Vec::new();
    timeout(LONG, server.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received == expected);
}

/// The receiver dies in the middle of a stream. That is seen at once, without another write, and after the unsettled
/// shipments are sent again over a new connection no message is missing.
#[tokio::test]
async fn no_message_is_lost_when_a_receiver_dies() {
    let (listener, address) = listen().await;
    let binding = binding(&format!("syslog://{address}"));
    let tasks = tasks();
    let mut received = Vec::new();
    let mut left: Vec<_> = (1..=40).map(|sequence| shipment(sequence, 25, 200)).collect();
    for round in 0..5 {
        let (sender, mut outcomes) = connect(&binding, &settings(), &tasks).await.unwrap();
        let mut server = accept(&listener).await;
        let sending = send_all(sender, left.clone());
        if round < 4 {
            let mut part = vec![0; 40_000];
            timeout(LONG, server.read_exact(&mut part)).await.unwrap().unwrap();
            received.extend(part);
            // A line that is cut in the middle does not count as received.
            received.push(b'\r');
            drop(server);
            let (settled, failure) = until_broken(&mut outcomes).await;
            assert_eq!(failure.stage, Stage::Closed);
            assert!(failure.to_string().starts_with(&format!("`{address}` ")), "{failure}");
            left.retain(|shipment| !settled.contains(&shipment.sequence));
        } else {
            let reading = tokio::spawn(async move {
                let mut rest = Vec::new();
                server.read_to_end(&mut rest).await.map(|_| rest)
            });
            drop(sending.await.unwrap());
            let (settled, _) = until_broken(&mut outcomes).await;
            assert_eq!(settled.len(), left.len());
            received.extend(timeout(LONG, reading).await.unwrap().unwrap().unwrap());
        }
    }
    let text = String::from_utf8(received).unwrap();
    let lines = text
        .split(['\n', '\r'])
        .filter(|line| line.ends_with('x') && line.len() > 200);
    let found: std::collections::BTreeSet<_> = lines.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(found.len(), 40 * 25);
}

/// When a receiver ends the connection, the failure says whether any data was unsettled, and whether the receiver had
/// read all of it, because a close with unread data resets the connection.
#[tokio::test]
async fn the_end_of_a_connection_tells_what_was_read() {
    for (sent, read, unsettled) in [
        (0, 0, Unsettled::Nothing),
        (1, 0, Unsettled::Unknown),
        (1, 1, Unsettled::Read),
        (2, 1, Unsettled::Unknown),
    ] {
        let (listener, address) = listen().await;
        let (mut sender, mut outcomes) = connect(&binding(&format!("syslog://{address}")), &settings(), &tasks())
            .await
            .unwrap();
        let mut server = accept(&listener).await;
        for sequence in 1..=sent {
            let shipment = shipment(sequence, 1, 500);
            sender.send(shipment).await.unwrap();
            assert_eq!(next(&mut outcomes).await, Outcome::Written(sequence));
        }
        let mut whole = vec![0; shipment(1, 1, 500).bytes.len() * read];
        timeout(LONG, server.read_exact(&mut whole)).await.unwrap().unwrap();
        if usize::try_from(sent).unwrap() > read {
            // The data has arrived here, and is not read.
            timeout(LONG, server.peek(&mut [0])).await.unwrap().unwrap();
        }
        drop(server);
        let (_, failure) = until_broken(&mut outcomes).await;
        assert_eq!(
            (failure.stage, failure.unsettled),
            (Stage::Closed, unsettled),
            "{sent} sent, {read} read"
        );
    }
}

/// A receiver accepts the connection and never reads. Data that its kernel does not accept is never settled, `send`
/// waits for the window, and the connection ends at the write time-out.
#[tokio::test]
async fn a_receiver_that_never_reads_is_given_up() {
    let (listener, address) = listen().await;
    let (sender, mut outcomes) = connect(&binding(&format!("syslog://{address}")), &settings(), &tasks())
        .await
        .unwrap();
    let mut server = accept(&listener).await;
    let shipments: Vec<_> = (1..=100).map(|sequence| shipment(sequence, 256, 256)).collect();
    let size: usize = shipments[0].bytes.len();
    let sending = send_all(sender, shipments);
    let (settled, failure) = until_broken(&mut outcomes).await;
    assert_eq!(failure.stage, Stage::Write, "{failure}");
    assert_eq!(failure.to_string(), format!("`{address}` has taken nothing for 1s"));
    drop(sending);
    drop(outcomes);
    // Everything that was settled has arrived; the kernel delivers the rest of its buffer.
    let mut received = Vec::new();
    timeout(LONG, server.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(
        received.len() >= settled.len() * size,
        "{} < {}",
        received.len(),
        settled.len() * size
    );
    assert!(settled.len() < 40, "{}", settled.len());
}

/// A few lines for a receiver that does not read are not settled before its kernel has them, however long that takes.
#[tokio::test]
async fn nothing_settles_that_has_not_arrived() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = tasks();
    let (mut sender, mut outcomes) = connect(&binding(&format!("syslog://{address}")), &settings(), &tasks)
        .await
        .unwrap();
    let mut server = accept(&listener).await;
    let shipments: Vec<_> = (1..=20).map(|sequence| shipment(sequence, 10, 390)).collect();
    let size = shipments[0].bytes.len();
    for shipment in shipments {
        sender.send(shipment).await.unwrap();
    }
    let mut settled = 0;
    let watching = async {
        loop {
            match outcomes.next().await {
                Outcome::Settled(_) => settled += 1,
                Outcome::Broken(failure) => panic!("{failure}"),
                _ => {}
            }
        }
    };
    _ = timeout(Duration::from_millis(900), watching).await;
    assert!(settled < 10, "{settled}");
    let mut received = vec![0; 20 * size];
    timeout(LONG, server.read_exact(&mut received)).await.unwrap().unwrap();
    while settled < 20 {
        if let Outcome::Settled(_) = next(&mut outcomes).await {
            settled += 1;
        }
    }
}

/// A reset is reported at once, and `send` fails.
#[tokio::test]
async fn a_reset_is_seen_at_once() {
    let (listener, address) = listen().await;
    let (mut sender, mut outcomes) = connect(&binding(&format!("syslog://{address}")), &settings(), &tasks())
        .await
        .unwrap();
    let server = accept(&listener).await;
    server.set_zero_linger().unwrap();
    drop(server);
    let (settled, failure) = until_broken(&mut outcomes).await;
    assert!(settled.is_empty());
    assert_eq!(failure.to_string(), format!("`{address}` reset the connection"));
    assert_eq!(sender.send(shipment(1, 1, 1)).await, Err(Closed));
    assert!(timeout(Duration::from_millis(50), outcomes.next()).await.is_err());
}

/// Bytes that a receiver sends are discarded.
#[tokio::test]
async fn bytes_from_the_receiver_are_discarded() {
    let (listener, address) = listen().await;
    let (mut sender, mut outcomes) = connect(&binding(&format!("syslog://{address}")), &settings(), &tasks())
        .await
        .unwrap();
    let mut server = accept(&listener).await;
    let talk = vec![b'!'; 4 << 20];
    timeout(LONG, server.write_all(&talk)).await.unwrap().unwrap();
    sender.send(shipment(1, 1, 1)).await.unwrap();
    assert_eq!(next(&mut outcomes).await, Outcome::Written(1));
    assert_eq!(next(&mut outcomes).await, Outcome::Settled(1));
}

/// Dropping the outcomes ends the connection. A shipment larger than the window is sent.
#[tokio::test]
async fn dropping_the_outcomes_ends_the_connection() {
    let (listener, address) = listen().await;
    let settings = weir_drain::Settings {
        resend_window: 64 * 1024,
        ..settings()
    };
    let tasks = tasks();
    let (mut sender, mut outcomes) = connect(&binding(&format!("syslog://{address}")), &settings, &tasks)
        .await
        .unwrap();
    let mut server = accept(&listener).await;
    let large = shipment(1, 1000, 1000);
    let mut received = vec![0; large.bytes.len()];
    sender.send(large).await.unwrap();
    timeout(LONG, server.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(next(&mut outcomes).await, Outcome::Written(1));
    drop(outcomes);
    assert_eq!(timeout(LONG, server.read(&mut [0])).await.unwrap().unwrap(), 0);
    eventually("the task ends", || tasks.pending().is_empty()).await;
    drop(sender);
}

/// One connection carries more than a hundred thousand messages that are handed over as fast as they are taken.
#[tokio::test]
async fn one_connection_carries_many() {
    let (listener, address) = listen().await;
    let (sender, mut outcomes) = connect(&binding(&format!("syslog://{address}")), &settings(), &tasks())
        .await
        .unwrap();
    let mut server = accept(&listener).await.into_std().unwrap();
    server.set_nonblocking(false).unwrap();
    let reading = std::thread::spawn({
        move || {
            let mut total = 0;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                match std::io::Read::read(&mut server, &mut buffer) {
                    Ok(0) | Err(_) => return total,
                    Ok(count) => total += count,
                }
            }
        }
    });
    let shipments: Vec<_> = (1..=400).map(|sequence| shipment(sequence, 320, 192)).collect();
    let size: usize = shipments.iter().map(|shipment| shipment.bytes.len()).sum();
    let sending = send_all(sender, shipments);
    let mut settled = 0;
    while settled < 400 {
        if let Outcome::Settled(_) = next(&mut outcomes).await {
            settled += 1;
        }
    }
    drop(sending.await.unwrap());
    until_broken(&mut outcomes).await;
    assert_eq!(reading.join().unwrap(), size);
}
