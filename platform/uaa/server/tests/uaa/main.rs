//! Tests of the UAA over HTTPS: each scenario is a test on SQLite, on PostgreSQL and on MariaDB.
//!
//! ```text
//! cargo test -p weir-platform-uaa-server --test uaa                        all of them
//! cargo test -p weir-platform-uaa-server --test uaa codes::pkce            one scenario, on each database
//! cargo test -p weir-platform-uaa-server --test uaa sqlite::               all scenarios on one database
//! ```
//!
//! Each scenario creates users, groups and clients with its own names, and its comment says what must hold. A database server
//! is started by the first test that needs it and stopped after the last (`stage`); therefore the harness is not libtest's.

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
mod stage;
mod storm;
mod times;
mod tokens;

use std::process::ExitCode;
use std::sync::Arc;

use common::{Ground, Uaa};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Trial};
use stage::Stage;
use weir_db::servers::Kind;

/// A scenario on the UAA that all such scenarios share.
type Shared = for<'u> fn(&'u Uaa) -> LocalBoxFuture<'u, ()>;

/// A scenario that starts its own UAAs.
type Own = for<'g> fn(&'g Ground) -> LocalBoxFuture<'g, ()>;

/// A scenario that needs no database server.
type Alone = fn() -> LocalBoxFuture<'static, ()>;

macro_rules! scenarios {
    ($($scenario:path),* $(,)?) => {
        &[$((stringify!($scenario), |ground| $scenario(ground).boxed_local())),*]
    };
}

macro_rules! alone {
    ($($scenario:path),* $(,)?) => {
        &[$((stringify!($scenario), || $scenario().boxed_local())),*]
    };
}

const SHARED: &[(&str, Shared)] = scenarios![
    grants::client_credentials,
    refresh::refresh,
    grants::scopes_and_groups,
    grants::tokens_stay_short,
    grants::rights,
    tokens::checking,
    grants::jwt_bearer,
    grants::passcodes,
    tokens::user_info,
    tokens::discovery_and_prompts,
    codes::code_flow_with_consent,
    codes::the_ssh_client,
    codes::codes_work_once,
    codes::pkce::challenges,
    codes::pkce::public_clients,
    codes::redirects::unregistered_uris_are_refused,
    codes::prompts::requests,
    codes::prompts::answers,
    browser::login_page,
    browser::forged_forms_are_refused,
    browser::sessions,
    browser::no_open_redirects,
    scim::users,
    scim::filters_and_pages,
    scim::passwords,
    groups::groups,
    groups::nested_groups,
    groups::names_are_compared_exactly,
    groups::partial_changes_keep_the_rest,
    scim::names_for_ids,
    scim::partial_changes_keep_the_rest,
    scim::unsupported_values_are_refused,
    scim::versions_as_tags,
    clients::administration,
    clients::secrets,
    clients::partial_changes_keep_the_rest,
    clients::unsupported_values_are_refused,
    clients::required_groups,
    clients::no_privilege_escalation,
    clients::login_grants_include_refresh,
    clients::an_old_redirect_uri_is_refused,
    revocation::logout,
    revocation::by_user_and_client,
    revocation::feed,
    endings::revocations_are_bounded,
    endings::codes_are_revoked_too,
    revocation::changed_groups,
    attacks::forged_tokens,
    attacks::tokens_of_other_kinds,
    attacks::forms,
    admin::library,
];

const OWN: &[(&str, Own)] = scenarios![
    grants::password_grant_and_keys,
    refresh::rotated_refresh_tokens,
    times::rotated_keys,
    times::lockout,
    times::tokens_expire,
    times::parameters_change,
    revocation::nodes,
    revocation::clocks_apart,
    endings::logins_in_flight,
    revocation::nodes_start_together,
    providers::logins_by_another_uaa,
    providers::auth_time_and_max_age,
    providers::a_provider_that_does_not_answer,
    browser::strict_transport_security,
    seeds::only_changed_secrets_take_effect,
    seeds::a_missing_or_unrelated_file,
    times::short_passwords,
    attacks::unknown_clients_cost_a_hash,
];

const ALONE: &[(&str, Alone)] = alone![
    disk::full,
    storm::keys_are_served_in_a_login_storm,
    storm::unknown_names_cost_as_much,
    storm::one_name_does_not_fill_the_queue,
    storm::jobs_of_one_user_wait_for_each_other,
    storm::clients_are_served_in_a_login_storm,
    storm::one_client_does_not_fill_the_queue,
];

/// The kinds of databases, with the prefixes of their tests' names.
const KINDS: [(Kind, &str); 3] = [
    (Kind::Sqlite, "sqlite"),
    (Kind::Postgres, "postgres"),
    (Kind::MariaDb, "mariadb"),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = ALONE
        .iter()
        .map(|(name, scenario)| {
            let run = *scenario;
            Trial::test(*name, move || {
                stage::runtime().block_on(run());
                Ok(())
            })
        })
        .collect();
    let stages = KINDS.map(|(kind, _)| Arc::new(Stage::new(kind)));
    for (stage, (_, kind)) in stages.iter().zip(KINDS) {
        for (name, scenario) in SHARED {
            let (stage, run) = (Arc::clone(stage), *scenario);
            trials.push(Trial::test(format!("{kind}::{name}"), move || {
                stage.shared(run);
                Ok(())
            }));
        }
        for (name, scenario) in OWN {
            let (stage, run) = (Arc::clone(stage), *scenario);
            trials.push(Trial::test(format!("{kind}::{name}"), move || {
                stage.own(run);
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Also after a failure: no server may outlive the tests.
    for stage in &stages {
        stage.stop();
    }
    conclusion.exit_code()
}
