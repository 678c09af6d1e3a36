//! The changes of routes, as a stream that connects again by itself.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use weir_error::chain;
use weir_net::{AnswerBody, Backoff};

use crate::models::{Route, TcpRoute};
use crate::{Event, EventParser, RoutingApi};

/// How long a stream may bring nothing before it is opened again: a routing API that vanished says nothing. One of Weir sends a
/// comment more often than that; with one of the original a quiet stream is opened anew.
const SILENCE: Duration = Duration::from_secs(120);

/// A kind of route that has a stream of events.
pub trait Mapping: DeserializeOwned + fmt::Debug + Send {
    /// The path of the stream.
    const EVENTS: &'static str;
}

impl Mapping for Route {
    const EVENTS: &'static str = "/routing/v1/events";
}

impl Mapping for TcpRoute {
    const EVENTS: &'static str = "/routing/v1/tcp_routes/events";
}

/// What a stream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<R> {
    /// The stream was opened. What happened before is not repeated, so the routes have to be listed now.
    Connected,
    /// The stream broke or could not be opened; it is opened again after a while.
    Disconnected {
        /// What happened.
        reason: String,
    },
    /// A route was registered or changed.
    Upsert(R),
    /// A route was removed or expired.
    Delete(R),
}

/// A stream of events. Nothing is read ahead of the caller beyond what has arrived on the connection, so a slow caller holds
/// back the server and not memory.
#[derive(Debug)]
pub struct EventStream<R> {
    api: RoutingApi,
    open: Option<Open>,
    backoff: Backoff,
    /// Whether the next connection waits, because the last one failed.
    waits: bool,
    kind: PhantomData<fn() -> R>,
}

#[derive(Debug)]
struct Open {
    body: AnswerBody,
    parser: EventParser,
}

impl<R: Mapping> EventStream<R> {
    pub(crate) fn new(api: RoutingApi) -> Self {
        Self {
            api,
            open: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            waits: false,
            kind: PhantomData,
        }
    }

    /// The next update. Never ends. Cancel safe: no event is lost, but an attempt to connect begins anew.
    pub async fn next(&mut self) -> Update<R> {
        loop {
            let Some(open) = &mut self.open else {
                return self.connect().await;
            };
            match open.next_event().await {
                Ok(event) => {
                    self.backoff.reset();
                    match read(&event) {
                        Ok(Some(update)) => return update,
                        Ok(None) => {}
                        Err(reason) => return self.disconnected(reason),
                    }
                }
                Err(reason) => return self.disconnected(reason),
            }
        }
    }

    async fn connect(&mut self) -> Update<R> {
        if self.waits {
            sleep(self.backoff.next_delay()).await;
        }
        self.waits = true;
        match self.api.subscribe(R::EVENTS).await {
            Ok(body) => {
                self.open = Some(Open {
                    body,
                    parser: EventParser::default(),
                });
                Update::Connected
            }
            Err(error) => self.disconnected(chain(&error)),
        }
    }

    fn disconnected(&mut self, reason: String) -> Update<R> {
        self.open = None;
        Update::Disconnected { reason }
    }
}

impl Open {
    async fn next_event(&mut self) -> Result<Event, String> {
        loop {
            if let Some(event) = self.parser.next_event().map_err(|error| error.to_string())? {
                return Ok(event);
            }
            let piece = self.piece().await?;
            self.parser.push(&piece);
        }
    }

    async fn piece(&mut self) -> Result<Bytes, String> {
        let frame = timeout(SILENCE, self.body.frame()).await;
        match frame {
            Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
            Ok(Some(Err(error))) => Err(chain(&error)),
            Ok(None) => Err("the routing API ended the stream".to_owned()),
            Err(_) => Err(format!("nothing arrived within {} s", SILENCE.as_secs())),
        }
    }
}

/// An event as an update; `None` if its name is not known.
fn read<R: Mapping>(event: &Event) -> Result<Option<Update<R>>, String> {
    let update: fn(R) -> Update<R> = match event.name.as_str() {
        "Upsert" => Update::Upsert,
        "Delete" => Update::Delete,
        name => {
            tracing::debug!(name, "event of the routing API with an unknown name");
            return Ok(None);
        }
    };
    let route = serde_json::from_slice(&event.data);
    route
        .map(|route| Some(update(route)))
        .map_err(|error| format!("an event is not readable: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event {
            id: "0".to_owned(),
            name: name.to_owned(),
            data: data.to_owned().into(),
        }
    }

    /// Upserts and deletes are read, unknown events are passed over, and garbage ends the stream.
    #[test]
    fn events_are_read() {
        let route = Route {
            route: "a".to_owned(),
            ..Route::default()
        };
        let json = r#"{"route":"a"}"#;
        assert_eq!(read(&event("Upsert", json)), Ok(Some(Update::Upsert(route.clone()))));
        assert_eq!(read(&event("Delete", json)), Ok(Some(Update::Delete(route))));
        assert_eq!(read::<Route>(&event("Other", "x")), Ok(None));
        assert!(read::<Route>(&event("Upsert", "x")).is_err());
    }
}
