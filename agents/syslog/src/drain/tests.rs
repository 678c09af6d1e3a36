//! Tests of one or two drains with real sockets.

mod harness;
mod refusals;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use weir_eventually::eventually;
use weir_flow::Tracker;

use super::*;
use crate::status::State;
use harness::{Agent, Behaviour, Receiver, lines, log, parcel};

/// Lines arrive in order, once and soon. Producers get their acknowledgements, and the ledger balances.
#[tokio::test]
async fn lines_flow() {
    let receiver = Receiver::start(0, Behaviour::Reads).await;
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&receiver.binding("app"));
    assert_eq!(drain.status.snapshot().state, State::Connecting);
    let tracker = Tracker::new();
    for round in 0..100 {
        let mut parcel = lines("app", round * 50, 50);
        parcel.receipts.push(tracker.receipt(u64::try_from(round).unwrap() + 1));
        drain.push(parcel, agent.now());
    }
    eventually("all lines", || receiver.count() == 5000).await;
    assert_eq!(receiver.numbers(), (0..5000).collect::<Vec<_>>());
    eventually("settled", || drain.account.sent() == 5000).await;
    assert_eq!(tracker.progress().taken, 100);
    eventually("flowing", || {
        let status = drain.status.snapshot();
        status.state == State::Flowing && status.waiting_lines == 0
    })
    .await;
    agent.assert_balanced(&[&drain]);
    // A line for an idle drain is not gathered with others: none come.
    drain.push(lines("app", 5000, 1), agent.now());
    eventually("one more", || receiver.count() == 5001).await;
    assert!(!agent.folder(&drain).exists(), "nothing went to disk");
    agent.stop(&[&drain]).await;
}

/// While a drain is down its lines go to disk and producers do not wait. When it is up again, the lines arrive in
/// order.
#[tokio::test]
async fn a_drain_that_is_away_misses_nothing() {
    let place = harness::free_port();
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&harness::binding(place, "app", ""));
    let tracker = Tracker::new();
    for round in 0..60 {
        let mut parcel = lines("app", round * 100, 100);
        parcel.receipts.push(tracker.receipt(u64::try_from(round).unwrap() + 1));
        drain.push(parcel, agent.now());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eventually("receipts", || tracker.progress().taken == 60).await;
    assert_eq!(tracker.progress().lost, 0);
    assert!(agent.folder(&drain).exists());
    let status = drain.status.snapshot();
    assert_eq!(status.state, State::Retrying);
    assert!(status.last_error.is_some() && status.next_try.is_some());
    eventually("numbers", || drain.status.snapshot().waiting_lines == 6000).await;
    let receiver = Receiver::start(place, Behaviour::Reads).await;
    for round in 60..80 {
        drain.push(lines("app", round * 100, 100), agent.now());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("all lines", || receiver.count() >= 8000).await;
    assert_eq!(receiver.numbers(), (0..8000).collect::<Vec<_>>());
    eventually("flowing", || drain.status.snapshot().state == State::Flowing).await;
    eventually("settled", || drain.account.sent() == 8000).await;
    eventually("a clean disk", || !agent.folder(&drain).exists()).await;
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// If connections break repeatedly under load, no line is missing, and only few lines arrive twice or out of order.
#[tokio::test]
async fn broken_connections_repeat_a_little() {
    let mut receiver = Receiver::start(0, Behaviour::Reads).await;
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&receiver.binding("app"));
    let mut numbers = Vec::new();
    let mut next = 0;
    for _ in 0..3 {
        for _ in 0..40 {
            drain.push(lines("app", next, 20), agent.now());
            next += 20;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let place = receiver.port();
        numbers.extend(receiver.kill().await);
        for _ in 0..20 {
            drain.push(lines("app", next, 20), agent.now());
            next += 20;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        receiver = Receiver::start(place, Behaviour::Reads).await;
        // So at the next break recent lines are repeated, and not a whole backlog.
        eventually("caught up", || receiver.numbers().last() == Some(&(next - 1))).await;
    }
    eventually("the last line", || receiver.numbers().last() == Some(&(next - 1))).await;
    numbers.extend(receiver.numbers());
    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(distinct.len() as i64, next, "missing lines");
    // 2,000 lines a second for a quarter of a second, three times, and some reserve.
    let twice = numbers.len() - distinct.len();
    assert!(twice <= 3 * 1000, "{twice} lines twice");
    harness::assert_in_order(&numbers);
    eventually("settled", || drain.account.sent() == u64::try_from(next).unwrap()).await;
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// If the agent is killed while the drain is down, and again while the drain catches up, every line arrives.
#[test]
fn a_killed_agent_continues_after_its_restart() {
    let dir = tempfile::tempdir().unwrap();
    let outside = harness::runtime();
    let place = harness::free_port();
    let binding = harness::binding(place, "app", "");
    let run = |found, work: &dyn Fn(&tokio::runtime::Runtime, &Agent, &Arc<Drain>)| {
        let runtime = harness::runtime();
        let agent = runtime.block_on(async { Agent::start_in(harness::terms(), dir.path()) });
        let drain = runtime.block_on(async { agent.drain_found(&binding, found) });
        work(&runtime, &agent, &drain);
        // This is as close to a kill as a process can come with a part of itself.
        runtime.shutdown_background();
    };
    run(false, &|runtime, agent, drain| {
        runtime.block_on(async {
            for round in 0..100 {
                drain.push(lines("app", round * 100, 100), agent.now());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            eventually("on disk", || harness::spilled(&agent.folder(drain)) == 10_000).await;
        });
    });
    let receiver = outside.block_on(Receiver::start(place, Behaviour::Slow(20_000)));
    run(true, &|runtime, _, drain| {
        runtime.block_on(async {
            eventually("recovered", || drain.account.recovered() == 10_000).await;
            eventually("some lines", || receiver.count() > 2000).await;
        });
    });
    receiver.speed_up();
    run(true, &|runtime, agent, drain| {
        runtime.block_on(async {
            drain.push(lines("app", 10_000, 10), agent.now());
            eventually("the last line", || receiver.numbers().last() == Some(&10_009)).await;
            eventually("a clean disk", || !agent.folder(drain).exists()).await;
            agent.assert_balanced(&[drain]);
            agent.stop(&[drain]).await;
        });
    });
    let numbers = receiver.numbers();
    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), 10_010);
    let twice = numbers.len() - distinct.len();
    println!("{twice} lines twice");
    outside.shutdown_background();
}

/// If the budget on disk is used up, the oldest lines are lost and counted, and the newest arrive.
#[tokio::test]
async fn the_oldest_go_at_the_budget() {
    let terms = Terms {
        spill: 256 << 10,
        ..harness::terms()
    };
    let place = harness::free_port();
    let agent = Agent::start(terms);
    let drain = agent.drain(&harness::binding(place, "app", ""));
    for round in 0..200 {
        drain.push(lines("app", round * 100, 100), agent.now());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eventually("losses", || drain.account.lost() > 0).await;
    let receiver = Receiver::start(place, Behaviour::Reads).await;
    eventually("the last line", || receiver.numbers().last() == Some(&19_999)).await;
    eventually("settled", || drain.status.snapshot().waiting_lines == 0).await;
    let numbers = receiver.numbers();
    let lost = drain.account.lost();
    assert!(lost > 5000, "{lost}");
    assert_eq!(numbers, (i64::try_from(lost).unwrap()..20_000).collect::<Vec<_>>());
    assert_eq!(agent.lost_for("spill_full"), lost);
    eventually("the counts", || drain.account.sent() + lost == 20_000).await;
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// If the disk cannot be written to, memory keeps the newest lines, lost lines are counted, and producers do not wait.
#[tokio::test]
async fn without_a_disk_memory_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("spill"), "a file is in the way").unwrap();
    let place = harness::free_port();
    let agent = Agent::start_in(harness::terms(), dir.path());
    let drain = agent.drain(&harness::binding(place, "app", ""));
    let tracker = Tracker::new();
    for round in 0..300 {
        let mut parcel = lines("app", round * 100, 100);
        parcel.receipts.push(tracker.receipt(u64::try_from(round).unwrap() + 1));
        drain.push(parcel, agent.now());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    eventually("losses", || agent.lost_for("spill_failed") > 0).await;
    eventually("what is taken", || tracker.progress().taken == 300).await;
    assert!(
        tracker.progress().handed_on < 300,
        "what is in memory only is not handed on"
    );
    assert!(drain.status.snapshot().disk_error.is_some());
    let receiver = Receiver::start(place, Behaviour::Reads).await;
    eventually("the last line", || receiver.numbers().last() == Some(&29_999)).await;
    let lost = drain.account.lost();
    assert_eq!(
        receiver.numbers(),
        (i64::try_from(lost).unwrap()..30_000).collect::<Vec<_>>()
    );
    // A line that was reported as taken before it was lost cannot be reported as lost any more.
    assert!(tracker.progress().lost <= lost);
    eventually("settled", || drain.account.sent() + lost == 30_000).await;
    agent.assert_balanced(&[&drain]);
    fs::remove_file(dir.path().join("spill")).unwrap();
    agent.stop(&[&drain]).await;
}

/// A drain that accepts connections and never reads gets its lines on disk, and delays neither producers nor other
/// drains.
#[tokio::test]
async fn a_drain_that_never_reads_does_not_delay_others() {
    let (stuck, good) = (
        Receiver::start(0, Behaviour::NeverReads).await,
        Receiver::start(0, Behaviour::Reads).await,
    );
    let agent = Agent::start(harness::terms());
    let (bad, neighbour) = (agent.drain(&stuck.binding("bad")), agent.drain(&good.binding("good")));
    let (bad_tracker, tracker) = (Tracker::new(), Tracker::new());
    for round in 0..300 {
        let sequence = u64::try_from(round).unwrap() + 1;
        let mut parcel = harness::long_lines("bad", round * 50, 50);
        parcel.receipts.push(bad_tracker.receipt(sequence));
        bad.push(parcel, agent.now());
        let mut parcel = lines("good", round * 50, 50);
        parcel.receipts.push(tracker.receipt(sequence));
        neighbour.push(parcel, agent.now());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eventually("the neighbour's lines", || good.count() == 15_000).await;
    assert_eq!(good.numbers(), (0..15_000).collect::<Vec<_>>());
    eventually("its producers", || tracker.progress().handed_on == 300).await;
    eventually("the others", || bad_tracker.progress().handed_on == 300).await;
    assert_eq!(bad.account.lost() + bad_tracker.progress().lost, 0);
    assert_eq!(bad.status.snapshot().state, State::Spilling);
    stuck.speed_up();
    eventually("everything", || stuck.count() >= 15_000).await;
    assert_eq!(stuck.numbers(), (0..15_000).collect::<Vec<_>>());
    eventually("the counts", || {
        bad.account.sent() == 15_000 && neighbour.account.sent() == 15_000
    })
    .await;
    agent.assert_balanced(&[&bad, &neighbour]);
    agent.stop(&[&bad, &neighbour]).await;
}

/// An envelope that has no syslog form is counted at once, and others are not affected.
#[tokio::test]
async fn an_unconvertible_envelope_costs_only_itself() {
    let receiver = Receiver::start(0, Behaviour::Reads).await;
    let agent = Agent::start(harness::terms());
    let drain = agent.drain(&receiver.binding("app"));
    let bad = log("app", "0", "never", Some(("bad name", "value")));
    let parcel = parcel(&[log("app", "0", "0", None), bad, log("app", "0", "1", None)]);
    drain.push(parcel, agent.now());
    eventually("two lines", || receiver.count() == 2).await;
    eventually("the counts", || drain.account.sent() == 2).await;
    assert_eq!(agent.lost_for("unconvertible"), 1);
    assert!(drain.account.refused()[0].0.contains("tag"));
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// A removed binding has some time to deliver. What is left then is counted, and nothing stays on disk.
#[tokio::test]
async fn a_removed_binding_leaves_nothing() {
    let agent = Agent::start(harness::terms());
    let receiver = Receiver::start(0, Behaviour::Reads).await;
    let there = agent.drain(&receiver.binding("there"));
    let away = agent.drain(&harness::binding(harness::free_port(), "away", ""));
    for drain in [&there, &away] {
        let source = drain.binding().source_id().unwrap().to_owned();
        drain.push(lines(&source, 0, 500), agent.now());
    }
    eventually("on disk", || harness::spilled(&agent.folder(&away)) == 500).await;
    let soon = agent.now() + Duration::from_millis(300);
    there.order(Order::Remove(agent.now() + Duration::from_secs(60)));
    away.order(Order::Remove(soon));
    there.ended().await;
    assert_eq!(receiver.count(), 500);
    away.ended().await;
    assert_eq!(away.status.snapshot().state, State::Removed);
    assert_eq!((away.account.lost(), agent.lost_for("consumer_gone")), (500, 500));
    assert!(!agent.folder(&away).exists());
    // A line that comes too late is counted as well.
    away.push(lines("away", 0, 3), agent.now());
    assert_eq!(away.account.lost(), 503);
    agent.assert_balanced(&[&there, &away]);
}

/// If credentials are rotated while lines wait, the lines are delivered with the new ones.
#[tokio::test]
async fn rotated_credentials_keep_what_waits() {
    let agent = Agent::start(harness::terms());
    let place = harness::free_port();
    let old = harness::binding(place, "app", "");
    let mut new = old.clone();
    new.credentials.ca = Some("another".to_owned());
    let new = Binding::new(new.url, new.app, new.credentials);
    assert!(old.rotation_id == new.rotation_id && old.id != new.id);
    let drain = agent.drain(&old);
    drain.push(lines("app", 0, 500), agent.now());
    eventually("on disk", || harness::spilled(&agent.folder(&drain)) == 500).await;
    let before = agent.folder(&drain);
    drain.rebind(Arc::new(new));
    eventually("moved", || !before.exists() && agent.folder(&drain).exists()).await;
    let receiver = Receiver::start(place, Behaviour::Reads).await;
    eventually("all lines", || receiver.count() == 500).await;
    agent.stop(&[&drain]).await;
}

/// If the agent stops, waiting lines go to disk, and the next run delivers them first.
#[tokio::test]
async fn what_waits_survives_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let place = harness::free_port();
    let binding = harness::binding(place, "app", "");
    let agent = Agent::start_in(harness::terms(), dir.path());
    let drain = agent.drain(&binding);
    drain.push(lines("app", 0, 700), agent.now());
    agent.stop(&[&drain]).await;
    assert_eq!(harness::spilled(&agent.folder(&drain)), 700);
    assert_eq!(drain.account.lost(), 0);
    drop(drain);

    let receiver = Receiver::start(place, Behaviour::Reads).await;
    let agent = Agent::start_in(harness::terms(), dir.path());
    let drain = agent.drain_found(&binding, true);
    drain.push(lines("app", 700, 100), agent.now());
    eventually("all lines", || receiver.count() == 800).await;
    assert_eq!(receiver.numbers(), (0..800).collect::<Vec<_>>());
    eventually("settled", || drain.account.sent() == 800).await;
    agent.assert_balanced(&[&drain]);
    agent.stop(&[&drain]).await;
}

/// An idle connection is closed, and opened again when there is something to send.
#[tokio::test]
async fn idle_connections_end() {
    let terms = Terms {
        idle_timeout: Duration::from_millis(600),
        ..harness::terms()
    };
    let receiver = Receiver::start(0, Behaviour::Reads).await;
    let agent = Agent::start(terms);
    let drain = agent.drain(&receiver.binding("app"));
    for round in 0..2 {
        drain.push(lines("app", round, 1), agent.now());
        eventually("a line", || receiver.count() == usize::try_from(round).unwrap() + 1).await;
        assert!(drain.is_connected());
        eventually("no connection", || !drain.is_connected()).await;
        assert_eq!(drain.status.snapshot().state, State::Flowing);
    }
    assert_eq!(receiver.connections(), 2);
    agent.stop(&[&drain]).await;
}

/// In a random sequence of outages, slow readers, restarts, rotated credentials and bursts, each line arrives, and in
/// order except for repeated ones.
#[test]
fn whatever_happens() {
    let seed: u64 = std::env::var("SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let outside = harness::runtime();
    let terms = Terms {
        memory: weir_flow::Capacity {
            envelopes: 4000,
            bytes: 1 << 20,
        },
        spill_after: Duration::from_millis(100),
        drain: Duration::from_millis(300),
        ..harness::terms()
    };
    let mut binding = harness::binding(harness::free_port(), "app", "");
    let place = binding.url.port();
    let mut receiver: Option<Receiver> = None;
    let mut numbers: Vec<i64> = Vec::new();
    let mut next = 0;
    let mut folder_is_there = false;
    for _ in 0..4 {
        let runtime = harness::runtime();
        let agent = runtime.block_on(async { Agent::start_in(terms, dir.path()) });
        let drain = runtime.block_on(async { agent.drain_found(&binding, folder_is_there) });
        for _ in 0..random.random_range(10..25) {
            let what = random.random_range(0..10);
            if std::env::var("SEED").is_ok() {
                println!("step {what} at line {next}, {:?}", drain.status.snapshot());
            }
            match what {
                0 | 1 => match receiver.take() {
                    Some(receiver) => {
                        receiver.speed_up();
                        // Lines that a slow reader has not read would be lost with it.
                        std::thread::sleep(Duration::from_millis(100));
                        numbers.extend(outside.block_on(receiver.kill()));
                    }
                    None => receiver = Some(outside.block_on(Receiver::start(place, Behaviour::Reads))),
                },
                2 => {
                    if let Some(receiver) = &receiver {
                        receiver.set_speed(100_000);
                    }
                }
                3 => {
                    if let Some(receiver) = &receiver {
                        receiver.speed_up();
                    }
                }
                4 => {
                    let mut credentials = binding.credentials.clone();
                    credentials.ca = Some(random.random::<u64>().to_string());
                    binding = Binding::new(binding.url.clone(), binding.app.clone(), credentials);
                    drain.rebind(Arc::new(binding.clone()));
                }
                _ => {
                    for _ in 0..random.random_range(1..20) {
                        let count = random.random_range(1..200);
                        runtime.block_on(async { drain.push(lines("app", next, count), agent.now()) });
                        next += count;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(random.random_range(1..100)));
        }
        runtime.block_on(async {
            agent.stop(&[&drain]).await;
            assert_eq!(drain.account.lost(), 0);
            folder_is_there = agent.folder(&drain).exists();
        });
        runtime.shutdown_background();
    }
    let receiver = receiver.unwrap_or_else(|| outside.block_on(Receiver::start(place, Behaviour::Reads)));
    receiver.speed_up();
    outside.block_on(async {
        let agent = Agent::start_in(terms, dir.path());
        let drain = agent.drain_found(&binding, folder_is_there);
        drain.push(lines("app", next, 1), agent.now());
        eventually("the last line", || receiver.numbers().last() == Some(&next)).await;
        eventually("settled", || drain.status.snapshot().waiting_lines == 0).await;
        agent.stop(&[&drain]).await;
    });
    numbers.extend(receiver.numbers());
    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
    harness::assert_in_order(&numbers);
    assert_eq!(distinct.len() as i64, next + 1, "missing lines");
    println!("{} of {next} lines twice", numbers.len() - distinct.len());
    outside.shutdown_background();
}
