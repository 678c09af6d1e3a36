use weir_drain::{App, Binding, Credentials, DrainUrl};
use weir_envelope::batch::Batch;
use weir_envelope::view::Message;
use weir_flow::{Ledger, Loss, Reason};
use weir_service::clock;

use super::*;
use crate::drain::account::Account;
use crate::status::{Snapshot, State};

fn binding() -> Binding {
    let url = DrainUrl::parse("syslog-tls://user:hunter2@logs.example:6514?token=hunter2").unwrap();
    let app = App {
        hostname: "o.s.a".to_owned(),
        app_id: "guid".to_owned(),
    };
    Binding::new(url, Some(app), Credentials::default())
}

struct Scene {
    lines: Lines,
    account: Account,
    now: Instant,
    wall: i64,
}

const SECOND: i64 = 1_000_000_000;

impl Scene {
    fn new() -> Self {
        let now = clock::instant();
        Self {
            lines: Lines::new(now),
            account: Account::new(&Ledger::in_memory("syslog-agent")),
            now,
            wall: 1_700_000_000 * SECOND,
        }
    }

    /// Advances the time by this number of seconds.
    fn later(&mut self, seconds: u32) -> &mut Self {
        self.now += Duration::from_secs(seconds.into());
        self.wall += i64::from(seconds) * SECOND;
        self
    }

    fn written(&mut self, status: &Snapshot) -> Vec<String> {
        self.lines.about(&binding(), status, &self.account, self.now, self.wall)
    }

    fn refuse(&self, why: &str, count: u64) {
        let source_id = "guid".to_owned();
        self.account.refuse(Reason::Rejected, why, &[Loss { source_id, count }]);
    }

    fn lose(&self, reason: Reason, count: u64) {
        let source_id = "guid".to_owned();
        self.account.lose(reason, &[Loss { source_id, count }]);
    }
}

/// A failure is reported at once and then at growing intervals. The recovery is reported too. No line contains a
/// secret.
#[test]
fn an_outage_and_its_end_are_reported() {
    let mut scene = Scene::new();
    let well = Snapshot {
        state: State::Flowing,
        ..Snapshot::default()
    };
    assert!(scene.written(&Snapshot::default()).is_empty() && scene.written(&well).is_empty());
    let failing = Snapshot {
        state: State::Retrying,
        since: scene.wall,
        waiting_lines: 12,
        last_error: Some("connection refused".into()),
        next_try: Some(scene.wall + 3 * SECOND / 2),
        ..Snapshot::default()
    };
    let written = scene.written(&failing);
    assert_eq!(
        written,
        [
            "syslog drain syslog-tls://logs.example:6514 fails since 2023-11-14T22:13:20.000Z: connection refused; 12 lines \
             wait for it, none was lost; next attempt in 2 s"
        ]
    );
    let mut reminders = 0;
    for _ in 0..600 {
        reminders += scene.later(1).written(&failing).len();
    }
    // The reminders come after 30, 90, 210 and 450 seconds.
    assert_eq!(reminders, 4);
    scene.lose(Reason::SpillFull, 7);
    let written = scene.later(1).written(&failing);
    assert_eq!(
        written,
        ["7 messages lost for application guid in user provided syslog drain with url syslog-tls://logs.example:6514"]
    );
    let catching_up = Snapshot {
        state: State::Spilling,
        since: scene.wall,
        waiting_lines: 1,
        ..Snapshot::default()
    };
    let written = scene.later(1).written(&catching_up);
    assert_eq!(
        written,
        [
            "syslog drain syslog-tls://logs.example:6514 works again; 1 line is still on the way to it, 7 lines were lost \
             so far"
        ]
    );
    assert!(scene.later(1).written(&well).is_empty());
}

/// A drain that fails and recovers often does not fill the log.
#[test]
fn flapping_is_bounded() {
    let mut scene = Scene::new();
    let mut count = 0;
    for round in 0..600 {
        let status = Snapshot {
            state: if round % 2 == 0 {
                State::Retrying
            } else {
                State::Flowing
            },
            ..Snapshot::default()
        };
        count += scene.later(1).written(&status).len();
    }
    assert!((20..=26).contains(&count), "{count}");
}

/// Refusals are reported with their reason, a slow drain when it has been slow for some time, and a failing disk once.
#[test]
fn losses_slowness_and_disk_errors_are_reported() {
    let mut scene = Scene::new();
    let mut status = Snapshot {
        state: State::Flowing,
        ..Snapshot::default()
    };
    scene.refuse("HTTP status 400: bad line", 1);
    scene.refuse("name of a tag", 2);
    assert_eq!(
        scene.written(&status),
        [
            "1 line was not taken by syslog drain syslog-tls://logs.example:6514 and lost: HTTP status 400: bad line",
            "2 lines were not taken by syslog drain syslog-tls://logs.example:6514 and lost: name of a tag"
        ]
    );
    assert!(scene.written(&status).is_empty());
    status.state = State::Spilling;
    status.since = scene.wall;
    assert!(scene.later(10).written(&status).is_empty());
    assert!(scene.later(25).written(&status)[0].contains("slower than this app"));
    status.disk_error = Some("no space left on device".into());
    assert!(scene.later(1).written(&status)[0].contains("no space left"));
    assert!(scene.later(1).written(&status).is_empty());
    let over = Snapshot {
        state: State::OverLimit,
        ..Snapshot::default()
    };
    assert!(Scene::new().written(&over)[0].contains("is not used"));
}

/// Reports are sent on changes, at most once a second, and at intervals. They contain what `drain_status` reads.
#[test]
fn reports_follow_the_state() {
    let mut reports = Reports::default();
    let now = clock::instant();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut status = Snapshot {
        state: State::Flowing,
        ..Snapshot::default()
    };
    assert!(reports.is_due(&status, true, now));
    assert!(!reports.is_due(&status, true, at(14)));
    assert!(reports.is_due(&status, true, at(15)));
    status.state = State::Retrying;
    assert!(!reports.is_due(&status, true, now + Duration::from_millis(15_500)));
    assert!(reports.is_due(&status, true, at(16)));
    status.waiting_lines = 1;
    assert!(!reports.is_due(&status, true, at(17)));
    assert!(reports.is_due(&status, true, at(18)));
    status.waiting_lines = 0;
    status.state = State::Connecting;
    assert!(reports.is_due(&status, false, at(20)));
    assert!(!reports.is_due(&status, false, at(300)) && reports.is_due(&status, false, at(320)));

    let status = Snapshot {
        state: State::Retrying,
        since: 1_700_000_000 * SECOND,
        waiting_lines: 3,
        waiting_bytes: 300,
        oldest: Some(1_700_000_001 * SECOND),
        last_error: Some("no".into()),
        next_try: Some(1_700_000_009 * SECOND),
        ..Snapshot::default()
    };
    let mut envelope = Vec::new();
    report::write(&mut envelope, &binding(), &status, 9, "7", 1_700_000_003 * SECOND);
    let batch = Batch::from_envelope(&envelope).unwrap();
    let raw = batch.iter().next().unwrap();
    assert!(is_report(raw));
    let view = raw.view();
    assert_eq!((view.source_id(), view.instance_id()), ("guid", "7"));
    let tag = |key| view.tag(key).unwrap().into_owned();
    assert_eq!(tag("binding"), binding().id.to_string());
    assert_eq!(tag("drain_url"), "syslog-tls://logs.example:6514");
    assert_eq!(
        (tag("state"), tag("last_error")),
        ("retrying".to_owned(), "no".to_owned())
    );
    assert_eq!(tag("since"), "2023-11-14T22:13:20.000Z");
    assert_eq!(tag("next_try"), "2023-11-14T22:13:29.000Z");
    let Message::Gauge(metrics) = view.message() else {
        panic!("it is a gauge")
    };
    let metrics: Vec<_> = metrics.map(|metric| (metric.name, metric.value)).collect();
    assert_eq!(
        metrics,
        [
            ("drain_waiting_lines", 3.0),
            ("drain_waiting_bytes", 300.0),
            ("drain_lost", 9.0),
            ("drain_lag", 2000.0)
        ]
    );
}
