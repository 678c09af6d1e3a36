//! Receivers that end connections: at a message, after so many, always.

use super::harness::{self, Agent, Behaviour, Receiver, eventually, lines, log, parcel};
use super::*;

/// A line with this number and so many letters behind it.
fn long(number: i64, letters: usize) -> Vec<u8> {
    log("app", "0", &format!("{number} {}", "x".repeat(letters)), None)
}

/// The numbers that arrived, each once, in order.
fn distinct(receiver: &Receiver) -> Vec<i64> {
    let numbers: BTreeSet<i64> = receiver.numbers().into_iter().collect();
    numbers.into_iter().collect()
}

/// Waits until everything is booked.
async fn all_booked(drain: &Drain, count: u64) {
    eventually("books", || drain.account.sent() + drain.account.lost() == count).await;
}

/// Pushes lines of which those at `bad` are too long for the receiver, and checks that all others arrive and those are
/// counted once each, with a reason.
async fn refuses(count: i64, bad: &[i64]) {
    let receiver = Receiver::start(0, Behaviour::Refuses(8192)).await;
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&receiver.binding("app"));
    let envelopes = (0..count).map(|number| long(number, if bad.contains(&number) { 9000 } else { 10 }));
    drain.push(parcel(&envelopes.collect::<Vec<_>>()), agent.now());
    // Without others behind it nothing tells whether the drain is out, or refuses the message.
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

/// A message at which the receiver ends its connections costs itself, wherever it is.
#[tokio::test]
async fn a_message_that_ends_connections_is_set_aside() {
    refuses(51, &[0]).await;
    refuses(50, &[23]).await;
    refuses(600, &[7, 8, 300, 599]).await;
}

/// A line that comes in many pieces, none of which the receiver takes, costs itself.
#[tokio::test]
async fn many_of_them_in_a_row_are_set_aside() {
    refuses(60, &(5..55).collect::<Vec<_>>()).await;
}

/// In a drain of everything, one app's line costs that app, and nobody else.
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

/// What is damaged on disk while the agent is down is counted, and everything else arrives.
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
    // The length of the second record, about: nothing can be walked from here on.
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

/// A receiver that ends each connection after so many messages gets all of them, and none counts as lost.
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

/// A drain that accepts connections and ends them is out: however long it lasts, whatever it looks like, nothing is set
/// aside.
#[tokio::test]
async fn an_outage_rejects_nothing() {
    // The pauses between connections that end at once are those of an outage.
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

/// What is set aside when the agent stops is delivered by the next one.
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

/// A line without a form is counted once and told once, however often connections break; each reason is told.
#[tokio::test]
async fn a_refused_line_is_counted_once() {
    let receiver = Receiver::start(0, Behaviour::EndsAtOnce).await;
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&receiver.binding("app"));
    // What is on disk is read again at each connection.
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
