//! Readiness of a stack: every port answers a TLS handshake, and an envelope sent to the agent arrives in the log cache.

use std::time::{Duration, Instant};

use prost::Message as _;
use weir_component::{Component as _, Direction, Peer};
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_error::ErrorKind;
use weir_flow::Ledger;
use weir_net::{Channel, Target};
use weir_platform_route_registrar::INTERFACES;
use weir_proto::logcache_v1::{EnvelopeType, ReadRequest, ReadResponse};
use weir_rpc::producer::{Pace, Producer};
use weir_service::{Health, Shutdown, Tasks, clock};
use weir_tls::ClientTls;

use super::Plan;
use super::separate::Starts;
use crate::client::{ask_by_name, handshake};
use crate::components::Entry;
use crate::failure::Failure;

/// How long a component may take until it answers, and how long an envelope may then take to arrive.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long one handshake may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The time between two tries.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long an envelope may take before another is sent. The first may be lost: the log cache may not be subscribed yet.
const PASSAGE: Duration = Duration::from_millis(500);
/// The source id of the event that passes through the stack.
const SOURCE: &str = "weir";

const READ: &str = "/logcache.v1.Egress/Read";

/// Starts each component in `starts` once all components that it needs answer, and waits until the stack of `plan` serves.
pub(crate) async fn ready(plan: &Plan, mut starts: Starts) -> Result<(), Failure> {
    let tls = ClientTls::mutual(&plan.client)?;
    let start = |component: &Entry| {
        if let Some(start) = starts.remove(component.name()) {
            // Fails if the stack is being stopped already.
            start.send(()).ok();
        }
        serves(plan, &tls, component.name())
    };
    let mut starting = plan.components.walk(Direction::Start, start);
    while let Some((_, result)) = starting.next().await {
        result?;
    }
    named(plan, &tls).await?;
    let (agent, cache) = (plan.agent()?, plan.target::<weir_log_cache_server::Server>()?);
    match (agent, cache) {
        (Some(agent), Some(cache)) => passes(&agent, &Channel::new(&cache)).await,
        // Without agent or log cache (`--only`), no envelope can pass.
        _ => Ok(()),
    }
}

/// Waits until all ports of `component` answer.
async fn serves(plan: &Plan, tls: &ClientTls, component: &'static str) -> Result<(), Failure> {
    let deadline = clock::instant() + DEADLINE;
    for peer in plan
        .ports
        .of(&plan.components)
        .filter(|peer| peer.component == component)
    {
        answers(tls, peer, deadline).await?;
    }
    Ok(())
}

/// Waits until the router knows the names of the interfaces that run.
async fn named(plan: &Plan, tls: &ClientTls) -> Result<(), Failure> {
    let running: Vec<&Peer> = plan.ports.of(&plan.components).collect();
    let address = |key: &str| {
        running
            .iter()
            .find(|peer| peer.port.key == key)
            .map(|peer| peer.address)
    };
    let proxy = address(weir_platform_names_proxy::Server::DESCRIPTION.port().key);
    let registrar = address(weir_platform_route_registrar::Server::DESCRIPTION.port().key);
    let (Some(proxy), Some(_)) = (proxy, registrar) else {
        return Ok(());
    };
    let deadline = clock::instant() + DEADLINE;
    let names = INTERFACES.iter().filter(|(_, key)| address(key).is_some());
    let known = names.map(|(label, _)| is_known(proxy.to_string(), tls, format!("{label}.{}", plan.domain), deadline));
    futures::future::try_join_all(known).await.map(drop)
}

async fn is_known(proxy: String, tls: &ClientTls, name: String, deadline: Instant) -> Result<(), Failure> {
    loop {
        let why = match ask_by_name(&proxy, tls, &name, "/").await {
            Ok(answer) if !answer.is_unknown() => return Ok(()),
            Ok(answer) => format!("answers {answer}"),
            Err(error) => error,
        };
        if clock::instant() > deadline {
            let text = format!("name `{name}` at the router: {why}");
            return Err(Failure::new(ErrorKind::Timeout, text));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn answers(tls: &ClientTls, peer: &Peer, deadline: Instant) -> Result<(), Failure> {
    let (address, name) = (peer.address.to_string(), peer.server_name);
    loop {
        let attempt = tokio::time::timeout(ANSWER, handshake(tls, &peer.port, &address, name)).await;
        match attempt.unwrap_or_else(|_| Err("does not answer".to_owned())) {
            Ok(()) => return Ok(()),
            Err(error) if clock::instant() > deadline => {
                return Err(Failure::new(
                    ErrorKind::Timeout,
                    format!("{name} at `{address}`: {error}"),
                ));
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// Sends an event through the whole stack until it comes out.
async fn passes(agent: &Target, cache: &Channel) -> Result<(), Failure> {
    let deadline = clock::instant() + DEADLINE;
    let (trigger, _) = Shutdown::new();
    let tasks = Tasks::new(trigger, Health::new());
    let mut producer = Producer::new(
        agent,
        Ledger::in_memory("up"),
        &tasks,
        Pace {
            patience: ANSWER,
            ..Pace::default()
        },
    );
    let start = clock::now_nanos();
    while clock::instant() < deadline {
        let mut builder = BatchBuilder::new();
        builder.push_with(|envelope| {
            let mut writer = Writer::new(envelope);
            writer
                .timestamp(clock::now_nanos())
                .source_id(SOURCE)
                .tag("origin", SOURCE)
                .tag("source_type", "LGR");
            writer.event("weir up", "the stack serves");
        });
        producer.send(builder.finish()).await?;
        let resend_at = clock::instant() + PASSAGE;
        while clock::instant() < resend_at {
            if arrived(cache, start).await {
                return Ok(());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
    Err(Failure::new(
        ErrorKind::Timeout,
        "what goes in at the agent does not come out of the log cache",
    )
    .with_hint("the logs of the components say more; `weir doctor` looks as well"))
}

/// Returns whether an event of [`SOURCE`] since `start` is in the log cache. An error counts as no: the cache may be starting.
async fn arrived(cache: &Channel, start: i64) -> bool {
    let request = ReadRequest {
        source_id: SOURCE.to_owned(),
        start_time: start,
        limit: 1,
        envelope_types: vec![EnvelopeType::Event.into()],
        ..ReadRequest::default()
    };
    let Ok(answer) = cache.unary(READ, request.encode_to_vec()).await else {
        return false;
    };
    ReadResponse::decode(answer)
        .ok()
        .and_then(|response| response.envelopes)
        .is_some_and(|found| !found.batch.is_empty())
}
