//! Plain TCP.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use weir_drain::{Closed, Outcome, Stage, Unsettled, connect};

use crate::support::*;

/// What is sent arrives as it is, in order; each shipment is written and then settled, not before it is old enough. When
/// the sender is dropped, the rest arrives and the connection is closed.
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

/// The receiver dies in the middle of a stream: its end is seen at once, without another write, and what is sent again on
/// a new connection fills the gap.
#[tokio::test]
async fn a_receiver_that_dies_costs_nothing() {
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
            // A line cut in the middle is not received.
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

/// When a receiver ends the connection it is known whether anything was written, and whether all of it was read: what is
/// unread resets a connection.
#[tokio::test]
async fn the_end_says_what_was_read() {
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
            // What was written is here, and stays unread.
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

/// A receiver that accepts and never reads: what its kernel does not take is never settled, sending waits at the window,
/// and the connection is given up at the write time-out.
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
    // All that was settled is in the receiver's hands; our kernel delivers what else it has.
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

/// Few lines for a receiver that does not read: nothing is settled that its kernel does not have, however long it takes.
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

/// A reset says so, and the sender learns that it is over.
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

/// What a receiver says does not matter.
#[tokio::test]
async fn a_talkative_receiver_is_read() {
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

/// Dropping the outcomes ends the connection; a shipment larger than the window still goes.
#[tokio::test]
async fn nobody_listening_ends_it() {
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

/// 50,000 messages of 200 bytes a second and more go through one connection with little work.
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
    let begin = Instant::now();
    let sending = send_all(sender, shipments);
    let mut settled = 0;
    while settled < 400 {
        if let Outcome::Settled(_) = next(&mut outcomes).await {
            settled += 1;
        }
    }
    let rate = 400.0 * 320.0 / begin.elapsed().as_secs_f64();
    drop(sending.await.unwrap());
    until_broken(&mut outcomes).await;
    assert_eq!(reading.join().unwrap(), size);
    println!("{rate:.0} messages a second");
    assert!(rate > 50_000.0, "{rate}");
}
