//! Many logins at once, and what else goes on meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use weir_config::ByteSize;
use weir_db::servers::Kind;
use weir_eventually::eventually_async;

use crate::common::{Ground, Uaa};

/// One storm at a time: they measure what a machine has left.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// While hundreds wait for hashes of full size, keys are served; who finds no place is told when to come again; nobody
/// waits for ever, and whoever logs in afterwards gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_served_in_a_login_storm() {
    let _alone = ALONE.lock().await;
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
    let _alone = ALONE.lock().await;
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

/// Four attempts for one name at a time, and some wait; the others are told so at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_does_not_fill_the_queue() {
    let _alone = ALONE.lock().await;
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = ground
        .uaa_with(|raw| {
            raw.hashing.memory = ByteSize::mib(64);
            raw.lockout.attempts = 1000;
        })
        .await;
    let password = uaa.admin_password();
    let (answers, other) = tokio::join!(
        join_all((0..80).map(|_| uaa.login("victim", "wrong"))),
        uaa.login("admin", &password),
    );
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(busy.len() >= 20, "{}", busy.len());
    assert!(busy.iter().all(|answer| answer.header("retry-after") == "1"));
    other.ok();
    uaa.stop().await;
}

/// Jobs that all log in as one user at the same moment get in, all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_one_user_wait_for_each_other() {
    let _alone = ALONE.lock().await;
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = ground.uaa_with(|raw| raw.hashing.memory = ByteSize::mib(19)).await;
    uaa.add_user("ci", "pw").await;
    for answer in join_all((0..16).map(|_| uaa.login("ci", "pw"))).await {
        answer.ok();
    }
    uaa.stop().await;
}

/// Until told to stop, so many at a time do the same again and again.
async fn storm<F: Future<Output = ()>>(over: &AtomicBool, attempt: impl Fn(usize) -> F) {
    let one = |number: usize| {
        let attempt = &attempt;
        async move {
            let mut round = 0;
            while !over.load(Ordering::Relaxed) {
                attempt(number + 1000 * round).await;
                round += 1;
            }
        }
    };
    join_all((0..64).map(one)).await;
}

/// A UAA whose queue is short and whose hashes take their time.
async fn slow(ground: &Ground) -> Uaa {
    ground
        .uaa_with(|raw| {
            raw.hashing.memory = ByteSize::mib(19);
            raw.hashing.passes = 2;
            raw.hashing.threads = 1;
            raw.hashing.queue = 16;
        })
        .await
}

/// While people fill their queue, the platform's clients are served: with secrets that nobody remembers, with tokens,
/// and in the feed of revocations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_served_in_a_login_storm() {
    let _alone = ALONE.lock().await;
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = slow(&ground).await;
    let (over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let logins = storm(&over, |number| {
        let (uaa, refused) = (&uaa, &refused);
        async move {
            if uaa.login(&format!("user-{number}"), "wrong").await.status == 503 {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let clients = async {
        let grant = [("grant_type", "client_credentials")];
        for client in [
            "doppler",
            "gorouter",
            "network-policy",
            "cc_routing",
            "tcp_router",
            "admin",
        ] {
            // The queue is full, now.
            let before = refused.load(Ordering::Relaxed);
            eventually_async("logins are refused", || async {
                refused.load(Ordering::Relaxed) > before
            })
            .await;
            let answer = uaa.token_as(client, &uaa.secret(client), &grant).await;
            assert_eq!(answer.status, 200, "{client}: {}", answer.text());
            uaa.check(answer.json()["access_token"].as_str().unwrap()).await.ok();
        }
        let secret = uaa.secret("doppler");
        let feed = uaa.client.get("/weir/v1/revocations").basic("doppler", &secret);
        feed.send().await.ok();
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(logins, clients);
    uaa.stop().await;
}

/// Wrong secrets of one client keep neither people nor other clients out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_does_not_fill_the_queue() {
    let _alone = ALONE.lock().await;
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = slow(&ground).await;
    let grant = [("grant_type", "client_credentials")];
    let (over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let wrong = storm(&over, |_| {
        let (uaa, refused) = (&uaa, &refused);
        async move {
            let answer = uaa.token_as("gorouter", "wrong", &grant).await;
            if answer.status != 401 {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let others = async {
        for client in ["doppler", "network-policy", "cc_routing", "tcp_router", "admin"] {
            let before = refused.load(Ordering::Relaxed);
            eventually_async("some are refused", || async {
                refused.load(Ordering::Relaxed) > before
            })
            .await;
            uaa.token_as(client, &uaa.secret(client), &grant).await.ok();
            uaa.login("admin", &uaa.admin_password()).await.ok();
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(wrong, others);
    uaa.stop().await;
}
