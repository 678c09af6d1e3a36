//! Drains that are away for a time, or accept connections and do not read.

use anyhow::{Context as _, ensure};
use weir_faults::send_paced;
use weir_testkit::drains::{Behaviour, DrainAgent, DrainItem, DrainReceiver, Pki};
use weir_testkit::{Series, Shape, eventually};

use super::drill::{RATE, WINDOW, at_rest, away, check_complete, conserved, lines_in};

/// Setup: a steady load over TCP and TLS. Both receivers stop and start again meanwhile. Must hold: every line arrives
/// in order, few of them twice. During the outage the agent reports the error and how much waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_away_under_load() -> anyhow::Result<()> {
    let pki = Pki::new("the drain's CA")?;
    let mut plain = DrainReceiver::tcp(Behaviour::Read).await?;
    let config = pki.issue(&["127.0.0.1"])?.server(&[], None)?;
    let mut secret = DrainReceiver::tls(config, Behaviour::Read).await?;
    let agent = DrainAgent::start().await?;
    agent
        .bind([
            DrainItem::new("plain", plain.url()),
            DrainItem::new("secret", secret.url()).trusting(&pki.ca),
        ])
        .await?;
    let emitter = agent.emitter()?;
    let mut series = [Series::new("plain", Shape::LINE), Series::new("secret", Shape::LINE)];
    let before = lines_in(away(4)) / 4;
    let during = lines_in(away(4)) / 2;
    send_paced(&emitter, &mut series, &[before; 2], RATE).await?;
    plain.stop().await;
    secret.stop().await;
    send_paced(&emitter, &mut series, &[during; 2], RATE).await?;
    for app in ["plain", "secret"] {
        let status = agent
            .wait_for_status(app, |status| status.last_error.is_some() && status.waiting_lines > 0)
            .await?;
        ensure!(status.state == "retrying" || status.state == "spilling", "{status:?}");
        ensure!(status.lost == 0, "{status:?}");
    }
    plain.start().await?;
    secret.start().await?;
    send_paced(&emitter, &mut series, &[before; 2], RATE).await?;
    let sent = (2 * before + during) as u64;
    for (receiver, app) in [(&plain, "plain"), (&secret, "secret")] {
        receiver.wait_for_lines(sent).await.with_context(|| agent.log())?;
        check_complete(&receiver.lines().of(app), sent, WINDOW).context(app)?;
        let flowing =
            |status: &weir_testkit::drains::DrainStatus| status.state == "flowing" && status.waiting_lines == 0;
        agent.wait_for_status(app, flowing).await?;
    }
    let ledgers = at_rest(&agent).await?;
    ensure!(ledgers.lost() == 0, "{}", ledgers.summary());
    Ok(())
}

/// Setup: one receiver never reads, one refuses every handshake, one reads 1,000 bytes per second. The drain of another
/// app is healthy. Must hold: the healthy one is not delayed. The lines of the others wait, and arrive when their
/// receivers read.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_does_not_read_does_not_delay_others() -> anyhow::Result<()> {
    let pki = Pki::new("the drains' CA")?;
    let config = pki.issue(&["127.0.0.1"])?.server(&[], None)?;
    let bad = [
        ("deaf", DrainReceiver::tcp(Behaviour::NeverReads).await?),
        ("slow", DrainReceiver::tcp(Behaviour::Slow(1024)).await?),
        ("refusing", DrainReceiver::tls(config, Behaviour::RefuseTls).await?),
    ];
    let healthy = DrainReceiver::tcp(Behaviour::Read).await?;
    let agent = DrainAgent::builder()
        .key("drains.dial_timeout", "\"2s\"")
        .start()
        .await?;
    let items = bad
        .iter()
        .map(|(app, receiver)| DrainItem::new(app, receiver.url()).trusting(&pki.ca));
    agent
        .bind(items.chain([DrainItem::new("healthy", healthy.url())]))
        .await?;
    let emitter = agent.emitter()?;
    let mut series: Vec<Series> = bad
        .iter()
        .map(|(app, _)| Series::new(*app, Shape::LINE))
        .chain([Series::new("healthy", Shape::LINE)])
        .collect();
    send_paced(&emitter, &mut series, &[3000; 4], RATE).await?;
    healthy.wait_for_lines(3000).await?;
    check_complete(&healthy.lines().of("healthy"), 3000, 0)?;
    let age = healthy.lines().take_age(990);
    ensure!(
        age < 1000.0,
        "99 % of the healthy drain's lines were there after {age} ms"
    );
    for (app, _) in &bad {
        agent.wait_for_status(app, |status| status.waiting_lines > 1000).await?;
    }
    for (app, receiver) in &bad {
        receiver.set_behaviour(Behaviour::Read);
        eventually(app, async || {
            let tally = receiver.lines().of(app);
            ensure!(tally.once == 3000, "{tally:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await
        .with_context(|| agent.log())?;
        let tally = receiver.lines().of(app);
        // The agent may connect again to the slow receiver, which then reads from the old and the new connection at the
        // same time.
        ensure!(tally.late == 0 || *app == "slow", "{app}: {tally:?}");
    }
    let ledgers = at_rest(&agent).await?;
    ensure!(ledgers.lost() == 0, "{}", ledgers.summary());
    Ok(())
}

/// Setup: the certificate of a TLS drain expires, its connection is closed, and later it shows a renewed one. Must
/// hold: the agent reports the expiry and the subject. Nothing is lost, and with the new certificate everything
/// arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_expires_and_is_renewed() -> anyhow::Result<()> {
    let pki = Pki::new("the drain's CA")?;
    let names = ["127.0.0.1", "logs.example"];
    let mut receiver = DrainReceiver::tls(pki.issue(&names)?.server(&[], None)?, Behaviour::Read).await?;
    let agent = DrainAgent::start().await?;
    agent
        .bind([DrainItem::new("app", receiver.url()).trusting(&pki.ca)])
        .await?;
    let emitter = agent.emitter()?;
    let mut series = [Series::new("app", Shape::LINE)];
    send_paced(&emitter, &mut series, &[1000], RATE).await?;
    receiver.wait_for_lines(1000).await?;
    receiver.stop().await;
    receiver.set_tls(pki.issue_expired(&names)?.server(&[], None)?);
    receiver.start().await?;
    send_paced(&emitter, &mut series, &[2000], RATE).await?;
    let expired = |status: &weir_testkit::drains::DrainStatus| {
        status
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains("expired"))
    };
    agent.wait_for_status("app", expired).await?;
    receiver.stop().await;
    receiver.set_tls(pki.issue(&names)?.server(&[], None)?);
    receiver.start().await?;
    receiver.wait_for_lines(3000).await.with_context(|| agent.log())?;
    check_complete(&receiver.lines().of("app"), 3000, WINDOW)?;
    Ok(())
}

/// Setup: the host name of a drain does not resolve. Must hold: the agent reports that, the lines wait, and another
/// drain of the same app is not affected. When the app is bound to a host that resolves, new lines arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_does_not_resolve() -> anyhow::Result<()> {
    let healthy = DrainReceiver::tcp(Behaviour::Read).await?;
    let agent = DrainAgent::builder()
        .key("drains.dial_timeout", "\"2s\"")
        .start()
        .await?;
    let lost = DrainItem::new("app", "syslog://no-such-host.invalid:6514?secret=s3cret");
    agent.bind([lost, DrainItem::new("app", healthy.url())]).await?;
    let mut series = [Series::new("app", Shape::LINE)];
    send_paced(&agent.emitter()?, &mut series, &[2000], RATE).await?;
    healthy.wait_for_lines(2000).await?;
    check_complete(&healthy.lines().of("app"), 2000, 0)?;
    let named = |status: &weir_testkit::drains::DrainStatus| {
        status
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains("no-such-host.invalid"))
    };
    let status = agent.wait_for_status("app", named).await?;
    ensure!(status.waiting_lines == 2000 && status.lost == 0, "{status:?}");
    ensure!(!format!("{status:?}{}", agent.log()).contains("s3cret"), "{status:?}");
    Ok(())
}

/// Setup: one binding is removed while its drain is away, and one while its drain is healthy. Must hold: all lines of
/// the healthy drain arrive. What could not be sent to the other is counted exactly.
#[tokio::test(flavor = "multi_thread")]
async fn a_binding_is_removed() -> anyhow::Result<()> {
    let (healthy, mut gone) = (
        DrainReceiver::tcp(Behaviour::Read).await?,
        DrainReceiver::tcp(Behaviour::Read).await?,
    );
    let agent = DrainAgent::builder().key("removed_grace", "\"1s\"").start().await?;
    agent
        .bind([
            DrainItem::new("healthy", healthy.url()),
            DrainItem::new("gone", gone.url()),
        ])
        .await?;
    gone.stop().await;
    let mut series = [Series::new("healthy", Shape::LINE), Series::new("gone", Shape::LINE)];
    send_paced(&agent.emitter()?, &mut series, &[2000; 2], RATE).await?;
    eventually("all lines at the agent", async || {
        let received = agent.ledgers()?.of("syslog-agent").received;
        ensure!(received == 4000, "{received}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    agent.bind([]).await?;
    healthy.wait_for_lines(2000).await?;
    let ledgers = eventually("the counts", async || {
        let ledgers = agent.ledgers()?;
        ensure!(ledgers.lost() == 2000, "{}", ledgers.summary());
        Ok::<_, anyhow::Error>(ledgers)
    })
    .await?;
    conserved(&ledgers, 2000, &gone.lines().of("gone"))
}
