use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::json;
use weir_eventually::eventually;
use weir_service::{Context, Trigger};

use super::*;
use crate::announce::Announce;
use crate::route::{Defaults, RawRoute};
use crate::status::RouteState;

/// Notes what is announced: `+` and `-` with the names of the route.
#[derive(Debug, Default)]
struct Notes {
    said: Mutex<Vec<String>>,
    is_broken: Mutex<bool>,
}

impl Notes {
    fn say(&self, sign: char, route: &Route) -> Result<(), String> {
        if *self.is_broken.lock() {
            return Err("no connection".to_owned());
        }
        let Kind::Http(http) = &route.kind else {
            panic!("an HTTP route");
        };
        let names: Vec<&str> = http.uris.iter().map(String::as_str).collect();
        self.said.lock().push(format!("{sign}{}", names.join(" ")));
        Ok(())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.said.lock())
    }
}

#[async_trait]
impl Announce for Notes {
    async fn register(&self, route: &Route) -> Result<(), String> {
        self.say('+', route)
    }

    async fn unregister(&self, route: &Route) -> Result<(), String> {
        self.say('-', route)
    }
}

/// A registrar whose time is stopped: it passes when nothing else is to be done.
struct World {
    notes: Arc<Notes>,
    wanted: watch::Sender<Wanted>,
    wake: watch::Sender<u64>,
    shown: Shown,
    trigger: Trigger,
    context: Context,
}

impl World {
    fn new() -> Self {
        let (trigger, context) = Context::new("route-registrar");
        let notes = Arc::<Notes>::default();
        let (wanted, wanted_receiver) = watch::channel(Wanted::default());
        let (wake, wake_receiver) = watch::channel(0);
        let shared = Shared {
            announce: Arc::<Notes>::clone(&notes),
            unregistration_limit: 5,
            wake: wake_receiver,
            clock: context.clock.clone(),
        };
        let registrar = Registrar::new(shared, &context.tasks);
        let shown = registrar.shown();
        let shutdown = context.shutdown.clone();
        context.tasks.spawn("registrar", async move {
            registrar.run(wanted_receiver, &shutdown).await;
        });
        Self {
            notes,
            wanted,
            wake,
            shown,
            trigger,
            context,
        }
    }

    fn want(&self, routes: &[&Arc<Route>]) {
        let routes = routes.iter().map(|route| (Arc::clone(route), None)).collect();
        self.wanted.send_replace(Wanted {
            routes,
            files: Vec::new(),
        });
    }

    fn states(&self) -> Vec<RouteState> {
        self.shown
            .lock()
            .status()
            .routes
            .iter()
            .map(|route| route.state)
            .collect()
    }

    /// Waits until the notes are `expected`, in any order.
    async fn said(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        let mut said = BTreeSet::new();
        eventually(&format!("{expected:?}"), || {
            said.extend(self.notes.take());
            assert!(said.is_subset(&expected), "{said:?}");
            said == expected
        })
        .await;
    }

    async fn stop(self) -> Vec<String> {
        self.trigger.fire();
        self.context.finish(Duration::from_secs(60)).await.unwrap();
        self.notes.take()
    }
}

fn route(value: serde_json::Value) -> Arc<Route> {
    let mut fields = json!({"name": "n", "host": "h", "port": 1, "registration_interval": "1h"});
    fields
        .as_object_mut()
        .unwrap()
        .extend(value.as_object().unwrap().clone());
    let raw: RawRoute = serde_json::from_value(fields).unwrap();
    Arc::new(Route::new(&raw, &Defaults::default()).unwrap())
}

/// What is wanted is registered at once, what is not wanted any more is unregistered, and at the end everything is.
#[tokio::test]
async fn routes_come_and_go() {
    let world = World::new();
    let (a, b) = (route(json!({"uris": ["a"]})), route(json!({"uris": ["b", "c"]})));
    world.want(&[&a, &b]);
    world.said(&["+a", "+b c"]).await;
    eventually("both are registered", || world.states() == [RouteState::Registered; 2]).await;
    world.want(&[&b]);
    world.said(&["-a"]).await;
    eventually("one is left", || world.states() == [RouteState::Registered]).await;
    world.wake.send_replace(1);
    world.said(&["+b c"]).await;
    assert_eq!(world.stop().await, ["-b c"]);
}

/// A route that replaces another one is registered, and only what it does not cover is unregistered.
#[tokio::test]
async fn a_replaced_route_is_not_unregistered() {
    let world = World::new();
    let before = route(json!({"uris": ["a", "b"]}));
    let after = route(json!({"uris": ["a"], "tags": {"version": "2"}}));
    world.want(&[&before]);
    world.said(&["+a b"]).await;
    world.want(&[&after]);
    world.said(&["-b", "+a"]).await;
    assert_eq!(world.stop().await, ["-a"]);
}

/// A program that is not healthy is unregistered five times, then nothing is said, until it is healthy again.
#[tokio::test]
async fn an_unhealthy_route_is_unregistered_at_most_five_times() {
    let base = tempfile::tempdir().unwrap();
    let sick = base.path().join("sick");
    std::fs::write(&sick, "").unwrap();
    let checks = base.path().join("checks");
    let script = format!("echo >> {}; test ! -e {}", checks.display(), sick.display());
    let check = json!({"name": "c", "script_path": script, "timeout": "1m"});
    let route = route(json!({"uris": ["a"], "health_check": check}));
    let world = World::new();
    world.want(&[&route]);
    let count = |said: &[String], text: &str| said.iter().filter(|one| *one == text).count();
    let mut said = Vec::new();
    let mut wakes = 0;
    // Each look makes the next interval begin.
    eventually("five unregistrations, and checks after them", || {
        said.extend(world.notes.take());
        wakes += 1;
        world.wake.send_replace(wakes);
        std::fs::metadata(&checks).is_ok_and(|checks| checks.len() > 7)
    })
    .await;
    assert_eq!((count(&said, "-a"), count(&said, "+a")), (5, 0));
    let status = world.shown.lock().status();
    assert_eq!(status.routes[0].state, RouteState::Unhealthy);
    assert_eq!(status.routes[0].error.as_deref(), Some("exit status: 1"));
    std::fs::remove_file(&sick).unwrap();
    eventually("it is registered", || {
        said.extend(world.notes.take());
        wakes += 1;
        world.wake.send_replace(wakes);
        count(&said, "+a") > 0
    })
    .await;
    assert_eq!(world.states(), [RouteState::Registered]);
    assert_eq!(world.stop().await.last().map(String::as_str), Some("-a"));
}

/// What cannot be sent is shown, and sent at the next interval.
#[tokio::test]
async fn what_cannot_be_sent_is_shown() {
    let world = World::new();
    *world.notes.is_broken.lock() = true;
    world.want(&[&route(json!({"uris": ["a"]}))]);
    eventually("it has failed", || world.states() == [RouteState::Failed]).await;
    assert_eq!(
        world.shown.lock().status().routes[0].error.as_deref(),
        Some("no connection")
    );
    *world.notes.is_broken.lock() = false;
    world.wake.send_replace(1);
    world.said(&["+a"]).await;
    eventually("it is registered", || world.states() == [RouteState::Registered]).await;
    assert_eq!(world.stop().await, ["-a"]);
}

/// An unregistration that could not be sent is sent later, unless another route covers it by then.
#[tokio::test(start_paused = true)]
async fn an_unregistration_is_owed() {
    let world = World::new();
    let (a, b) = (route(json!({"uris": ["a"]})), route(json!({"uris": ["b"]})));
    world.want(&[&a, &b]);
    world.said(&["+a", "+b"]).await;
    *world.notes.is_broken.lock() = true;
    world.want(&[]);
    eventually("nothing is kept", || world.states().is_empty()).await;
    *world.notes.is_broken.lock() = false;
    world.want(&[&route(json!({"uris": ["a"], "tags": {"new": "1"}}))]);
    world.said(&["-b", "+a"]).await;
    *world.notes.is_broken.lock() = true;
    world.want(&[]);
    eventually("nothing is kept", || world.states().is_empty()).await;
    *world.notes.is_broken.lock() = false;
    world.said(&["-a"]).await;
    assert!(world.stop().await.is_empty());
}
