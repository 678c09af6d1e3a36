use std::sync::Arc;

use weir_envelope::batch::{Batch, BatchBuilder, Kind};
use weir_envelope::selector::{Selector, What};
use weir_envelope::wire::put_bytes;
use weir_flow::{Capacity, FairQueue, Ledger, Parcel, Tracker};

use super::{Request, Router};

const CAPACITY: Capacity = Capacity {
    envelopes: 1000,
    bytes: 1 << 20,
};

fn router() -> (Arc<Router>, Arc<Ledger>) {
    let ledger = Ledger::in_memory("doppler");
    (Router::new(CAPACITY, Arc::clone(&ledger)), ledger)
}

fn envelope(source_id: &str, field: u32, message: &[u8]) -> Vec<u8> {
    let mut envelope = Vec::new();
    put_bytes(&mut envelope, 2, source_id.as_bytes());
    put_bytes(&mut envelope, field, message);
    envelope
}

fn log(source_id: &str) -> Vec<u8> {
    envelope(source_id, 4, &[])
}

fn counter(name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, name.as_bytes());
    envelope("c", 5, &message)
}

fn gauge(names: &[&str]) -> Vec<u8> {
    let mut message = Vec::new();
    for name in names {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, name.as_bytes());
        put_bytes(&mut message, 1, &entry);
    }
    envelope("g", 6, &message)
}

fn batch(envelopes: &[Vec<u8>]) -> Batch {
    let mut builder = BatchBuilder::new();
    for envelope in envelopes {
        assert!(builder.push(envelope));
    }
    builder.finish()
}

fn request(selectors: Vec<Selector>) -> Request {
    Request {
        shard_id: String::new(),
        deterministic_name: String::new(),
        selectors,
        durable: false,
    }
}

fn any(kind: Kind) -> Selector {
    Selector::all_of(kind, "").expect("a real kind")
}

fn received(queue: &FairQueue) -> Vec<Vec<u8>> {
    queue
        .try_pop(usize::MAX, usize::MAX)
        .into_iter()
        .flatten()
        .flat_map(|parcel| {
            parcel
                .batch
                .iter()
                .map(|envelope| envelope.bytes().to_vec())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// One subscription of each selector kind over one mixed batch: each gets exactly its part.
#[test]
fn selectors_select() {
    let (router, _) = router();
    let all = [
        log("a"),
        log("b"),
        counter("x"),
        counter("y"),
        gauge(&["m", "n"]),
        gauge(&["m"]),
        envelope("t", 7, &[]),
    ];
    let names = |names: &[&str]| What::Gauge(names.iter().map(|name| (*name).to_owned()).collect());
    let cases: Vec<(Vec<Selector>, Vec<usize>)> = vec![
        (vec![any(Kind::Log)], vec![0, 1]),
        (vec![Selector::all_of(Kind::Log, "b").expect("log")], vec![1]),
        (vec![any(Kind::Counter)], vec![2, 3]),
        (
            vec![Selector {
                source_id: String::new(),
                what: What::Counter(Some("y".into())),
            }],
            vec![3],
        ),
        (vec![any(Kind::Gauge)], vec![4, 5]),
        (
            vec![Selector {
                source_id: String::new(),
                what: names(&["n", "m"]),
            }],
            vec![4],
        ),
        (
            vec![Selector {
                source_id: String::new(),
                what: names(&["n"]),
            }],
            vec![],
        ),
        (vec![any(Kind::Timer), any(Kind::Event)], vec![6]),
        // Two selectors match the same envelope: it comes twice.
        (
            vec![any(Kind::Log), Selector::all_of(Kind::Log, "a").expect("log")],
            vec![0, 0, 1],
        ),
    ];
    let subscribed: Vec<_> = cases
        .iter()
        .map(|(selectors, _)| router.subscribe(request(selectors.clone())))
        .collect();
    router.publish(&Parcel::unacknowledged(batch(&all)));
    for (subscribed, (selectors, expected)) in subscribed.iter().zip(&cases) {
        let expected: Vec<_> = expected.iter().map(|index| all[*index].clone()).collect();
        assert_eq!(received(subscribed.queue()), expected, "{selectors:?}");
    }
}

/// Two members of a shard and one loner: the members share, the loner gets all.
#[test]
fn shards_share() {
    let (router, _) = router();
    let shard = || Request {
        shard_id: "shard".into(),
        ..request(vec![any(Kind::Log)])
    };
    let (one, two, loner) = (
        router.subscribe(shard()),
        router.subscribe(shard()),
        router.subscribe(request(vec![any(Kind::Log)])),
    );
    router.publish(&Parcel::unacknowledged(batch(&vec![log("a"); 400])));
    let (one, two) = (received(one.queue()).len(), received(two.queue()).len());
    assert_eq!(one + two, 400);
    assert!(one > 100 && two > 100, "{one} and {two} are not shared evenly");
    assert_eq!(received(loner.queue()).len(), 400);
}

/// Deterministic members: a counter's name always leads to the same one.
#[test]
fn deterministic_names_decide() {
    let (router, _) = router();
    let member = |name: &str| Request {
        shard_id: "shard".into(),
        deterministic_name: name.into(),
        ..request(vec![any(Kind::Counter)])
    };
    let members = [router.subscribe(member("b")), router.subscribe(member("a"))];
    let counters: Vec<_> = (0..50).map(|number| counter(&format!("counter-{number}"))).collect();
    let mut first = Vec::new();
    for round in 0..3 {
        router.publish(&Parcel::unacknowledged(batch(&counters)));
        let parts: Vec<_> = members.iter().map(|member| received(member.queue())).collect();
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 50);
        assert!(parts.iter().all(|part| !part.is_empty()));
        if round == 0 {
            first = parts;
        } else {
            assert_eq!(parts, first);
        }
    }
}

/// A batch that nobody wants, and one whose consumer went away: the sender is told, and the loss is counted.
#[test]
fn what_nobody_gets_is_settled() {
    let (router, ledger) = router();
    let tracker = Tracker::new();
    router.publish(&Parcel {
        batch: batch(&[log("a")]),
        receipts: vec![tracker.receipt(1)],
    });
    assert_eq!(tracker.progress().handed_on, 1);
    let subscribed = router.subscribe(request(vec![any(Kind::Log)]));
    router.publish(&Parcel {
        batch: batch(&[log("a"), log("a")]),
        receipts: vec![tracker.receipt(2)],
    });
    assert_eq!((tracker.progress().taken, tracker.progress().handed_on), (2, 1));
    drop(subscribed);
    assert_eq!(tracker.progress().handed_on, 2);
    assert_eq!(ledger.snapshot().dropped_total(), 2);
}
