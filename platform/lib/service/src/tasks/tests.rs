//! How tasks are named, joined, ended at a deadline, and how their failures are reported.

use std::io;

use tokio::sync::oneshot;

use super::*;
use crate::{Shutdown, health};

const SOON: Duration = Duration::from_secs(10);

fn tasks() -> (Trigger, Shutdown, Tasks) {
    let (trigger, shutdown) = Shutdown::new();
    (trigger.clone(), shutdown, Tasks::new(trigger, Health::new()))
}

/// Running tasks are listed by name, and joining them ends when all have ended.
#[tokio::test]
async fn running_tasks_are_listed_and_joined() {
    let (_trigger, shutdown, tasks) = tasks();
    let (release, released) = oneshot::channel::<()>();
    let handle = tasks.spawn("reader", async {
        let _closed = released.await;
        5
    });
    let guard = tasks.hold("thread");
    let _two = tasks.hold("thread");
    assert_eq!(tasks.pending(), [("reader", 1), ("thread", 2)]);
    drop((guard, _two));
    release.send(()).unwrap();
    tasks.join(SOON).await.unwrap();
    assert_eq!(handle.await.unwrap(), 5);
    assert!(!shutdown.is_requested());
}

/// At the deadline, the tasks that still run are named in the error and aborted.
#[tokio::test(start_paused = true)]
async fn late_tasks_are_named_and_aborted() {
    let (_trigger, _shutdown, tasks) = tasks();
    let late = tasks.spawn("writer", std::future::pending::<()>());
    let later = tasks.spawn("writer", std::future::pending::<()>());
    let error = tasks.join(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "tasks are still running at the deadline: `writer` ×2"
    );
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(late.await.unwrap_err().is_cancelled());
    assert!(later.await.unwrap_err().is_cancelled());
    tasks.join(SOON).await.unwrap();
}

/// A panic of a task requests the shutdown and fails the health. `join` and the handle report it.
#[tokio::test]
async fn a_panic_stops_the_component() {
    let (_trigger, shutdown, tasks) = tasks();
    let handle = tasks.spawn("parser", async { panic!("index {} is odd", 3) });
    shutdown.requested().await;
    let error = tasks.join(SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "task `parser` panicked: index 3 is odd");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(handle.await.unwrap_err().is_panic());
    assert_eq!(
        tasks.list.health.overall(),
        health::State::Failed("panicked: index 3 is odd".into())
    );
}

/// A panic of a blocking call stops the component too.
#[tokio::test]
async fn a_panic_of_a_blocking_call_stops_the_component() {
    let (_trigger, shutdown, tasks) = tasks();
    let fine = tasks.spawn_blocking("disk", || 4);
    assert_eq!(fine.await.unwrap(), 4);
    let _handle = tasks.spawn_blocking("disk", || panic!("full"));
    shutdown.requested().await;
    assert_eq!(tasks.join(SOON).await.unwrap_err().failed[0].reason, "panicked: full");
}

/// A critical task may end after the request to stop. If it ends before, or with an error, the component stops.
#[tokio::test]
async fn critical_tasks_must_not_end_early() {
    let (trigger, shutdown, mine) = tasks();
    mine.spawn_critical("listener", async move {
        shutdown.requested().await;
        Ok::<(), io::Error>(())
    });
    trigger.fire();
    mine.join(SOON).await.unwrap();

    let (_trigger, shutdown, mine) = tasks();
    mine.spawn_critical("listener", async { Ok::<(), io::Error>(()) });
    shutdown.requested().await;
    assert_eq!(
        mine.join(SOON).await.unwrap_err().to_string(),
        "task `listener` ended early"
    );
    assert_eq!(mine.list.health.overall(), health::State::Failed("ended early".into()));

    let (_trigger, shutdown, mine) = tasks();
    mine.spawn_critical("listener", async { Err(io::Error::other("port is gone")) });
    shutdown.requested().await;
    assert_eq!(
        mine.join(SOON).await.unwrap_err().to_string(),
        "task `listener` failed: port is gone"
    );
}

/// Only the first failures are kept.
#[tokio::test]
async fn failures_are_bounded() {
    let (_trigger, _shutdown, tasks) = tasks();
    for _ in 0..100 {
        tasks.fail("sink", "failed");
    }
    assert_eq!(tasks.join(SOON).await.unwrap_err().failed.len(), KEPT_FAILURES);
}
