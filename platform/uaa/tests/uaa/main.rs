//! The UAA from outside, over HTTPS: the same scenarios on SQLite, PostgreSQL and MariaDB.
//!
//! Each scenario makes what it needs under names of its own and says in its comment what must hold. `UAA_SCENARIO=name`
//! runs those whose name contains it.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "tests spawn, wait, ask for the time and say what must hold as they like"
)]

mod admin;
mod attacks;
mod browser;
mod clients;
mod codes;
mod common;
mod disk;
mod endings;
mod grants;
mod groups;
mod providers;
mod refresh;
mod revocation;
mod scim;
mod seeds;
mod storm;
mod times;
mod tokens;

use std::panic::AssertUnwindSafe;

use common::{Ground, Uaa};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use weir_db::servers::Kind;

/// What is played on a UAA that others use too.
type Scenario = for<'u> fn(&'u Uaa) -> LocalBoxFuture<'u, ()>;

/// What needs UAAs of its own.
type Play = for<'g> fn(&'g Ground) -> LocalBoxFuture<'g, ()>;

macro_rules! scenarios {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |uaa| $module::$name(uaa).boxed_local())),*]
    };
}

const SHARED: &[(&str, Scenario)] = scenarios![
    grants::client_credentials,
    refresh::refresh,
    grants::scopes_and_groups,
    grants::longer_than_anybody_takes,
    grants::rights,
    tokens::checking,
    grants::jwt_bearer,
    grants::passcodes,
    tokens::user_info,
    tokens::discovery_and_prompts,
    codes::code_flow_with_consent,
    codes::the_ssh_client,
    codes::codes_are_good_once,
    codes::pkce,
    codes::redirects,
    codes::prompts,
    codes::prompts_of_answers,
    codes::public_clients,
    browser::login_page,
    browser::forms_are_our_own,
    browser::sessions,
    browser::nothing_leads_away,
    scim::users,
    scim::filters_and_pages,
    scim::passwords,
    groups::groups,
    groups::nested_groups,
    groups::names_to_the_letter,
    groups::what_is_not_named_stays,
    scim::names_for_ids,
    scim::what_is_not_named_stays,
    scim::nothing_is_passed_over,
    scim::versions_as_tags,
    clients::administration,
    clients::secrets,
    clients::what_is_not_sent_stays,
    clients::nothing_is_passed_over,
    clients::required_groups,
    clients::nobody_gives_more_than_they_have,
    clients::grants_that_come_together,
    clients::an_old_redirect,
    revocation::logout,
    revocation::by_user_and_client,
    revocation::feed,
    endings::nothing_to_make_everybody_remember,
    endings::codes_end_too,
    revocation::changed_groups,
    attacks::forged_tokens,
    attacks::tokens_of_other_kinds,
    attacks::forms,
    admin::library,
];

const OWN: &[(&str, Play)] = scenarios![
    grants::password_grant_and_keys,
    refresh::rotated_refresh_tokens,
    times::rotated_keys,
    times::lockout,
    times::time_passes,
    times::parameters_change,
    revocation::nodes,
    revocation::clocks_apart,
    endings::logins_in_flight,
    revocation::nodes_start_together,
    providers::logins_by_another_uaa,
    providers::how_recent_a_login_is,
    providers::one_that_does_not_answer,
    browser::never_without_tls,
    seeds::only_what_changed,
    seeds::another_nodes_file,
    times::short_passwords,
    attacks::clients_that_are_not_there,
];

async fn suite(kind: Kind) {
    let Some(ground) = Ground::new(kind).await else { return };
    let wanted = std::env::var("UAA_SCENARIO").unwrap_or_default();
    let mut failed = Vec::new();
    let shared = ground.uaa().await;
    for (name, scenario) in SHARED.iter().filter(|(name, _)| name.contains(&wanted)) {
        if AssertUnwindSafe(scenario(&shared)).catch_unwind().await.is_err() {
            failed.push(*name);
        }
    }
    shared.stop().await;
    for (name, play) in OWN.iter().filter(|(name, _)| name.contains(&wanted)) {
        if AssertUnwindSafe(play(&ground)).catch_unwind().await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{kind:?}: {failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    suite(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    suite(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    suite(Kind::MariaDb).await;
}
