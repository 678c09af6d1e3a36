//! Every kind of token that is refused, with the answer of each interface, and the ends of streams.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};
use weir_faults::assert_no_panics;
use weir_testkit::{Firehose, Mode, Stack, eventually};

use super::interfaces::{Ask, Interfaces};
use super::uaa::{Uaa, add_user, weir};

const APP: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
const QUERY: &str = "log&source_id=aaaaaaaa-0000-4000-8000-00000000000a";

/// The answers to a caller without a valid token.
const UNKNOWN: [(Ask<'_>, u16); 7] = [
    (Ask::Firehose, 401),
    (Ask::AppStream(APP), 401),
    (Ask::Gateway(QUERY), 404),
    (Ask::Gateway("log"), 404),
    (Ask::Read(APP), 404),
    (Ask::Meta, 404),
    (Ask::Sql, 401),
];

/// The answers to a caller who may read this app only.
const TENANT: [(Ask<'_>, u16); 7] = [
    (Ask::Firehose, 401),
    (Ask::AppStream(APP), 101),
    (Ask::Gateway(QUERY), 200),
    (Ask::Gateway("log"), 404),
    (Ask::Read(APP), 200),
    (Ask::Meta, 200),
    (Ask::Sql, 200),
];

/// The answers to a known caller who may read nothing.
const NOTHING: [(Ask<'_>, u16); 7] = [
    (Ask::Firehose, 401),
    (Ask::AppStream(APP), 404),
    (Ask::Gateway(QUERY), 404),
    (Ask::Gateway("log"), 404),
    (Ask::Read(APP), 404),
    (Ask::Meta, 200),
    (Ask::Sql, 403),
];

/// The answers to a caller who may read everything.
const ADMIN: [(Ask<'_>, u16); 7] = [
    (Ask::Firehose, 101),
    (Ask::AppStream(APP), 101),
    (Ask::Gateway(QUERY), 200),
    (Ask::Gateway("log"), 200),
    (Ask::Read(APP), 200),
    (Ask::Meta, 200),
    (Ask::Sql, 200),
];

/// Returns the token with another signature of the same length.
fn forged(token: &str) -> anyhow::Result<String> {
    let (signed, signature) = token.rsplit_once('.').context("a JWT")?;
    let other: String = signature
        .chars()
        .map(|letter| if letter == 'A' { 'B' } else { 'A' })
        .collect();
    Ok(format!("{signed}.{other}"))
}

/// Setup: a stack, and tokens of all kinds from its UAA. Must hold: each interface answers each token as
/// docs/security.md says. After the signing key was replaced, old and new tokens are both valid.
#[tokio::test(flavor = "multi_thread")]
async fn every_face_answers_every_token() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let uaa = Uaa::of(&stack)?;
    let admin = stack.endpoints().admin_password.clone();
    add_user(&stack, "alice", &[&format!("logs.read.{APP}")])?;
    add_user(&stack, "carol", &[])?;
    add_user(&stack, "dave", &["logs.admin"])?;
    let interfaces = |token: &str| Interfaces::new(&stack, Some(token));

    Interfaces::new(&stack, None)?.expect("no token", &UNKNOWN).await?;
    interfaces("bearer nonsense")?.expect("nonsense", &UNKNOWN).await?;
    let alice = uaa.user_token("alice", "password").await?;
    interfaces(&alice)?.expect("a tenant", &TENANT).await?;
    interfaces(&forged(&alice)?)?.expect("a forged token", &UNKNOWN).await?;
    let carol = uaa.user_token("carol", "password").await?;
    interfaces(&carol)?.expect("wrong scope", &NOTHING).await?;
    let dave = uaa.user_token("dave", "password").await?;
    let all_but_v1 = ADMIN.map(|(ask, status)| (ask, if ask == Ask::Firehose { 401 } else { status }));
    interfaces(&dave)?.expect("logs.admin", &all_but_v1).await?;
    let administrator = uaa.user_token("admin", &admin).await?;
    interfaces(&administrator)?.expect("the administrator", &ADMIN).await?;
    interfaces(&stack.token()?)?.expect("the operator", &ADMIN).await?;

    uaa.add_client("other", &["scim.read"], 600).await?;
    let other = uaa.client_token("other", "secret").await?;
    interfaces(&other)?.expect("wrong audience", &UNKNOWN).await?;
    let form = "grant_type=password&client_id=cf&client_secret=&username=dave&password=password";
    let answer: Value = serde_json::from_slice(&uaa.form("/oauth/token", form).await?.body)?;
    let refresh = answer["refresh_token"].as_str().context("a refresh token")?;
    interfaces(&format!("bearer {refresh}"))?
        .expect("a refresh token", &UNKNOWN)
        .await?;

    uaa.add_client("brief", &["doppler.firehose"], 1).await?;
    let brief = uaa.client_token("brief", "secret").await?;
    eventually("the token is over", async || {
        let status = interfaces(&brief)?.status(Ask::Sql).await?;
        ensure!(status == 401, "{status}");
        Ok(())
    })
    .await?;
    interfaces(&brief)?.expect("an expired token", &UNKNOWN).await?;

    uaa.administrate(Method::POST, "/weir/v1/keys/rotate", &json!({}))
        .await?;
    let fresh = uaa.user_token("alice", "password").await?;
    interfaces(&fresh)?.expect("a token of the new key", &TENANT).await?;
    interfaces(&alice)?.expect("a token of the old key", &TENANT).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a user reads from every kind of stream, and an administrator revokes the user's tokens. Must hold: within a
/// minute every stream ends with the reason, and every interface refuses the token. A new login works.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_streams() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Processes).await?;
    let uaa = Uaa::of(&stack)?;
    add_user(&stack, "alice", &[&format!("logs.read.{APP}"), "doppler.firehose"])?;
    let token = uaa.user_token("alice", "password").await?;
    let firehose = Firehose::open(stack.endpoints(), "/firehose/revoked", &token).await?;
    let app = Firehose::open(stack.endpoints(), &format!("/apps/{APP}/stream"), &token).await?;
    let interfaces = Interfaces::new(&stack, Some(&token))?;
    let events = interfaces.events(QUERY, |answer| {
        answer.contains("event: closing") && answer.contains("revoked")
    });
    let users: Value = serde_json::from_str(&weir(&stack, &["user", "list", "--json"])?)?;
    let alice = users
        .as_array()
        .and_then(|users| users.iter().find(|user| user["name"] == "alice"))
        .and_then(|user| user["id"].as_str())
        .context("alice")?;
    let revoke = async {
        let path = format!("/oauth/token/revoke/user/{alice}");
        uaa.administrate(Method::DELETE, &path, &Value::Null).await
    };
    let minute = Duration::from_secs(60);
    let (events, revoked) = tokio::join!(events, revoke);
    revoked?;
    let events = events?;
    ensure!(events.contains("revoked"), "the gateway says why: {events}");
    for (name, stream) in [("firehose", firehose), ("app stream", app)] {
        let end = tokio::time::timeout(minute, stream.ended()).await.context(name)??;
        let text = format!("{end:?}");
        ensure!(text.contains("revoked"), "the {name} says why: {text}");
    }
    interfaces.expect("a revoked token", &UNKNOWN).await?;
    let again = uaa.user_token("alice", "password").await?;
    Interfaces::new(&stack, Some(&again))?
        .expect("a new login", &ADMIN)
        .await?;
    assert_no_panics(&stack);
    Ok(())
}
