//! Load: many concurrent logins, and other requests meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use weir_config::ByteSize;
use weir_db::servers::Kind;
use weir_eventually::eventually_async;

use crate::common::{Ground, Uaa};

/// Lets one of these scenarios run at a time, because they measure times under full load.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// While logins wait for hashes of full size, keys are served without waiting for a hash. A login that finds the queue full gets
/// `Retry-After`; no login waits for ever, and a later login succeeds.
pub async fn keys_are_served_in_a_login_storm() {
    let _alone = ALONE.lock().await;
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = slow(&ground).await;
    // The responses in their order; a finished hash is a 401.
    let (hashes, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    let logins = storm(&over, |number| {
        let (uaa, hashes, refused) = (&uaa, &hashes, &refused);
        async move {
            let answer = uaa.login(&format!("user-{number}"), "wrong").await;
            if answer.status == 503 {
                let after: u64 = answer.header("retry-after").parse().unwrap();
                assert!((1..=60).contains(&after));
                answer.refused(503, "temporarily_unavailable");
                refused.fetch_add(1, Ordering::Relaxed);
            } else {
                answer.refused(401, "unauthorized");
                hashes.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let keys = async {
        eventually_async("logins are refused", || async { refused.load(Ordering::Relaxed) > 0 }).await;
        // If a request for keys waited in the queue of 16 hashes, about 16 hashes would finish meanwhile.
        let (mut asked, before) = (0, hashes.load(Ordering::Relaxed));
        while hashes.load(Ordering::Relaxed) < before + 32 {
            uaa.client.get("/token_keys").send().await.ok();
            asked += 1;
        }
        over.store(true, Ordering::Relaxed);
        asked
    };
    let ((), asked) = tokio::join!(logins, keys);
    assert!(asked > 8, "{asked} requests for keys were answered within 32 hashes");
    uaa.login("admin", &uaa.admin_password()).await.ok();
    uaa.stop().await;
}

/// A login with an unknown name waits in the queue for a hash as others do, and is refused as others are when that is full.
pub async fn unknown_names_cost_as_much() {
    const KNOWN: usize = 32;
    let _alone = ALONE.lock().await;
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = ground
        .uaa_with(|raw| {
            raw.hashing.memory = ByteSize::mib(8);
            raw.hashing.threads = 1;
            raw.hashing.queue = 16;
            raw.lockout.attempts = 1000;
        })
        .await;
    for number in 0..KNOWN {
        uaa.add_user(&format!("known-{number}"), "pw").await;
    }
    let over = AtomicBool::new(false);
    let hashed = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let refused = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let logins = storm(&over, |number| {
        let (uaa, hashed, refused) = (&uaa, &hashed, &refused);
        async move {
            let exists = number % 2;
            let name = if exists == 1 {
                format!("known-{}", number % 1000 / 2)
            } else {
                format!("unknown-{number}")
            };
            let answer = uaa.login(&name, "wrong").await;
            let count = match answer.status.as_u16() {
                503 => &refused[exists],
                _ => {
                    answer.refused(401, "unauthorized");
                    &hashed[exists]
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let watching = async {
        eventually_async("both kinds are hashed and refused", || async {
            hashed
                .iter()
                .chain(&refused)
                .all(|count| count.load(Ordering::Relaxed) >= 8)
        })
        .await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(logins, watching);
    uaa.stop().await;
}

/// Four logins of one name run at a time, and some wait; further ones are refused at once.
pub async fn one_name_does_not_fill_the_queue() {
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

/// Concurrent logins of one user with the right password all succeed.
pub async fn jobs_of_one_user_wait_for_each_other() {
    let _alone = ALONE.lock().await;
    let ground = Ground::new(Kind::Sqlite).await.unwrap();
    let uaa = ground.uaa_with(|raw| raw.hashing.memory = ByteSize::mib(19)).await;
    uaa.add_user("ci", "pw").await;
    for answer in join_all((0..16).map(|_| uaa.login("ci", "pw"))).await {
        answer.ok();
    }
    uaa.stop().await;
}

/// Repeats an attempt with many concurrent workers until `over` is set.
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

/// Starts a UAA with a short queue and expensive hashes.
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

/// While logins fill the users' queue, clients are served: with secrets that are in no cache, with tokens, and in the feed of
/// revocations.
pub async fn clients_are_served_in_a_login_storm() {
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
            // The queue is full at this point.
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

/// Requests with wrong secrets of one client delay neither users nor other clients.
pub async fn one_client_does_not_fill_the_queue() {
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
