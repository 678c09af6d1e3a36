//! Many connections from one address: others are served, and the components reach each other.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::json;
use weir_faults::{assert_no_panics, assert_serves};
use weir_testkit::{Crowd, Mode, Stack, eventually, served};
use weir_tls::ALPN_H2;

use super::interfaces::{Ask, Interfaces};
use super::uaa::Uaa;

/// The number of connections: more than a port accepts.
const CROWD: usize = 2100;

/// The address of the crowd. The stack uses 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How long others may wait, on a busy machine. A member of the crowd keeps its connection for 10 to 30 seconds, so
/// others do not wait for its end.
const SERVED: Duration = Duration::from_secs(8);

/// The beginning of a request, whose end the server waits for.
const BEGUN: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: ";

/// A request with a body that arrives slowly.
const SLOW_FORM: &[u8] = b"POST /oauth/token HTTP/1.1\r\nhost: uaa\r\ncontent-length: 1000\r\n\
    content-type: application/x-www-form-urlencoded\r\n\r\ngrant_type=";

/// Checks that a login, a read, a query and streams are served, all from the address of the stack.
async fn all_are_served(stack: &Stack, uaa: &Uaa) -> anyhow::Result<()> {
    let endpoints = stack.endpoints();
    let login = uaa.user_token(&endpoints.admin_user, &endpoints.admin_password);
    served("a login", SERVED, login).await?;
    let token = stack.token()?;
    let interfaces = Interfaces::new(stack, Some(&token))?;
    for (ask, wanted) in [
        (Ask::Read("crowded"), 200),
        (Ask::Meta, 200),
        (Ask::Sql, 200),
        (Ask::Gateway("log"), 200),
        (Ask::Firehose, 101),
    ] {
        let status = served(&format!("{ask:?}"), SERVED, interfaces.status(ask)).await?;
        ensure!(status == wanted, "{ask:?}: {status}");
    }
    Ok(())
}

/// Setup: more connections from one address than a port accepts, at each public port in turn. Each has begun a request,
/// and connects again when it is closed. Must hold: a login, a read, a query and streams from another address are
/// served.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_does_not_shut_others_out() -> anyhow::Result<()> {
    let stack = Stack::builder(Mode::Embedded)
        .env("TRAFFIC_CONTROLLER__LIMITS__CONNECTIONS", 2048)
        .start()
        .await?;
    let (endpoints, uaa) = (stack.endpoints(), Uaa::of(&stack)?);
    let token = stack.token()?;
    let slow_query =
        format!("POST /v1/sql HTTP/1.1\r\nhost: sql\r\nauthorization: {token}\r\ncontent-length: 1000\r\n\r\nselect");
    for (url, words) in [
        (&endpoints.uaa, BEGUN),
        (&endpoints.uaa, SLOW_FORM),
        (&endpoints.sql_http, slow_query.as_bytes()),
        (&endpoints.log_cache_proxy, BEGUN),
        (&endpoints.rlp_gateway, BEGUN),
        (&endpoints.traffic_controller, BEGUN),
    ] {
        let crowd = Crowd::gather(url, ELSEWHERE, CROWD, &endpoints.trusting()?, words).await?;
        all_are_served(&stack, &uaa)
            .await
            .with_context(|| format!("{} connections at {url}", crowd.open()))?;
        ensure!(crowd.open() > CROWD / 10, "{} connections at {url}", crowd.open());
    }
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a crowd at UAA has the address of the stack's own components, and sends slowly. Must hold: a user from
/// another address can log in. An interface refuses a token that the user revokes, which it learns from UAA, and finds
/// a new signing key.
#[tokio::test(flavor = "multi_thread")]
async fn interfaces_reach_uaa_despite_a_crowd() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let uaa = Uaa::of(&stack)?.calling_from(ELSEWHERE);
    uaa.add_client("reader", &["logs.admin"], 600).await?;
    let crowd = Crowd::gather(
        &endpoints.uaa,
        Ipv4Addr::LOCALHOST,
        CROWD,
        &endpoints.trusting()?,
        SLOW_FORM,
    )
    .await?;
    let token = served("a token", SERVED, uaa.client_token("reader", "secret")).await?;
    let interfaces = Interfaces::new(&stack, Some(&token))?;
    ensure!(interfaces.status(Ask::Sql).await? == 200);
    let path = "/oauth/token/revoke/client/reader";
    let nothing = json!({});
    let revocation = uaa.administrate(Method::DELETE, path, &nothing);
    served("a revocation", SERVED, revocation).await?;
    for (ask, refused) in [(Ask::Sql, 401), (Ask::Read("crowded"), 404), (Ask::Firehose, 401)] {
        eventually("the token is refused", async || {
            let status = interfaces.status(ask).await?;
            ensure!(status == refused, "{ask:?}: {status}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    ensure!(crowd.open() > CROWD / 10, "{} connections", crowd.open());
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a crowd with the stack's certificate at a gRPC port, and another one without a certificate. Must hold: lines
/// pass that port.
#[tokio::test(flavor = "multi_thread")]
async fn lines_pass_an_internal_port_despite_a_crowd() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let known = endpoints.mutual()?.with_alpn(&[ALPN_H2]);
    let unknown = endpoints.trusting()?.with_alpn(&[ALPN_H2]);
    let _known = Crowd::gather(&endpoints.doppler, ELSEWHERE, CROWD, &known, b"").await?;
    let _unknown = Crowd::gather(&endpoints.doppler, Ipv4Addr::LOCALHOST, CROWD, &unknown, b"").await?;
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}
