use std::sync::atomic::{AtomicU64, AtomicUsize};

use tokio::sync::Notify;
use weir_drain::{App, Binding, Credentials, DrainUrl, Settings};
use weir_flow::{LogContext, Tracker};
use weir_tls::Trust;

use super::*;
use crate::config::{Config, RawConfig};
use crate::drain::queue::Memory;
use crate::spill::Budget;

struct Bench {
    _dir: tempfile::TempDir,
    env: Arc<Env>,
    router: Router,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (_, context) = LogContext::in_memory("syslog-agent");
        let mappings = OriginMappings::register(&context.meter());
        let env = Arc::new(Env {
            terms: Config::try_from(RawConfig::default()).unwrap().terms,
            settings: Settings::new(Trust::none().unwrap()),
            tasks: context.service.tasks,
            clock: context.service.clock,
            ledger: context.ledger,
            memory: Memory::new(1 << 30),
            budget: Budget::new(1 << 30),
            spill: dir.path().join("spill"),
            in_flight_bytes: AtomicUsize::new(0),
            max_in_flight_bytes: usize::MAX,
            status_changed: Notify::new(),
            routed: AtomicU64::new(0),
        });
        Self {
            router: Router::new(&env, mappings),
            env,
            _dir: dir,
        }
    }

    /// Returns drains without tasks. What they get stays in their queues.
    fn drains(&self, bindings: &[(Option<&str>, &str)]) -> Vec<Arc<Drain>> {
        let drains: Vec<_> = bindings
            .iter()
            .map(|(app, query)| {
                let app = app.map(|app| App {
                    hostname: String::new(),
                    app_id: app.to_owned(),
                });
                let url = DrainUrl::parse(&format!("syslog://h:1{query}")).unwrap();
                Drain::over_limit(Arc::new(Binding::new(url, app, Credentials::default())), &self.env)
            })
            .collect();
        self.router.replace(Table::new(drains.clone()));
        drains
    }

    fn route(&self, write: impl Fn(&mut BatchBuilder)) {
        let mut builder = BatchBuilder::new();
        write(&mut builder);
        self.router.route(Parcel::unacknowledged(builder.finish()));
    }
}

/// Returns the timestamps of the envelopes that a drain got.
fn got(drain: &Drain) -> Vec<i64> {
    let mut parcels = std::collections::VecDeque::new();
    drain.queue.take(usize::MAX, usize::MAX, &mut parcels);
    let batches = parcels.into_iter().map(|waiting| waiting.parcel.batch);
    batches
        .flat_map(|batch| {
            batch
                .iter()
                .map(|envelope| envelope.view().timestamp())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn all_kinds(builder: &mut BatchBuilder, source: &str) {
    let write = |builder: &mut BatchBuilder, at: i64, finish: &dyn Fn(&mut Writer<'_>)| {
        builder.push_with(|out| {
            let mut writer = Writer::new(out);
            writer.timestamp(at).source_id(source);
            finish(&mut writer);
        });
    };
    use weir_envelope::view::Stream;
    write(builder, 1, &|writer| {
        writer.tag("source_type", "APP/PROC/WEB").log(b"app", Stream::Out);
    });
    write(builder, 2, &|writer| {
        writer.tag("source_type", "RTR").log(b"rtr", Stream::Out);
    });
    write(builder, 3, &|writer| {
        writer.counter("c", 1, 1);
    });
    write(builder, 4, &|writer| {
        writer.gauge(&[("g", "u", 1.0)]);
    });
    write(builder, 5, &|writer| {
        writer.timer("t", 1, 2);
    });
    write(builder, 6, &|writer| {
        writer.event("e", "b");
    });
    write(builder, 7, &|writer| {
        writer
            .tag("origin", crate::reporting::ORIGIN)
            .tag("binding", "b")
            .gauge(&[("drain_lost", "lines", 1.0)]);
    });
    write(builder, 8, &|_| {});
}

/// Each drain gets what its URL asks for, of its app. Aggregate drains get it of all apps. Reports about drains go to
/// aggregate drains only.
#[test]
fn filters_by_source_kind_and_source_type() {
    let bench = Bench::new();
    let drains = bench.drains(&[
        (Some("app"), ""),
        (Some("app"), "?drain-data=all"),
        (Some("app"), "?drain-data=metrics"),
        (Some("app"), "?drain-data=traces"),
        (Some("app"), "?include-log-source-types=rtr"),
        (Some("other"), "?drain-data=all"),
        (None, "?include-metrics-deprecated=1"),
    ]);
    bench.route(|builder| {
        all_kinds(builder, "app");
        all_kinds(builder, "nobody");
    });
    let got: Vec<_> = drains.iter().map(|drain| got(drain)).collect();
    assert_eq!(got[0], [1, 2, 6]);
    assert_eq!(got[1], [1, 2, 3, 4, 5, 6]);
    assert_eq!(got[2], [3, 4]);
    assert_eq!(got[3], [5]);
    assert_eq!(got[4], [2]);
    assert!(got[5].is_empty());
    assert_eq!(got[6], [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bench.env.routed.load(Ordering::Relaxed), 3 + 6 + 2 + 1 + 1 + 14);
}

/// A message is settled when all drains that got a part of it have released it, or at once if no drain wants it.
#[test]
fn every_drain_gets_the_receipts() {
    let bench = Bench::new();
    let drains = bench.drains(&[(Some("a"), ""), (Some("b"), ""), (None, "")]);
    let tracker = Tracker::new();
    let route = |sequence, sources: &[&str]| {
        let mut builder = BatchBuilder::new();
        for source in sources {
            all_kinds(&mut builder, source);
        }
        let mut parcel = Parcel::unacknowledged(builder.finish());
        parcel.receipts.push(tracker.receipt(sequence));
        bench.router.route(parcel);
    };
    route(1, &["a", "b"]);
    for drain in &drains {
        assert_eq!(tracker.progress().handed_on, 0);
        got(drain);
    }
    assert_eq!(tracker.progress().handed_on, 1);
    bench.drains(&[(Some("a"), "")]);
    route(2, &["c"]);
    assert_eq!(tracker.progress().handed_on, 2);
    bench.drains(&[]);
    route(3, &["a"]);
    assert_eq!(tracker.progress().handed_on, 3);
}

/// The tag `origin` stands in for a missing source id.
#[test]
fn origins_stand_in_for_sources() {
    let bench = Bench::new();
    let drains = bench.drains(&[(Some("gorouter"), "?drain-data=metrics")]);
    bench.route(|builder| {
        for (at, tag) in [(1, "origin"), (2, "other")] {
            builder.push_with(|out| {
                Writer::new(out).timestamp(at).tag(tag, "gorouter").counter("c", 1, 1);
            });
        }
    });
    assert_eq!(got(&drains[0]), [1]);
}

/// A drain that wants the whole batch shares its bytes.
#[test]
fn whole_batches_are_shared() {
    let bench = Bench::new();
    let drains = bench.drains(&[(Some("a"), "?drain-data=all"), (Some("b"), "?drain-data=all")]);
    let mut builder = BatchBuilder::new();
    for _ in 0..10 {
        builder.push_with(|out| {
            Writer::new(out).source_id("a").counter("c", 1, 1);
        });
    }
    let batch = builder.finish();
    let bytes = batch.bytes().as_ptr();
    bench.router.route(Parcel::unacknowledged(batch));
    let mut parcels = std::collections::VecDeque::new();
    drains[0].queue.take(usize::MAX, usize::MAX, &mut parcels);
    assert_eq!(parcels[0].parcel.batch.bytes().as_ptr(), bytes);
    assert_eq!(drains[1].queue.held().envelopes, 0);
}
