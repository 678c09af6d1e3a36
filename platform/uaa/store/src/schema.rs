//! The definitions of the tables.

use weir_db::Migration;

pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "users, groups, clients, tokens",
        statements: &[
            "create table uaa_settings (name {id} primary key, content {text} not null)",
            "create table uaa_keys (kid {id} primary key, sealed {bytes} not null, created_at {integer} not null, \
         retired_at {integer}, published_until {integer})",
            // Names and addresses are compared without case: `*_key` has them in lower case.
            "create table uaa_users (id {id} primary key, origin {id} not null, user_name {id} not null, \
         user_key {id} not null, external_id {id}, given_name {id}, given_key {id}, family_name {id}, family_key {id}, \
         email {id} not null, email_key {id} not null, emails {text} not null, phones {text} not null, \
         active {boolean} not null, verified {boolean} not null, password_hash {text}, password_changed_at {integer}, \
         created_at {integer} not null, modified_at {integer} not null, version {integer} not null, \
         last_logon {integer}, previous_logon {integer})",
            "create unique index uaa_users_name on uaa_users (user_key, origin)",
            "create index uaa_users_external on uaa_users (external_id, origin)",
            "create index uaa_users_email on uaa_users (email_key)",
            "create table uaa_groups (id {id} primary key, display_name {id} not null, display_key {id} not null, \
         description {text}, created_at {integer} not null, modified_at {integer} not null, version {integer} not null)",
            "create unique index uaa_groups_name on uaa_groups (display_key)",
            // A member is a user or another group. `origin` is the owner of the membership.
            "create table uaa_members (group_id {id} not null, member_id {id} not null, kind {id} not null, \
         origin {id} not null, added_at {integer} not null, primary key (group_id, member_id))",
            "create index uaa_members_member on uaa_members (member_id)",
            "create table uaa_clients (id {id} primary key, name {text}, secret_hash {text}, second_hash {text}, \
         detail {text} not null, created_at {integer} not null, modified_at {integer} not null)",
            "create table uaa_refresh_tokens (token_hash {id} primary key, jti {id} not null, user_id {id} not null, \
         client_id {id} not null, scopes {text} not null, family {id} not null, grant_type {id} not null, \
         auth_time {integer} not null, issued_at {integer} not null, expires_at {integer} not null, \
         revoked_at {integer})",
            "create unique index uaa_refresh_jti on uaa_refresh_tokens (jti)",
            "create index uaa_refresh_user on uaa_refresh_tokens (user_id)",
            "create index uaa_refresh_client on uaa_refresh_tokens (client_id)",
            "create index uaa_refresh_family on uaa_refresh_tokens (family)",
            "create index uaa_refresh_expiry on uaa_refresh_tokens (expires_at)",
            "create table uaa_codes (code_hash {id} primary key, client_id {id} not null, user_id {id} not null, \
         redirect_uri {text}, scopes {text} not null, challenge {id}, nonce {text}, auth_time {integer} not null, \
         expires_at {integer} not null, used_at {integer}, access_jti {id}, family {id})",
            "create index uaa_codes_expiry on uaa_codes (expires_at)",
            "create table uaa_passcodes (code_hash {id} primary key, user_id {id} not null, auth_time {integer} not null, \
         expires_at {integer} not null)",
            "create index uaa_passcodes_expiry on uaa_passcodes (expires_at)",
            "create table uaa_sessions (session_hash {id} primary key, user_id {id} not null, auth_time {integer} not null, \
         seen_at {integer} not null, expires_at {integer} not null)",
            "create index uaa_sessions_user on uaa_sessions (user_id)",
            "create index uaa_sessions_expiry on uaa_sessions (expires_at)",
            // The logins at external providers that are under way.
            "create table uaa_logins (state_hash {id} primary key, provider {id} not null, binding_hash {id} not null, \
         nonce {id} not null, verifier {id} not null, continue_to {text} not null, expires_at {integer} not null)",
            "create index uaa_logins_expiry on uaa_logins (expires_at)",
            "create table uaa_approvals (user_id {id} not null, client_id {id} not null, scope {id} not null, \
         approved {boolean} not null, expires_at {integer} not null, modified_at {integer} not null, \
         primary key (user_id, client_id, scope))",
            // The next `seq` is in a row of uaa_settings, so that rows become visible in the order of `seq`.
            "create table uaa_revocations (seq {integer} not null primary key, kind {id} not null, subject {id} not null, \
         client_id {id}, before_s {integer} not null, until_s {integer} not null)",
            "create index uaa_revocations_until on uaa_revocations (until_s)",
            "create table uaa_failures (principal {id} primary key, failures {integer} not null, first_at {integer} not null, \
         last_at {integer} not null, locked_until {integer} not null)",
            "create index uaa_failures_last on uaa_failures (last_at)",
        ],
    },
    Migration {
        version: 2,
        name: "revocations by subject, codes by whom they are for",
        statements: &[
            // The holder of a token that was revoked individually: a digest of user and client.
            "alter table uaa_revocations add column owner {id}",
            "create index uaa_revocations_subject on uaa_revocations (subject)",
            "create index uaa_revocations_owner on uaa_revocations (owner)",
            "create index uaa_codes_user on uaa_codes (user_id)",
            "create index uaa_codes_client on uaa_codes (client_id)",
            "create index uaa_passcodes_user on uaa_passcodes (user_id)",
        ],
    },
    Migration {
        version: 3,
        name: "sources to the letter; logins at providers in cookies",
        statements: &[
            // See `group_key`.
            "update uaa_groups set display_key = display_name where substr(display_name, 1, 10) = 'logs.read.'",
            "drop table if exists uaa_logins",
        ],
    },
];
