use weir_envelope::encode::Writer;

use super::*;

fn buffers(envelopes: usize) -> (Buffers<()>, Arc<Ledger>) {
    let ledger = Ledger::in_memory("gorouter");
    let capacity = Capacity {
        envelopes,
        bytes: 1 << 20,
    };
    (Buffers::new(capacity, &ledger), ledger)
}

fn write(buffers: &Buffers<()>, source: &str, number: i64) {
    buffers.write(|pen, ()| {
        pen.envelope(|out| {
            Writer::new(out).timestamp(number).source_id(source);
        });
    });
}

/// The times of what waits in the queue.
fn queued(buffers: &Buffers<()>) -> Vec<i64> {
    let parcels = buffers.queue.try_pop(usize::MAX, usize::MAX).unwrap_or_default();
    let batch = merged(parcels);
    batch.iter().map(|envelope| envelope.view().timestamp()).collect()
}

/// A buffer goes into the queue when it is full, and what is left when it is swept, in order.
#[test]
fn a_full_buffer_goes_into_the_queue() {
    let (buffers, ledger) = buffers(1_000);
    for number in 1..=150 {
        write(&buffers, "app", number);
    }
    assert_eq!(queued(&buffers), (1..=100).collect::<Vec<_>>());
    buffers.sweep();
    assert_eq!(queued(&buffers), (101..=150).collect::<Vec<_>>());
    buffers.sweep();
    assert!(queued(&buffers).is_empty());
    assert_eq!(
        (ledger.snapshot().received, ledger.snapshot().dropped_total()),
        (150, 0)
    );
}

/// When the queue is full, the app that fills it loses its oldest envelopes, which are counted; the other app loses none.
#[test]
fn the_app_that_fills_the_queue_loses() {
    let (buffers, ledger) = buffers(400);
    write(&buffers, "quiet", 1);
    for number in 1..=999 {
        write(&buffers, "loud", number);
    }
    buffers.sweep();
    let left = queued(&buffers).len() as u64;
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.received, 1_000);
    assert_eq!(left + snapshot.dropped_total(), 1_000);
    assert!((300..=400).contains(&left), "{left}");
    let reports = ledger.take_reports();
    assert!(
        reports
            .iter()
            .all(|report| report.source_id == "loud" && report.hop == HOP),
        "{reports:?}"
    );
}

/// Threads write at the same time; each keeps its order, and nothing is lost.
#[test]
fn threads_keep_their_order() {
    let (buffers, ledger) = buffers(100_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let buffers = &buffers;
            scope.spawn(move || (0..1_000).for_each(|number| write(buffers, "app", thread * 10_000 + number)));
        }
    });
    buffers.sweep();
    let mut of_threads: [Vec<i64>; 4] = Default::default();
    for number in queued(&buffers) {
        let thread = usize::try_from(number / 10_000).expect("it is positive");
        of_threads[thread].push(number % 10_000);
    }
    for numbers in of_threads {
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    }
    assert_eq!(ledger.snapshot().received, 4_000);
}
