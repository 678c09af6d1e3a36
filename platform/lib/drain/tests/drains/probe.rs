//! The probe: each of its steps, and the report of a failure.

use tokio::io::AsyncReadExt as _;
use weir_drain::{Resolver, Settings, probe};

use crate::support::*;

/// A plain drain gets one framed RFC 5424 message, and each step has its duration and text.
#[tokio::test]
async fn a_plain_drain_gets_a_test_message() {
    let (listener, address) = listen().await;
    let url = format!("syslog://u:{SECRET}@{address}?t={SECRET}");
    let (tasks, settings, binding) = (tasks(), settings(), binding(&url));
    let (report, received) = tokio::join!(probe(&binding, &settings, &tasks), async {
        let mut received = Vec::new();
        accept(&listener).await.read_to_end(&mut received).await.unwrap();
        String::from_utf8(received).unwrap()
    });
    assert!(report.succeeded(), "{report}");
    let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
    assert_eq!(names, ["address", "tcp", "message"]);
    let (length, message) = received.split_once(' ').unwrap();
    assert_eq!(length.parse(), Ok(message.len()));
    assert!(
        message.starts_with("<14>1 20")
            && message.ends_with("+00:00 org.space.app guid [LGR] - - test message: this drain was probed\n"),
        "{message}"
    );
    let shown = format!("{report} {report:?} {}", serde_json::to_string(&report).unwrap());
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(report.to_string().contains("connected to `127.0.0.1:"), "{report}");
}

/// A probe ends at the step that fails, with the reason and a hint.
#[tokio::test]
async fn a_probe_ends_at_the_step_that_fails() {
    let (listener, address) = listen().await;
    let root = Ca::root("Root");
    let acceptor = Server::default().acceptor(&root.issue("other", &["other.example"], Time::Now));
    let (tasks, settings) = (tasks(), settings());
    let binding = with(
        &format!("https://u:{SECRET}@127.0.0.1:{}/{SECRET}0123456789", address.port()),
        trusting(&root.pem()),
    );
    let (report, _) = tokio::join!(probe(&binding, &settings, &tasks), async {
        acceptor.accept(accept(&listener).await).await.map(|_| ())
    });
    assert!(!report.succeeded());
    let last = report.steps.last().unwrap();
    assert_eq!((last.name, last.ok), ("tls", false));
    assert!(
        last.text
            .ends_with("certificate `other` is for `other.example`, not for `127.0.0.1`"),
        "{report}"
    );
    assert!(last.hint.is_some());
    assert!(!format!("{report}").contains(SECRET), "{report}");

    drop(listener);
    let report = probe(&binding, &settings, &tasks).await;
    assert_eq!(
        report.steps.last().map(|step| (step.name, step.ok)),
        Some(("tcp", false)),
        "{report}"
    );
    let settings = Settings {
        resolver: Resolver::fixed([]),
        ..settings
    };
    let report = probe(&self::binding("syslog://nowhere.example:1"), &settings, &tasks).await;
    assert_eq!(
        report.steps.last().map(|step| (step.name, step.ok)),
        Some(("address", false)),
        "{report}"
    );
}
