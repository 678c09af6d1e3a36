//! The UAA from outside, over HTTPS: the same scenarios on SQLite, PostgreSQL and MariaDB, each a test by its name.
//!
//! ```text
//! cargo test -p weir-platform-uaa-server --test uaa                        all of them
//! cargo test -p weir-platform-uaa-server --test uaa codes::pkce            one scenario, on each database
//! cargo test -p weir-platform-uaa-server --test uaa sqlite::               all scenarios on one database
//! ```
//!
//! Each scenario makes what it needs under names of its own and says in its comment what must hold. A database server is
//! started by the first test that needs it and stopped after the last (`stage`), which is why `main` is ours.

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

/// A scenario on a UAA that others use too.
type Shared = for<'u> fn(&'u Uaa) -> LocalBoxFuture<'u, ()>;

/// A scenario that needs UAAs of its own.
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
    codes::pkce::challenges,
    codes::pkce::public_clients,
    codes::redirects::registered_ones_only,
    codes::prompts::requests,
    codes::prompts::answers,
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

const OWN: &[(&str, Own)] = scenarios![
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

const ALONE: &[(&str, Alone)] = alone![
    disk::full,
    storm::keys_are_served_in_a_login_storm,
    storm::unknown_names_cost_as_much,
    storm::one_name_does_not_fill_the_queue,
    storm::jobs_of_one_user_wait_for_each_other,
    storm::clients_are_served_in_a_login_storm,
    storm::one_client_does_not_fill_the_queue,
];

/// The databases, and what their tests are called after.
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
    // The servers end here, also when something failed.
    for stage in &stages {
        stage.stop();
    }
    conclusion.exit_code()
}
