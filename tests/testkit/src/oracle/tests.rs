use super::*;

fn sent(count: u64) -> Sent {
    Sent::from([("app".to_owned(), count)])
}

fn got(numbers: impl IntoIterator<Item = u64>) -> Received {
    let received = Received::default();
    for number in numbers {
        received.record_line("app", format!("weir#{number:012} @").as_bytes());
    }
    received
}

fn ledgers(drops: &[(&str, &str, &str, u64)]) -> Ledgers {
    let mut ledgers = Ledgers::default();
    for (component, hop, reason, count) in drops {
        let ledger = ledgers
            .by_component
            .entry((*component).to_owned())
            .or_insert_with(|| LedgerSnapshot {
                component: (*component).to_owned(),
                ..LedgerSnapshot::default()
            });
        ledger.received += count;
        ledger.dropped.push(DropCount {
            hop: (*hop).to_owned(),
            reason: (*reason).to_owned(),
            count: *count,
        });
    }
    ledgers
}

/// Setup: everything arrived, and nothing was counted. Must hold: the check passes.
#[test]
fn a_quiet_run_is_conserved() {
    let account = Account::new("rlp", &sent(3), &got(0..3));
    conserved(&[account], &ledgers(&[]), Tolerance::Exact).unwrap();
}

/// A loss at the doppler's egress counts for one consumer, and a loss at the agent for all consumers.
#[test]
fn drops_count_once_for_each_consumer_they_cost() {
    let whole = Account::new("rlp", &sent(5), &got([0, 1, 2, 4]));
    let slow = Account::new("log cache", &sent(5), &got([0, 4]));
    let counted = ledgers(&[
        ("loggregator-agent", "egress", "buffer_full", 1),
        ("doppler", "egress", "slow_consumer", 2),
    ]);
    conserved(&[whole, slow], &counted, Tolerance::Exact).unwrap();
}

/// A loss of the forwarder agent on the way to the dopplers counts for every consumer, and one on the way to drains for
/// none.
#[test]
fn drops_on_the_drains_branch_cost_no_consumer() {
    let accounts = [
        Account::new("rlp", &sent(5), &got(0..3)),
        Account::new("log cache", &sent(5), &got(0..3)),
    ];
    let counted = ledgers(&[
        ("forwarder-agent", "egress loggregator-agent", "peer_lost", 1),
        ("forwarder-agent", "ingress", "malformed", 1),
        ("forwarder-agent", "egress syslog-agent", "peer_lost", 100),
        ("syslog-agent", "egress", "spill_full", 1000),
    ]);
    let verdict = conserved(&accounts, &counted, Tolerance::Overcount(0)).unwrap();
    assert_eq!((verdict.missing, verdict.counted), (4, 4));
}

/// The check fails if an envelope is missing and not counted, or counted and not missing.
#[test]
fn silent_losses_and_wrong_counts_are_found() {
    let account = [Account::new("rlp", &sent(3), &got([0, 2]))];
    let error = conserved(&account, &ledgers(&[]), Tolerance::Overcount(100)).unwrap_err();
    assert!(
        error.to_string().contains("1 envelopes are lost and not counted"),
        "{error}"
    );
    let twice = ledgers(&[("doppler", "egress", "slow_consumer", 2)]);
    assert!(conserved(&account, &twice, Tolerance::Exact).is_err());
    conserved(&account, &twice, Tolerance::Overcount(1)).unwrap();
}

/// A report of a loss that was lost itself is one of the drops.
#[test]
fn a_lost_report_counts_as_a_drop() {
    let slow = got([0, 1]);
    slow.record_line("app", b"1 message lost");
    let account = [Account::new("rlp", &sent(3), &slow).with_reports(&sent(2))];
    let counted = ledgers(&[("doppler", "egress", "slow_consumer", 2)]);
    conserved(&account, &counted, Tolerance::Exact).unwrap();
}

/// An excess in the count of one consumer does not explain what another one misses.
#[test]
fn each_consumer_is_judged_alone() {
    let accounts = [
        Account::new("rlp", &sent(5), &got([])),
        Account::new("firehose", &sent(5), &got(0..5)),
        Account::new("log cache", &sent(5), &got(0..5)),
    ];
    let counted = ledgers(&[("loggregator-agent", "egress", "peer_lost", 2)]);
    let error = conserved(&accounts, &counted, Tolerance::Overcount(100)).unwrap_err();
    assert!(error.to_string().contains("rlp: 5 missing, 2 counted"), "{error}");
}

/// The check fails for repeated numbers, numbers out of order, and numbers that were never sent.
#[test]
fn repetition_and_disorder_are_found() {
    for (numbers, complaint) in [
        (vec![0, 0], "twice"),
        (vec![1, 0], "out of order"),
        (vec![0, 9], "beyond"),
    ] {
        let account = [Account::new("rlp", &sent(2), &got(numbers))];
        let error = conserved(&account, &ledgers(&[]), Tolerance::Exact).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

/// Losses that were counted before the test began are left out.
#[test]
fn counts_before_the_start_are_left_out() {
    let before = ledgers(&[("doppler", "egress", "slow_consumer", 7)]);
    let after = ledgers(&[
        ("doppler", "egress", "slow_consumer", 9),
        ("rlp", "egress", "consumer_gone", 1),
    ]);
    let since = after.since(&before);
    assert_eq!(since.dropped("doppler", "", ""), 2);
    assert_eq!(since.dropped("", "", ""), 3);
}
