use std::sync::Arc;

use proptest::prelude::*;
use weir_envelope::batch::{Batch, BatchBuilder, Kind};
use weir_envelope::selector::{PayloadFilter, Selector};
use weir_envelope::wire::put_bytes;
use weir_flow::{Capacity, FairQueue, Ledger, Parcel, Tracker};

use super::{Request, Router, Subscribed};

const CAPACITY: Capacity = Capacity {
    envelopes: 1000,
    bytes: 1 << 20,
};

fn router() -> (Arc<Router>, Arc<Ledger>) {
    let ledger = Ledger::in_memory("doppler");
    (Router::new(CAPACITY, Arc::clone(&ledger)), ledger)
}

fn subscribe(router: &Arc<Router>, request: Request) -> Subscribed {
    router.subscribe_within(usize::MAX, request).expect("there is room")
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

/// One subscription per kind of selector gets exactly its part of a mixed batch.
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
    let names = |names: &[&str]| PayloadFilter::Gauge(names.iter().map(|name| (*name).to_owned()).collect());
    let cases: Vec<(Vec<Selector>, Vec<usize>)> = vec![
        (vec![any(Kind::Log)], vec![0, 1]),
        (vec![Selector::all_of(Kind::Log, "b").expect("log")], vec![1]),
        (vec![any(Kind::Counter)], vec![2, 3]),
        (
            vec![Selector {
                source_id: String::new(),
                payload: PayloadFilter::Counter(Some("y".into())),
            }],
            vec![3],
        ),
        (vec![any(Kind::Gauge)], vec![4, 5]),
        (
            vec![Selector {
                source_id: String::new(),
                payload: names(&["n", "m"]),
            }],
            vec![4],
        ),
        (
            vec![Selector {
                source_id: String::new(),
                payload: names(&["n"]),
            }],
            vec![],
        ),
        (vec![any(Kind::Timer), any(Kind::Event)], vec![6]),
        // An envelope that matches two selectors comes twice.
        (
            vec![any(Kind::Log), Selector::all_of(Kind::Log, "a").expect("log")],
            vec![0, 0, 1],
        ),
    ];
    let subscribed: Vec<_> = cases
        .iter()
        .map(|(selectors, _)| subscribe(&router, request(selectors.clone())))
        .collect();
    router.publish(&Parcel::unacknowledged(batch(&all)));
    for (subscribed, (selectors, expected)) in subscribed.iter().zip(&cases) {
        let expected: Vec<_> = expected.iter().map(|index| all[*index].clone()).collect();
        assert_eq!(received(subscribed.queue()), expected, "{selectors:?}");
    }
}

/// Two members of a shard share the stream, and a subscription without a shard gets all.
#[test]
fn shards_share() {
    let (router, _) = router();
    let shard = || Request {
        shard_id: "shard".into(),
        ..request(vec![any(Kind::Log)])
    };
    let (one, two, loner) = (
        subscribe(&router, shard()),
        subscribe(&router, shard()),
        subscribe(&router, request(vec![any(Kind::Log)])),
    );
    router.publish(&Parcel::unacknowledged(batch(&vec![log("a"); 400])));
    let (one, two) = (received(one.queue()).len(), received(two.queue()).len());
    assert_eq!(one + two, 400);
    assert!(one > 100 && two > 100, "{one} and {two} are not shared evenly");
    assert_eq!(received(loner.queue()).len(), 400);
}

/// With deterministic names, a counter's name always leads to the same member.
#[test]
fn deterministic_names_decide() {
    let (router, _) = router();
    let member = |name: &str| Request {
        shard_id: "shard".into(),
        deterministic_name: name.into(),
        ..request(vec![any(Kind::Counter)])
    };
    let members = [subscribe(&router, member("b")), subscribe(&router, member("a"))];
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

/// The receipt of a batch that nobody wants is released. If a consumer leaves, its envelopes are counted as lost.
#[test]
fn unwanted_and_abandoned_envelopes_are_settled() {
    let (router, ledger) = router();
    let tracker = Tracker::new();
    router.publish(&Parcel {
        batch: batch(&[log("a")]),
        receipts: vec![tracker.receipt(1)],
    });
    assert_eq!(tracker.progress().handed_on, 1);
    let subscribed = subscribe(&router, request(vec![any(Kind::Log)]));
    router.publish(&Parcel {
        batch: batch(&[log("a"), log("a")]),
        receipts: vec![tracker.receipt(2)],
    });
    assert_eq!((tracker.progress().taken, tracker.progress().handed_on), (2, 1));
    drop(subscribed);
    assert_eq!(tracker.progress().handed_on, 2);
    assert_eq!(ledger.snapshot().dropped_total(), 2);
}

/// Generates an envelope from few sources, kinds and names, so that selectors often match.
fn any_envelope() -> impl Strategy<Value = Vec<u8>> {
    let name = || prop::sample::select(vec!["", "m", "n", "mn", "n\u{0}"]);
    let counter = name().prop_map(|name| {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, name.as_bytes());
        (5, message)
    });
    let gauge = prop::collection::vec(name(), 0..4).prop_map(|names| {
        let mut message = Vec::new();
        for name in names {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, name.as_bytes());
            put_bytes(&mut message, 1, &entry);
        }
        (6, message)
    });
    let other = prop::sample::select(vec![4_u32, 7, 8, 10]).prop_map(|field| (field, Vec::new()));
    let message = prop_oneof![counter, gauge, other];
    (prop::sample::select(vec!["", "a", "b"]), message)
        .prop_map(|(source_id, (field, message))| envelope(source_id, field, &message))
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let name = || prop::sample::select(vec!["", "m", "n", "mn", "n\u{0}"]).prop_map(str::to_owned);
    let payload = prop_oneof![
        Just(PayloadFilter::Log),
        Just(PayloadFilter::Timer),
        Just(PayloadFilter::Event),
        prop::option::of(name()).prop_map(PayloadFilter::Counter),
        prop::collection::btree_set(name(), 0..4).prop_map(PayloadFilter::Gauge),
    ];
    (prop::sample::select(vec!["", "a", "b"]), payload).prop_map(|(source_id, payload)| Selector {
        source_id: source_id.to_owned(),
        payload,
    })
}

proptest! {
    /// The index delivers what the selectors match: to a subscription without a shard once for each of its distinct
    /// selectors, and to two subscriptions with one shard id and the same selectors, together, as much as one of them
    /// would get.
    #[test]
    fn the_index_agrees_with_the_selectors(
        envelopes in prop::collection::vec(any_envelope(), 1..12),
        requests in prop::collection::vec((prop::collection::vec(any_selector(), 1..8), prop::bool::ANY), 1..6),
    ) {
        let (router, _) = router();
        let subscribed: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(number, (selectors, shared))| {
                let request = |selectors: &[Selector]| Request {
                    shard_id: if *shared { format!("shard-{number}") } else { String::new() },
                    ..request(selectors.to_vec())
                };
                let mut members = vec![subscribe(&router, request(selectors))];
                if *shared {
                    members.push(subscribe(&router, request(selectors)));
                }
                members
            })
            .collect();
        let batch = batch(&envelopes);
        router.publish(&Parcel::unacknowledged(batch.clone()));
        for (members, (selectors, _)) in subscribed.iter().zip(&requests) {
            let selectors: std::collections::BTreeSet<_> = selectors.iter().collect();
            let mut expected: Vec<Vec<u8>> = batch
                .iter()
                .flat_map(|envelope| {
                    let times = selectors.iter().filter(|selector| selector.matches(envelope)).count();
                    vec![envelope.bytes().to_vec(); times]
                })
                .collect();
            let mut got: Vec<Vec<u8>> = members.iter().flat_map(|member| received(member.queue())).collect();
            expected.sort();
            got.sort();
            prop_assert_eq!(got, expected, "{:?}", selectors);
        }
    }
}

/// Live and durable subscriptions have separate limits, and a place is free again when its subscription ends.
#[test]
fn limits_are_kept_by_kind() {
    let (router, _ledger) = router();
    let live = || request(vec![any(Kind::Log)]);
    let durable = || Request {
        durable: true,
        ..live()
    };
    let held: Vec<Subscribed> = (0..3).filter_map(|_| router.subscribe_within(2, live())).collect();
    assert_eq!(held.len(), 2);
    let stored = router.subscribe_within(1, durable());
    assert!(stored.is_some(), "the live ones take nothing from it");
    assert!(router.subscribe_within(1, durable()).is_none());
    drop(held);
    assert!(router.subscribe_within(1, live()).is_some());
}
