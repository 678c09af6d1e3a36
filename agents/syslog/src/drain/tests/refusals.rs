//! Tests with receivers that end connections: at certain messages, after a number of messages, or always.

use weir_eventually::eventually;

use super::harness::{self, Agent, Behaviour, Receiver, lines, log, parcel};
use super::*;

/// Returns a line with this number and `letters` letters after it.
fn long(number: i64, letters: usize) -> Vec<u8> {
    log("app", "0", &format!("{number} {}", "x".repeat(letters)), None)
}

/// Returns the numbers that arrived, each once, in order.
fn distinct(receiver: &Receiver) -> Vec<i64> {
    let numbers: BTreeSet<i64> = receiver.numbers().into_iter().collect();
    numbers.into_iter().collect()
}

/// Waits until `count` envelopes are counted as sent or lost.
async fn all_booked(drain: &Drain, count: u64) {
    eventually("the counts", || drain.account.sent() + drain.account.lost() == count).await;
}

/// Sends lines of which those at `bad` are too long for the receiver. Checks that all others arrive, and that the bad
/// ones are counted once each, with a reason.
async fn refuses(count: i64, bad: &[i64]) {
    let receiver = Receiver::start(0, Behaviour::Refuses(8192)).await;
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&receiver.binding("app"));
    let envelopes = (0..count).map(|number| long(number, if bad.contains(&number) { 9000 } else { 10 }));
    drain.push(parcel(&envelopes.collect::<Vec<_>>()), agent.now());
    // Without a further line it cannot be known whether the receiver is down or refuses the last message.
    drain.push(lines("app", count, 1), agent.now());
    let good: Vec<i64> = (0..=count).filter(|number| !bad.contains(number)).collect();
    eventually("the good lines", || distinct(&receiver) == good).await;
    all_booked(&drain, u64::try_from(count).unwrap() + 1).await;
    assert_eq!(agent.lost_for("rejected"), bad.len() as u64);
    let told: u64 = drain.account.refused().iter().map(|(_, count)| count).sum();
    assert_eq!(told, bad.len() as u64);
    assert!(
        drain.account.refused()[0].0.contains("9 kB"),
        "{:?}",
        drain.account.refused()
    );
    eventually("flowing", || drain.status.snapshot().state == State::Flowing).await;
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// A message at which the receiver ends its connections is rejected, wherever it is, and all others arrive.
#[tokio::test]
async fn a_message_that_ends_connections_is_set_aside() {
    refuses(51, &[0]).await;
    refuses(50, &[23]).await;
    refuses(600, &[7, 8, 300, 599]).await;
}

/// Many bad lines in a row are rejected, and all others arrive.
#[tokio::test]
async fn many_of_them_in_a_row_are_set_aside() {
    refuses(60, &(5..55).collect::<Vec<_>>()).await;
}

/// In an aggregate drain, a bad line is counted as a loss of its own app.
#[tokio::test]
async fn through_an_aggregate_drain_it_costs_its_own_app() {
    let receiver = Receiver::start(0, Behaviour::Refuses(8192)).await;
    let agent = Agent::start(harness::terms());
    let binding = receiver.binding("app");
    let drain = agent.drain(&Binding::new(binding.url, None, binding.credentials));
    let line = |number: i64| match number {
        20 | 40 => log("bad", "0", &format!("{number} {}", "x".repeat(9000)), None),
        _ => log(
            if number % 2 == 0 { "bad" } else { "good" },
            "0",
            &number.to_string(),
            None,
        ),
    };
    drain.push(parcel(&(0..80).map(line).collect::<Vec<_>>()), agent.now());
    let good: Vec<i64> = (0..80).filter(|number| ![20, 40].contains(number)).collect();
    eventually("the good lines", || distinct(&receiver) == good).await;
    all_booked(&drain, 80).await;
    let reports = agent.env.ledger.take_reports();
    let rejected = reports.iter().filter(|report| report.reason == "rejected");
    let rejected: Vec<_> = rejected
        .map(|report| (report.source_id.as_str(), report.count))
        .collect();
    assert_eq!(rejected, [("bad", 2)]);
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// Records that are damaged on disk while the agent is down are counted, and all others are delivered.
#[tokio::test]
async fn damage_on_disk_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let place = harness::free_port();
    let binding = harness::binding(place, "app", "");
    let agent = Agent::start_in(harness::terms(), dir.path());
    let drain = agent.drain(&binding);
    for round in 0..40 {
        drain.push(lines("app", round * 100, 100), agent.now());
        let count = u64::try_from((round + 1) * 100).unwrap();
        eventually("on disk", || harness::spilled(&agent.folder(&drain)) == count).await;
    }
    agent.stop(&[&drain]).await;
    let segment = agent.folder(&drain).join("0000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    // About at the length of the second record. The records cannot be followed from here on.
    let middle = bytes.len() / 2;
    bytes[100..middle].fill(0xff);
    fs::write(&segment, bytes).unwrap();
    let receiver = Receiver::start(place, Behaviour::Reads).await;
    let agent = Agent::start_in(harness::terms(), dir.path());
    let drain = agent.drain_found(&binding, true);
    eventually("the last line", || receiver.numbers().last() == Some(&3999)).await;
    all_booked(&drain, 4000).await;
    let lost = agent.lost_for("spill_failed");
    assert_eq!(receiver.count() as u64 + lost, 4000);
    assert!((1000..3000).contains(&lost), "{lost}");
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// A receiver that ends each connection after some messages gets all of them, and none is counted as lost.
#[tokio::test]
async fn a_receiver_that_ends_connections_gets_everything() {
    for (most, count) in [(1, 40), (2, 20), (5, 60), (100, 1000)] {
        let receiver = Receiver::start(0, Behaviour::EndsAfter(most)).await;
        let agent = Agent::start(harness::terms());
        let drain = agent.drain(&receiver.binding("app"));
        drain.push(lines("app", 0, count), agent.now());
        eventually("all lines", || distinct(&receiver) == (0..count).collect::<Vec<_>>()).await;
        all_booked(&drain, u64::try_from(count).unwrap()).await;
        assert_eq!(drain.account.lost(), 0, "after {most}");
        agent.assert_balanced(&[&drain]);
        agent.stop(&[&drain]).await;
    }
}

/// A receiver that accepts connections and ends them is treated as down, for however long, and no message is rejected.
#[tokio::test]
async fn an_outage_rejects_nothing() {
    // Connections that end at once are followed by the longer pauses of an outage, so there are fewer of them.
    for (behaviour, connections) in [(Behaviour::EndsOnData, 20), (Behaviour::EndsAtOnce, 5)] {
        let receiver = Receiver::start(0, behaviour).await;
        let agent = Agent::start(harness::terms());
        let drain = agent.drain(&receiver.binding("app"));
        drain.push(lines("app", 0, 300), agent.now());
        eventually("many connections", || receiver.connections() >= connections).await;
        drain.push(lines("app", 300, 300), agent.now());
        let before = receiver.connections();
        eventually("some more", || receiver.connections() >= before + 2).await;
        receiver.behave(Behaviour::Reads);
        eventually("all lines", || distinct(&receiver) == (0..600).collect::<Vec<_>>()).await;
        all_booked(&drain, 600).await;
        assert_eq!(drain.account.lost(), 0, "{behaviour:?}");
        agent.assert_balanced(&[&drain]);
        agent.stop(&[&drain]).await;
    }
}

/// Suspects are written to disk when the agent stops, and the next run delivers them.
#[tokio::test]
async fn suspects_survive_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(0, Behaviour::EndsOnData).await;
    let binding = receiver.binding("app");
    let agent = Agent::start_in(harness::terms(), dir.path());
    let drain = agent.drain(&binding);
    drain.push(lines("app", 0, 50), agent.now());
    eventually("some suspects", || receiver.connections() >= 12).await;
    agent.stop(&[&drain]).await;
    assert_eq!(drain.account.lost(), 0);
    receiver.behave(Behaviour::Reads);
    let agent = Agent::start_in(harness::terms(), dir.path());
    let drain = agent.drain_found(&binding, true);
    eventually("all lines", || distinct(&receiver) == (0..50).collect::<Vec<_>>()).await;
    all_booked(&drain, 50).await;
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// A line without a syslog form is counted once, however often connections break, and each reason is kept.
#[tokio::test]
async fn a_refused_line_is_counted_once() {
    let receiver = Receiver::start(0, Behaviour::EndsAtOnce).await;
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&receiver.binding("app"));
    // What is on disk is read again for each connection.
    drain.push(lines("app", 0, 10), agent.now());
    eventually("on disk", || harness::spilled(&agent.folder(&drain)) == 10).await;
    drain.push(
        parcel(&[
            log("app", "0", "10", None),
            log("app", "0", "never", Some(("bad name", "value"))),
            log("app", "ä", "never", None),
            log("app", "0", "11", None),
        ]),
        agent.now(),
    );
    eventually("on disk", || harness::spilled(&agent.folder(&drain)) == 14).await;
    let before = receiver.connections();
    eventually("some connections", || receiver.connections() >= before + 2).await;
    receiver.behave(Behaviour::EndsOnData);
    let before = receiver.connections();
    eventually("some more", || receiver.connections() >= before + 10).await;
    receiver.behave(Behaviour::Reads);
    eventually("all lines", || distinct(&receiver) == (0..12).collect::<Vec<_>>()).await;
    all_booked(&drain, 14).await;
    assert_eq!(agent.lost_for("unconvertible"), 2);
    let counts: Vec<u64> = drain.account.refused().iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1, 1]);
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}
