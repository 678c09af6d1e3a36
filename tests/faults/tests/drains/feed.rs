//! Bindings on their way from a cloud controller, which fails or changes, over the binding cache to the agent.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use weir_faults::send_paced;
use weir_testkit::drains::{Behaviour, DrainAgent, DrainItem, DrainReceiver};
use weir_testkit::{Series, Shape, eventually};

use super::drill::{RATE, check_complete};

/// Waits until the agent has a drain for each of these apps and for no other.
async fn serves_apps(agent: &DrainAgent, apps: &BTreeSet<String>) -> anyhow::Result<()> {
    eventually("the agent has the bindings", async || {
        let mut has: BTreeSet<String> = BTreeSet::new();
        for status in agent.status().await? {
            if status.state != "removed" {
                has.insert(status.app);
            }
        }
        ensure!(
            has == *apps,
            "{} of {} apps, {:?} too many",
            has.intersection(apps).count(),
            apps.len(),
            has.difference(apps).collect::<Vec<_>>()
        );
        Ok::<_, anyhow::Error>(())
    })
    .await
    .with_context(|| agent.log())
}

/// Setup: more drains than fit on one page of the feed, one of them under load. Meanwhile, drains before and after it
/// come and go, so that the offsets of all pages change. Must hold: that drain never leaves the list, loses nothing and
/// keeps its binding. In the end the agent has exactly the drains of the controller.
#[tokio::test(flavor = "multi_thread")]
async fn bindings_change_while_they_are_read() -> anyhow::Result<()> {
    let receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let agent = DrainAgent::builder().with_binding_cache(&[]).start().await?;
    let item = |app: &str| DrainItem::new(app, format!("{}?app={app}", receiver.url()));
    let apps = |from: usize| -> BTreeSet<String> {
        (from..from + 170)
            .map(|index| format!("app-{index:04}"))
            .chain(["app-0180".to_owned()])
            .collect()
    };
    let mut now = apps(0);
    agent.controller.set(now.iter().map(|app| item(app)));
    serves_apps(&agent, &now).await?;
    let before = agent.wait_for_status("app-0180", |_| true).await?.binding;

    let mut steady = [Series::new("app-0180", Shape::LINE)];
    let emitter = agent.emitter()?;
    for round in 0..20 {
        now = apps(round * 7);
        agent.controller.set(now.iter().map(|app| item(app)));
        send_paced(&emitter, &mut steady, &[400], RATE).await?;
    }
    serves_apps(&agent, &now).await?;
    receiver.wait_for_lines(8000).await?;
    check_complete(&receiver.lines().of("app-0180"), 8000, 0)?;
    assert_eq!(agent.wait_for_status("app-0180", |_| true).await?.binding, before);
    Ok(())
}

/// Setup: the controller fails, then the binding cache is killed, then the agent is killed and started again. Must
/// hold: all drains continue.
#[tokio::test(flavor = "multi_thread")]
async fn drains_continue_without_a_feed() -> anyhow::Result<()> {
    let receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let mut agent = DrainAgent::builder().with_binding_cache(&[]).start().await?;
    let apps: BTreeSet<String> = (0..60).map(|index| format!("app-{index}")).collect();
    agent
        .controller
        .set(apps.iter().map(|app| DrainItem::new(app, receiver.url())));
    serves_apps(&agent, &apps).await?;
    let mut series: Vec<Series> = apps.iter().map(|app| Series::new(app, Shape::SHORT)).collect();
    let each = vec![10; series.len()];
    let mut expected = 0;

    agent.controller.fail(Some(500));
    let seen = agent.controller.requests();
    eventually("some failed polls", async || {
        let polls = agent.controller.requests() - seen;
        ensure!(polls > 3, "{polls}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    send_paced(&agent.emitter()?, &mut series, &each, RATE).await?;
    expected += 600;
    receiver.wait_for_lines(expected).await?;
    let stale = agent.cache_status().await?.to_string();
    ensure!(stale.contains("stale_since"), "{stale}");

    agent.kill_cache()?;
    agent.kill()?;
    agent.start_again().await?;
    serves_apps(&agent, &apps).await?;
    send_paced(&agent.emitter()?, &mut series, &each, RATE).await?;
    expected += 600;
    receiver.wait_for_lines(expected).await?;
    for app in &apps {
        check_complete(&receiver.lines().of(app), 20, 0).with_context(|| app.clone())?;
    }
    Ok(())
}

/// Setup: one app has seven drains. Other apps have drains that cannot be used: an unknown scheme, no host, a forbidden
/// address. Must hold: five of the seven are used, and two are reported as over the limit. The others are refused, each
/// with its reason and without secrets. The valid drains of all apps work.
#[tokio::test(flavor = "multi_thread")]
async fn unusable_drains_are_named() -> anyhow::Result<()> {
    let receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let agent = DrainAgent::builder()
        .key("drains.blocked_addresses", "\"127.0.0.66-127.0.0.66\"")
        .with_binding_cache(&[("blocked_ranges", "\"127.0.0.66-127.0.0.66\"")])
        .start()
        .await?;
    let mut items: Vec<DrainItem> = (0..7)
        .map(|index| DrainItem::new("many", format!("{}?number={index}", receiver.url())))
        .collect();
    let refused = [
        ("scheme", "gopher://user:s3cret@logs.example:1"),
        ("nohost", "syslog://:514"),
        ("blocked", "syslog://127.0.0.66:514?token=s3cret"),
    ];
    items.extend(refused.iter().map(|(app, url)| DrainItem::new(app, *url)));
    items.extend(refused.iter().map(|(app, _)| DrainItem::new(app, receiver.url())));
    agent.controller.set(items);
    eventually("the limit", async || {
        let all = agent.status_of("many").await?;
        let over = all.iter().filter(|status| status.state == "over_limit").count();
        ensure!((all.len(), over) == (7, 2), "{all:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .with_context(|| agent.log())?;
    let emitter = agent.emitter()?;
    for (app, _) in refused {
        emitter.send_series(&mut Series::new(app, Shape::SHORT), 10).await?;
    }
    emitter.send_series(&mut Series::new("many", Shape::SHORT), 10).await?;
    eventually("the lines of all", async || {
        let tally = receiver.lines().of("many");
        ensure!(tally.once == 10 && tally.twice == 40, "{tally:?}");
        ensure!(receiver.lines().total() == 40, "{}", receiver.lines().total());
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let status = agent.cache_status().await?;
    for (app, named) in [("scheme", "gopher"), ("nohost", "hostname"), ("blocked", "blacklisted")] {
        let found = status["refused"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|refused| refused["app"] == app);
        let text = found.map(|refused| refused["text"].to_string()).unwrap_or_default();
        ensure!(text.contains(named), "{app}: {status}");
    }
    let all = format!("{status}{:?}{}", agent.status().await?, agent.log());
    ensure!(!all.contains("s3cret"), "{all}");
    Ok(())
}
