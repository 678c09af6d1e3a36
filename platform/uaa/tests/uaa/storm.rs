//! Many logins at once, and what else goes on meanwhile.

use std::time::{Duration, Instant};

use futures::future::join_all;
use weir_config::ByteSize;
use weir_db::servers::Kind;

use crate::common::Ground;

/// While hundreds wait for hashes of full size, keys are served; who finds no place is told when to come again; nobody
/// waits for ever, and whoever logs in afterwards gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_served_in_a_login_storm() {
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = ground
        .uaa_with(|raw| {
            raw.hashing.memory = ByteSize::mib(19);
            raw.hashing.passes = 2;
            raw.hashing.queue = 32;
        })
        .await;
    let storm = join_all((0..300).map(|number| {
        let uaa = &uaa;
        async move { uaa.login(&format!("user-{number}"), "wrong").await }
    }));
    let mut times = Vec::new();
    let sampling = async {
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let start = Instant::now();
            uaa.client.get("/token_keys").send().await.ok();
            times.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (answers, ()) = tokio::join!(storm, sampling);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(refused.len() > 100, "{}", refused.len());
    for answer in &refused {
        let after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&after));
        answer.refused(503, "temporarily_unavailable");
    }
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 401 | 503)));
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    println!(
        "/token_keys with a new TLS connection each, {} samples: p99 {p99:?}",
        times.len()
    );
    // Far above what is wanted of a quiet machine, far below a queue of hashes.
    assert!(p99 < Duration::from_millis(500), "{p99:?}");
    uaa.login("admin", &uaa.admin_password()).await.ok();
    uaa.stop().await;
}

/// A name that does not exist takes as long as one that does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_take_as_long() {
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = ground
        .uaa_with(|raw| {
            raw.hashing.memory = ByteSize::mib(8);
            raw.lockout.attempts = 1000;
        })
        .await;
    uaa.add_user("known", "pw").await;
    // By turns, so that whatever else the machine does meets both.
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        for (name, times) in [("known", &mut known), ("unknown", &mut unknown)] {
            let start = Instant::now();
            uaa.login(name, "wrong").await.refused(401, "unauthorized");
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (known, unknown) = (median(known), median(unknown));
    let ratio = known / unknown;
    println!("known {:.1} ms, unknown {:.1} ms", known * 1e3, unknown * 1e3);
    assert!((0.6..1.7).contains(&ratio), "{ratio}");
    uaa.stop().await;
}

/// Four attempts for one name at a time; the others are told so at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_does_not_fill_the_queue() {
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = ground.uaa_with(|raw| raw.hashing.memory = ByteSize::mib(64)).await;
    let answers = join_all((0..30).map(|_| uaa.login("victim", "wrong"))).await;
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(busy.len() >= 10, "{}", busy.len());
    assert!(busy.iter().all(|answer| answer.header("retry-after") == "1"));
    uaa.login("admin", &uaa.admin_password()).await.ok();
    uaa.stop().await;
}
