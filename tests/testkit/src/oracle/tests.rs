use super::*;

fn sent(count: u64) -> Sent {
    Sent::from([("app".to_owned(), count)])
}

fn got(numbers: impl IntoIterator<Item = u64>) -> Received {
    let received = Received::default();
    for number in numbers {
        received.note_line("app", format!("weir#{number:012} @").as_bytes());
    }
    received
}

fn books(drops: &[(&str, &str, &str, u64)]) -> Books {
    let mut books = Books::default();
    for (component, hop, reason, count) in drops {
        let ledger = books
            .ledgers
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
    books
}

/// Everything arrived, nothing was counted.
#[test]
fn a_quiet_run_is_conserved() {
    let account = Account::new("rlp", &sent(3), &got(0..3));
    conserved(&[account], &books(&[]), Tolerance::Exact).unwrap();
}

/// A loss at the doppler's way out costs one consumer, a loss at the agent all of them.
#[test]
fn drops_are_weighed_by_who_they_cost() {
    let whole = Account::new("rlp", &sent(5), &got([0, 1, 2, 4]));
    let slow = Account::new("log cache", &sent(5), &got([0, 4]));
    let counted = books(&[
        ("loggregator-agent", "egress", "buffer_full", 1),
        ("doppler", "egress", "slow_consumer", 2),
    ]);
    conserved(&[whole, slow], &counted, Tolerance::Exact).unwrap();
}

/// What the forwarder agent drops on the way to the dopplers costs everybody; what is dropped on the way to drains, nobody here.
#[test]
fn drains_are_a_branch_of_their_own() {
    let accounts = [
        Account::new("rlp", &sent(5), &got(0..3)),
        Account::new("log cache", &sent(5), &got(0..3)),
    ];
    let counted = books(&[
        ("forwarder-agent", "egress loggregator-agent", "peer_lost", 1),
        ("forwarder-agent", "ingress", "malformed", 1),
        ("forwarder-agent", "egress syslog-agent", "peer_lost", 100),
        ("syslog-agent", "egress", "spill_full", 1000),
    ]);
    let verdict = conserved(&accounts, &counted, Tolerance::Overcount(0)).unwrap();
    assert_eq!((verdict.missing, verdict.counted), (4, 4));
}

/// One missing and not counted; one counted and not missing.
#[test]
fn silent_losses_and_wrong_counts_are_found() {
    let account = [Account::new("rlp", &sent(3), &got([0, 2]))];
    let error = conserved(&account, &books(&[]), Tolerance::Overcount(100)).unwrap_err();
    assert!(
        error.to_string().contains("1 envelopes are lost and not counted"),
        "{error}"
    );
    let twice = books(&[("doppler", "egress", "slow_consumer", 2)]);
    assert!(conserved(&account, &twice, Tolerance::Exact).is_err());
    conserved(&account, &twice, Tolerance::Overcount(1)).unwrap();
}

/// A report of a loss that was lost itself is one of the drops.
#[test]
fn reports_are_envelopes_too() {
    let slow = got([0, 1]);
    slow.note_line("app", b"1 message lost");
    let account = [Account::new("rlp", &sent(3), &slow).with_reports(&sent(2))];
    let counted = books(&[("doppler", "egress", "slow_consumer", 2)]);
    conserved(&account, &counted, Tolerance::Exact).unwrap();
}

/// What one consumer misses is not explained by what others were counted for in excess.
#[test]
fn each_consumer_is_judged_alone() {
    let accounts = [
        Account::new("rlp", &sent(5), &got([])),
        Account::new("firehose", &sent(5), &got(0..5)),
        Account::new("log cache", &sent(5), &got(0..5)),
    ];
    let counted = books(&[("loggregator-agent", "egress", "peer_lost", 2)]);
    let error = conserved(&accounts, &counted, Tolerance::Overcount(100)).unwrap_err();
    assert!(error.to_string().contains("rlp: 5 missing, 2 counted"), "{error}");
}

/// Repetition, wrong order and inventions are no delivery.
#[test]
fn repetition_and_disorder_are_found() {
    for (numbers, complaint) in [
        (vec![0, 0], "twice"),
        (vec![1, 0], "out of order"),
        (vec![0, 9], "beyond"),
    ] {
        let account = [Account::new("rlp", &sent(2), &got(numbers))];
        let error = conserved(&account, &books(&[]), Tolerance::Exact).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

/// What was counted before the test began is not part of it.
#[test]
fn books_are_opened_at_a_moment() {
    let before = books(&[("doppler", "egress", "slow_consumer", 7)]);
    let after = books(&[
        ("doppler", "egress", "slow_consumer", 9),
        ("rlp", "egress", "consumer_gone", 1),
    ]);
    let since = after.since(&before);
    assert_eq!(since.dropped("doppler", "", ""), 2);
    assert_eq!(since.dropped("", "", ""), 3);
}
