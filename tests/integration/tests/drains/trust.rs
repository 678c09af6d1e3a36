//! Several bindings to one URL: each is a separate drain with its own client certificate and its own trusted CA.

use std::collections::BTreeSet;

use anyhow::ensure;
use weir_testkit::drains::{Behaviour, DrainAgent, DrainItem, DrainReceiver, Pki};
use weir_testkit::{Series, Shape, eventually};

/// Setup: two apps are bound to one URL. One trusts the CA `first`, the other the CA `second`. The receiver shows a
/// certificate of one CA, and then of the other. Must hold: only the app that trusts the present certificate gets its
/// lines delivered. The other one waits, with the reason. In the end both have every line.
#[tokio::test(flavor = "multi_thread")]
async fn one_url_has_two_trust_stores() -> anyhow::Result<()> {
    let (first, second) = (Pki::new("the first CA")?, Pki::new("the second CA")?);
    let of = |pki: &Pki| pki.issue(&["127.0.0.1"])?.server(&[], None);
    let mut receiver = DrainReceiver::tls(of(&first)?, Behaviour::Read).await?;
    let agent = DrainAgent::start().await?;
    let url = receiver.url();
    agent
        .bind([
            DrainItem::new("one", &url).trusting(&first.ca),
            DrainItem::new("two", &url).trusting(&second.ca),
        ])
        .await?;
    let emitter = agent.emitter()?;
    let mut series = [Series::new("one", Shape::SHORT), Series::new("two", Shape::SHORT)];
    for series in &mut series {
        emitter.send_series(series, 500).await?;
    }
    receiver.wait_for_lines(500).await?;
    let waiting = agent
        .wait_for_status("two", |status| status.last_error.is_some() && status.waiting_lines > 0)
        .await?;
    let error = waiting.last_error.unwrap_or_default();
    ensure!(error.contains("certificate"), "it says which: {error}");
    ensure!(
        waiting.url == url && waiting.state != "flowing",
        "{} {}",
        waiting.url,
        waiting.state
    );
    let (one, two) = (receiver.lines().of("one"), receiver.lines().of("two"));
    assert_eq!((one.once, one.twice, two.once), (500, 0, 0));

    receiver.stop().await;
    receiver.set_tls(of(&second)?);
    receiver.start().await?;
    for series in &mut series {
        emitter.send_series(series, 500).await?;
    }
    eventually("the lines of the other", async || {
        let two = receiver.lines().of("two");
        ensure!(two.once == 1000 && two.late == 0, "{two:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    agent
        .wait_for_status("one", |status| status.last_error.is_some())
        .await?;
    assert_eq!(receiver.lines().of("one").once, 500);

    receiver.stop().await;
    receiver.set_tls(of(&first)?);
    receiver.start().await?;
    receiver.wait_for_lines(2000).await?;
    let ledgers = agent.ledgers()?;
    ensure!(ledgers.lost() == 0, "{}", ledgers.summary());
    Ok(())
}

/// Setup: one app is bound twice to one URL with different client certificates, and the receiver requires one of either
/// CA. Must hold: there are two drains, each shows its own certificate, and each delivers every line.
#[tokio::test(flavor = "multi_thread")]
async fn one_url_is_shown_two_certificates() -> anyhow::Result<()> {
    let (server, first, second) = (Pki::new("of the server")?, Pki::new("first")?, Pki::new("second")?);
    let both = format!("{}{}", first.ca, second.ca);
    let config = server.issue(&["127.0.0.1"])?.server(&[], Some(&both))?;
    let receiver = DrainReceiver::tls(config, Behaviour::Read).await?;
    let (one, two) = (first.issue(&["one"])?, second.issue(&["two"])?);
    let agent = DrainAgent::start().await?;
    let item = || DrainItem::new("app", receiver.url()).trusting(&server.ca);
    agent.bind([item().showing(&one), item().showing(&two)]).await?;
    let drains = agent.status_of("app").await?;
    let ids: BTreeSet<&str> = drains.iter().map(|status| status.binding.as_str()).collect();
    assert_eq!((drains.len(), ids.len()), (2, 2), "{drains:?}");

    let mut series = Series::new("app", Shape::SHORT);
    agent.emitter()?.send_series(&mut series, 300).await?;
    eventually("every line twice", async || {
        let tally = receiver.lines().of("app");
        ensure!(tally.once + tally.twice == 600, "{tally:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    assert_eq!(receiver.clients(), BTreeSet::from([one.der()?, two.der()?]));
    Ok(())
}
