//! A storm of logins at UAA: what a login costs, and whether keys are served meanwhile.
//!
//! Every call is a connection of its own, with a TLS handshake: nobody's login waits behind another one's on a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use http::StatusCode;
use serde_json::{Value, json};
use weir_testkit::Https;

use super::{Measured, Settings, WARM_UP, processes};
use crate::cpu::between;
use crate::meter::{Delays, Meter};
use crate::servers::{Part, Programs, Servers};

/// Logins that succeeded, a second.
pub(crate) const LOGINS: &str = "logins/s";
/// CPU time of UAA for each of them, what is spent on those that found no place included.
pub(crate) const LOGIN_CPU: &str = "cpu ms/login";
/// Logins that were told to come again.
pub(crate) const BUSY: &str = "told to wait/s";
/// How long a login took that succeeded.
pub(crate) const LOGIN_P50: &str = "login p50 ms";
/// `GET /token_keys` during the storm.
pub(crate) const KEYS_P50: &str = "keys p50 ms";
pub(crate) const KEYS_P99: &str = "keys p99 ms";

/// Between two requests for the keys.
const PROBE: Duration = Duration::from_millis(10);
/// For a login that was told to wait.
const PAUSE: Duration = Duration::from_millis(100);
/// Logins a name may have at a time.
const PER_USER: usize = 4;
const PASSWORD: &str = "a-password-of-the-benchmark";
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    busy: AtomicU64,
}

pub(super) async fn run(programs: &Programs, clients: usize, settings: Settings) -> anyhow::Result<Measured> {
    let servers = Servers::start(programs, &[Part::Uaa]).await?;
    let url = format!("https://{}", servers.addresses.uaa);
    let https = Https::new(servers.trusting()?);
    let users = clients.div_ceil(PER_USER);
    add_users(&servers, &https, &url, users).await?;

    let (counts, logins, keys) = (Arc::<Counts>::default(), Meter::default(), Meter::default());
    let (start, end) = (Instant::now() + WARM_UP, Instant::now() + WARM_UP + settings.measure);
    let storm = try_join_all((0..clients).map(|client| {
        let form = format!(
            "grant_type=password&client_id=cf&client_secret=&username=user-{}&password={PASSWORD}",
            client % users
        );
        storm(&https, &url, form, (start, end), &counts, &logins)
    }));
    let probe = probe(&https, &url, (start, end), &keys);
    let used = async {
        tokio::time::sleep_until(start.into()).await;
        let before = servers.usages()?;
        tokio::time::sleep_until(end.into()).await;
        anyhow::Ok(between(&before, &servers.usages()?))
    };
    let (_, (), used) = tokio::try_join!(storm, probe, used)?;

    let (done, busy) = (count(&counts.done), count(&counts.busy));
    ensure!(done > 0.0, "nobody could log in");
    let cpu: f64 = used.values().map(|usage| usage.cpu.as_secs_f64() * 1e3).sum();
    let (logins, keys) = (Delays::of(&[Arc::new(logins)]), Delays::of(&[Arc::new(keys)]));
    let seconds = settings.measure.as_secs_f64();
    Ok(Measured {
        figures: vec![
            (LOGINS, done / seconds),
            (LOGIN_CPU, cpu / done),
            (BUSY, busy / seconds),
            (LOGIN_P50, logins.p50),
            (KEYS_P50, keys.p50),
            (KEYS_P99, keys.p99),
        ],
        processes: processes(&used, done),
    })
}

/// Logs in again and again; what happens between the two times is counted.
async fn storm(
    https: &Https,
    url: &str,
    form: String,
    (start, end): (Instant, Instant),
    counts: &Counts,
    times: &Meter,
) -> anyhow::Result<()> {
    while Instant::now() < end {
        let begun = Instant::now();
        let answer = https
            .post(&format!("{url}/oauth/token"), FORM, "application/json", form.clone())
            .await?;
        let counted = begun >= start && Instant::now() < end;
        match answer.status {
            StatusCode::OK if counted => {
                counts.done.fetch_add(1, Ordering::Relaxed);
                times.delay(u64::try_from(begun.elapsed().as_micros())?);
            }
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                if counted {
                    counts.busy.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
            }
            status => anyhow::bail!("a login: {status}: {}", answer.text()),
        }
    }
    Ok(())
}

/// Asks for the keys in even steps, however long each takes.
async fn probe(https: &Https, url: &str, (start, end): (Instant, Instant), times: &Meter) -> anyhow::Result<()> {
    tokio::time::sleep_until(start.into()).await;
    let mut steps = tokio::time::interval(PROBE);
    while Instant::now() < end {
        steps.tick().await;
        let begun = Instant::now();
        let answer = https.get(&format!("{url}/token_keys")).await?;
        ensure!(answer.status.is_success(), "keys: {}", answer.status);
        times.delay(u64::try_from(begun.elapsed().as_micros())?);
    }
    Ok(())
}

async fn add_users(servers: &Servers, https: &Https, url: &str, users: usize) -> anyhow::Result<()> {
    // Answered once the first start has made them.
    https.get(&format!("{url}/healthz")).await?;
    let secrets: BTreeMap<String, String> = serde_json::from_slice(&std::fs::read(servers.client_secrets())?)?;
    let secret = secrets.get("admin").context("a secret of `admin`")?;
    let form = format!("grant_type=client_credentials&client_id=admin&client_secret={secret}");
    let answer = https
        .post(&format!("{url}/oauth/token"), FORM, "application/json", form)
        .await?;
    let token: Value = serde_json::from_slice(&answer.body)?;
    let token = token["access_token"].as_str().with_context(|| answer.text())?;
    let admin = https.clone().with_token(&format!("bearer {token}"));
    for number in 0..users {
        let name = format!("user-{number}");
        let user =
            json!({"userName": name, "password": PASSWORD, "emails": [{"value": format!("{name}@example.com")}]});
        let answer = admin
            .post(
                &format!("{url}/Users"),
                "application/json",
                "application/json",
                user.to_string(),
            )
            .await?;
        ensure!(answer.status == StatusCode::CREATED, "{}", answer.text());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}
