//! Crowds of connections from one address: others are served, and the parts of the stack reach each other.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::json;
use weir_faults::{assert_no_panics, assert_serves};
use weir_testkit::{Crowd, Mode, Stack, eventually, served};
use weir_tls::ALPN_H2;

use super::faces::{Ask, Faces};
use super::uaa::Uaa;

/// More connections than a port has places.
const CROWD: usize = 2100;

/// The stack has 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Others are served by then, however busy the machine is; a member of a crowd holds its place for 10 to 30 seconds.
const SERVED: Duration = Duration::from_secs(8);

/// A request for which the server waits.
const BEGUN: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: ";

/// A request that the server reads, slowly.
const SLOW_FORM: &[u8] = b"POST /oauth/token HTTP/1.1\r\nhost: uaa\r\ncontent-length: 1000\r\n\
    content-type: application/x-www-form-urlencoded\r\n\r\ngrant_type=";

/// A login, a read, a query and streams, all from the address of the stack.
async fn all_are_served(stack: &Stack, uaa: &Uaa) -> anyhow::Result<()> {
    let endpoints = stack.endpoints();
    let login = uaa.user_token(&endpoints.admin_user, &endpoints.admin_password);
    served("a login", SERVED, login).await?;
    let token = stack.token()?;
    let faces = Faces::new(stack, Some(&token))?;
    for (ask, wanted) in [
        (Ask::Read("crowded"), 200),
        (Ask::Meta, 200),
        (Ask::Sql, 200),
        (Ask::Gateway("log"), 200),
        (Ask::Firehose, 101),
    ] {
        let status = served(&format!("{ask:?}"), SERVED, faces.status(ask)).await?;
        ensure!(status == wanted, "{ask:?}: {status}");
    }
    Ok(())
}

/// Setup: more connections from one address than a port has places, at each public port in turn; each has begun a request, and
/// comes again when it is closed. Must hold: a login, a read, a query and streams from another address are served.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_shuts_nobody_out() -> anyhow::Result<()> {
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

/// Setup: the crowd at UAA has the address of the stack's own parts, and each member is heard slowly. Must hold: who comes from
/// elsewhere logs in, a token that they revoke is refused at a face, which reads that from UAA, and a face finds a new key.
#[tokio::test(flavor = "multi_thread")]
async fn faces_reach_uaa_through_a_crowd() -> anyhow::Result<()> {
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
    let faces = Faces::new(&stack, Some(&token))?;
    ensure!(faces.status(Ask::Sql).await? == 200);
    let path = "/oauth/token/revoke/client/reader";
    let nothing = json!({});
    let revocation = uaa.administrate(Method::DELETE, path, &nothing);
    served("a revocation", SERVED, revocation).await?;
    for (ask, refused) in [(Ask::Sql, 401), (Ask::Read("crowded"), 404), (Ask::Firehose, 401)] {
        eventually("the token is refused", async || {
            let status = faces.status(ask).await?;
            ensure!(status == refused, "{ask:?}: {status}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    ensure!(crowd.open() > CROWD / 10, "{} connections", crowd.open());
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a crowd with the stack's certificate at a gRPC port, and one without at the same. Must hold: lines go through.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_an_internal_port_stops_no_line() -> anyhow::Result<()> {
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
