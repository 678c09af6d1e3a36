//! Two tenants of one stack.

use anyhow::ensure;
use weir_faults::assert_no_panics;
use weir_testkit::{Firehose, Mode, Series, Shape, Stack, eventually};

use super::interfaces::{Ask, Interfaces};
use super::rows;
use super::uaa::{Uaa, add_user};

/// A tenant: a user, and the app that the user may read.
struct Tenant {
    user: &'static str,
    app: &'static str,
    lines: usize,
}

const TENANTS: [Tenant; 2] = [
    Tenant {
        user: "alice",
        app: "aaaaaaaa-0000-4000-8000-00000000000a",
        lines: 30,
    },
    Tenant {
        user: "bob",
        app: "bbbbbbbb-0000-4000-8000-00000000000b",
        lines: 70,
    },
];

/// Setup: two users, each in the group of one app. Both apps write logs. Must hold, in each mode and for both users:
/// every interface shows a tenant all of its own, and no row, count or name of the other tenant. What belongs to the
/// other does not exist for it.
#[tokio::test(flavor = "multi_thread")]
async fn two_tenants() -> anyhow::Result<()> {
    for mode in [Mode::Embedded, Mode::Processes] {
        let stack = Stack::start(mode).await?;
        let uaa = Uaa::of(&stack)?;
        for tenant in &TENANTS {
            add_user(&stack, tenant.user, &[&format!("logs.read.{}", tenant.app)])?;
        }
        for (own, other) in [(&TENANTS[0], &TENANTS[1]), (&TENANTS[1], &TENANTS[0])] {
            let token = uaa.user_token(own.user, "password").await?;
            streams(&stack, &token, own, other).await?;
            let interfaces = Interfaces::new(&stack, Some(&token))?;
            interfaces
                .expect(
                    own.user,
                    &[
                        (Ask::Firehose, 401),
                        (Ask::AppStream(own.app), 101),
                        (Ask::AppStream(other.app), 404),
                        (Ask::Gateway(&format!("log&source_id={}", own.app)), 200),
                        (Ask::Gateway(&format!("log&source_id={}", other.app)), 404),
                        (
                            Ask::Gateway(&format!("log&source_id={}&source_id={}", own.app, other.app)),
                            404,
                        ),
                        (Ask::Gateway("log"), 404),
                        (Ask::Read(own.app), 200),
                        (Ask::Read(other.app), 404),
                        (Ask::Meta, 200),
                        (Ask::Sql, 200),
                    ],
                )
                .await?;
        }
        // A caller who sees everything waits until both apps have lines.
        let everything = Interfaces::new(&stack, Some(&stack.token()?))?;
        rows::fill(
            &stack.emitter().await?,
            &everything,
            TENANTS.each_ref().map(|tenant| tenant.app),
        )
        .await?;
        for (own, other) in [(&TENANTS[0], &TENANTS[1]), (&TENANTS[1], &TENANTS[0])] {
            let token = uaa.user_token(own.user, "password").await?;
            let interfaces = Interfaces::new(&stack, Some(&token))?;
            held(&interfaces, own, other).await?;
            rows::check_isolation(&interfaces, own.app, other.app).await?;
        }
        assert_no_panics(&stack);
    }
    Ok(())
}

/// Checks the live interfaces while both apps write.
async fn streams(stack: &Stack, token: &str, own: &Tenant, other: &Tenant) -> anyhow::Result<()> {
    let app = Firehose::open(stack.endpoints(), &format!("/apps/{}/stream", own.app), token).await?;
    let interfaces = Interfaces::new(stack, Some(token))?;
    let query = format!("log&source_id={}", own.app);
    let last = format!("\"source_id\":\"{}\"", own.app);
    let emitter = stack.emitter().await?;
    let feeding = async {
        let (mut owns, mut others) = (Series::new(own.app, Shape::SHORT), Series::new(other.app, Shape::SHORT));
        emitter.send_series(&mut others, other.lines).await?;
        emitter.send_series(&mut owns, own.lines).await?;
        eventually("the app stream has its lines", async || {
            emitter.send(&others.batch(1)).await?;
            emitter.send(&owns.batch(1)).await?;
            let got = app.received.of(own.app);
            ensure!(got >= 20, "{got}");
            Ok(())
        })
        .await
    };
    let events = interfaces.events(&query, |answer| answer.matches(&last).count() > 3);
    // Both apps write until both streams have lines.
    let (events, fed) = tokio::join!(
        async {
            let mut events = std::pin::pin!(events);
            let mut more = Series::new(own.app, Shape::SHORT);
            let mut noise = Series::new(other.app, Shape::SHORT);
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
            loop {
                tokio::select! {
                    events = &mut events => return events,
                    _ = ticks.tick() => {
                        emitter.send(&noise.batch(2)).await?;
                        emitter.send(&more.batch(2)).await?;
                    }
                }
            }
        },
        feeding
    );
    fed?;
    let events = events?;
    ensure!(events.contains(&last), "no envelope of {}: {events}", own.user);
    ensure!(!events.contains(other.app), "{} saw the other's: {events}", own.user);
    let numbers = app.received.numbers();
    ensure!(
        numbers.keys().eq([own.app]),
        "{} saw {:?} in the app stream",
        own.user,
        numbers.keys()
    );
    Ok(())
}

/// Checks what the REST interface returns.
async fn held(interfaces: &Interfaces<'_>, own: &Tenant, other: &Tenant) -> anyhow::Result<()> {
    let read = interfaces.rest(&format!("/api/v1/read/{}?limit=1000", own.app)).await?;
    ensure!(read.contains(own.app) && !read.contains(other.app), "{read}");
    let hidden = interfaces.rest(&format!("/api/v1/read/{}", other.app)).await?;
    let absent = interfaces
        .rest("/api/v1/read/cccccccc-0000-4000-8000-00000000000c")
        .await?;
    let without_date = |answer: &str| -> Vec<String> {
        let lines = answer.lines().filter(|line| !line.to_lowercase().starts_with("date:"));
        lines.map(str::to_owned).collect()
    };
    ensure!(
        without_date(&hidden) == without_date(&absent),
        "what is hidden looks other than what is not there:\n{hidden}\n{absent}"
    );
    let meta = interfaces.rest("/api/v1/meta").await?;
    ensure!(meta.contains(own.app) && !meta.contains(other.app), "{meta}");
    ensure!(
        !meta.contains("doppler"),
        "the stack's own sources are nobody's: {meta}"
    );
    Ok(())
}
