//! What users may read by their groups: many groups, and groups that change while a token is valid.

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use serde_json::{Value, json};
use weir_faults::assert_no_panics;
use weir_testkit::{Mode, Series, Shape, Stack, eventually};

use super::interfaces::{Ask, Interfaces};
use super::uaa::{Uaa, add_user, weir};

/// The number of apps that one user may read.
const APPS: usize = 5_000;

fn app(number: usize) -> String {
    format!("aaaaaaaa-0000-4000-8000-{number:012}")
}

/// Checks the answer of every interface to a user who may, or may not, read `app`.
async fn reads(interfaces: &Interfaces<'_>, who: &str, app: &str, may: bool) -> anyhow::Result<()> {
    let query = format!("log&source_id={app}");
    let [stream, others] = if may { [101, 200] } else { [404, 404] };
    let asks = [
        (Ask::AppStream(app), stream),
        (Ask::Gateway(&query), others),
        (Ask::Read(app), others),
    ];
    interfaces.expect(who, &asks).await
}

fn id_of(stack: &Stack, name: &str) -> anyhow::Result<String> {
    let users: Value = serde_json::from_str(&weir(stack, &["user", "list", "--json"])?)?;
    let user = users
        .as_array()
        .and_then(|users| users.iter().find(|user| user["name"] == name));
    let id = user.and_then(|user| user["id"].as_str());
    Ok(id.context("the user")?.to_owned())
}

/// Setup: a user in five thousand groups of apps. Must hold: the user logs in with a token of normal length, and each
/// interface shows each of the apps and no other. When the user leaves one group, the token is refused, and the next
/// token reads the other apps.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_read_thousands_of_apps() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let uaa = Uaa::of(&stack)?;
    add_user(&stack, "alice", &[])?;
    add_user(&stack, "bob", &[])?;
    let alice = id_of(&stack, "alice")?;
    let admin = uaa.admin_token().await?;
    futures::stream::iter(0..APPS)
        .map(|number| {
            let group = json!({"displayName": format!("logs.read.{}", app(number)), "members": [{"value": alice}]});
            let (uaa, admin) = (&uaa, &admin);
            async move { uaa.call_as(admin, Method::POST, "/Groups", &group).await }
        })
        .buffer_unordered(8)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let token = uaa.user_token("alice", "password").await?;
    let other = uaa.user_token("bob", "password").await?;
    ensure!(
        token.len() < other.len() + 100,
        "{} and {} bytes",
        token.len(),
        other.len()
    );
    let interfaces = Interfaces::new(&stack, Some(&token))?;
    let shown = [0, APPS / 2, APPS - 1];
    let emitter = stack.emitter().await?;
    for number in shown {
        emitter.send(&Series::new(app(number), Shape::SHORT).batch(1)).await?;
        reads(&interfaces, "alice", &app(number), true).await?;
    }
    reads(&interfaces, "alice", &app(APPS), false).await?;
    reads(&Interfaces::new(&stack, Some(&other))?, "bob", &app(0), false).await?;
    eventually("SQL shows all three", async || {
        let rows = interfaces
            .rows("select count(distinct source_id) as n from logs")
            .await?;
        ensure!(rows[0]["n"] == 3, "{rows:?}");
        Ok(())
    })
    .await?;
    let meta = interfaces.rest("/api/v1/meta").await?;
    ensure!(shown.iter().all(|number| meta.contains(&app(*number))), "{meta}");

    weir(
        &stack,
        &[
            "group",
            "remove",
            &format!("logs.read.{}", app(APPS / 2)),
            "--user",
            "alice",
        ],
    )?;
    eventually("the token is revoked", async || {
        let status = interfaces.status(Ask::Read(&app(0))).await?;
        ensure!(status == 404, "{status}");
        Ok(())
    })
    .await?;
    let again = uaa.user_token("alice", "password").await?;
    let interfaces = Interfaces::new(&stack, Some(&again))?;
    reads(&interfaces, "alice, out of one group", &app(APPS / 2), false).await?;
    reads(&interfaces, "alice, out of one group", &app(0), true).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a user with a token and no app, and a client with an app among its authorities. Must hold: when the user is
/// given an app, the existing token reads it. A client's token reads what its authorities name, and a token with the
/// scope of one app reads that app.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_given_while_a_token_lives() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let uaa = Uaa::of(&stack)?;
    add_user(&stack, "carol", &[])?;
    let token = uaa.user_token("carol", "password").await?;
    let interfaces = Interfaces::new(&stack, Some(&token))?;
    reads(&interfaces, "carol, without an app", &app(1), false).await?;
    weir(
        &stack,
        &["group", "add", &format!("logs.read.{}", app(1)), "--user", "carol"],
    )?;
    eventually("the app is hers", async || {
        reads(&interfaces, "carol", &app(1), true).await
    })
    .await?;

    let authorities = [1, 2].map(|number| format!("logs.read.{}", app(number)));
    uaa.add_client("reader", &authorities.each_ref().map(String::as_str), 600)
        .await?;
    let own = uaa.client_token("reader", "secret").await?;
    let interfaces = Interfaces::new(&stack, Some(&own))?;
    for (number, may) in [(1, true), (2, true), (3, false)] {
        reads(&interfaces, "the client", &app(number), may).await?;
    }
    let one = uaa.scoped_client_token("reader", "secret", &authorities[0]).await?;
    let interfaces = Interfaces::new(&stack, Some(&one))?;
    for (number, may) in [(1, true), (2, false)] {
        reads(&interfaces, "the client, for one app", &app(number), may).await?;
    }
    assert_no_panics(&stack);
    Ok(())
}
