//! A client as others write it, and whether it makes sense.

use http::StatusCode;
use serde::Deserialize;

use super::invalid;
use crate::app::App;
use crate::http::ApiError;
use crate::http::bearer::Caller;
use crate::http::error::shown;
use crate::http::redirect;
use crate::store::{AutoApprove, Client, ClientDetail};

/// Grants that a client may have. The implicit one is accepted and does nothing: clients of the original ask for it.
const GRANTS: [&str; 6] = [
    "authorization_code",
    "client_credentials",
    "implicit",
    "password",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
];

/// What stands where there is nothing.
const NONE: &str = "uaa.none";

/// What resource servers need to ask about tokens.
const RESOURCE: &str = "uaa.resource";

/// Most entries of a list.
const MOST: usize = 200;

/// A client as others write it.
#[derive(Deserialize)]
pub(super) struct Written {
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    name: Option<String>,
    scope: Option<Texts>,
    authorities: Option<Texts>,
    authorized_grant_types: Option<Texts>,
    redirect_uri: Option<Texts>,
    resource_ids: Option<Texts>,
    autoapprove: Option<AutoApprove>,
    access_token_validity: Option<i64>,
    refresh_token_validity: Option<i64>,
    allowedproviders: Option<Vec<String>>,
    allowpublic: Option<bool>,
}

/// A list, or a text with commas, as older clients write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    List(Vec<String>),
    Joined(String),
}

impl Texts {
    fn list(self) -> Vec<String> {
        let list = match self {
            Self::List(list) => list,
            Self::Joined(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        };
        list.into_iter().filter(|text| !text.is_empty()).collect()
    }
}

pub(super) fn replace(client: &mut Client, written: Written) {
    let list = |texts: Option<Texts>| texts.map(Texts::list).unwrap_or_default();
    client.name = written.name;
    client.detail = ClientDetail {
        scope: list(written.scope),
        authorities: list(written.authorities),
        authorized_grant_types: list(written.authorized_grant_types),
        redirect_uri: list(written.redirect_uri),
        resource_ids: list(written.resource_ids),
        auto_approve: match written.autoapprove {
            // How older clients write it.
            Some(AutoApprove::Scopes(scopes)) if scopes == ["true"] => AutoApprove::Whole(true),
            other => other.unwrap_or_default(),
        },
        access_token_validity: written.access_token_validity.filter(|seconds| *seconds > 0),
        refresh_token_validity: written.refresh_token_validity.filter(|seconds| *seconds > 0),
        allowed_providers: written.allowedproviders.filter(|list| !list.is_empty()),
        allow_public: written.allowpublic.unwrap_or(false),
    };
    // As in the original: whoever lets people log in may keep them logged in.
    let grants = &mut client.detail.authorized_grant_types;
    let has = |name: &str| grants.iter().any(|grant| grant == name);
    if (has("authorization_code") || has("password")) && !has("refresh_token") {
        grants.push("refresh_token".to_owned());
    }
    let none = |scopes: &mut Vec<String>| {
        if scopes.is_empty() {
            scopes.push(NONE.to_owned());
        }
    };
    none(&mut client.detail.scope);
    none(&mut client.detail.authorities);
}

/// Whether the client makes sense, and gives its maker no more than they have.
pub(super) async fn check(app: &App, client: &Client, caller: &Caller) -> Result<(), ApiError> {
    let detail = &client.detail;
    let lists = [
        &detail.scope,
        &detail.authorities,
        &detail.authorized_grant_types,
        &detail.redirect_uri,
        &detail.resource_ids,
    ];
    if lists.iter().any(|list| list.len() > MOST) {
        return Err(invalid(format!("a list has more than {MOST} entries")));
    }
    if client.name.as_ref().is_some_and(|name| name.len() > 255) {
        return Err(invalid("name is longer than 255 bytes"));
    }
    for scope in detail.scope.iter().chain(&detail.authorities) {
        if !crate::scopes::is_valid(scope) {
            return Err(invalid("scope and authorities must be scopes"));
        }
    }
    if detail.authorized_grant_types.is_empty() {
        return Err(invalid("authorized_grant_types must not be empty"));
    }
    for grant in &detail.authorized_grant_types {
        if !GRANTS.contains(&grant.as_str()) {
            return Err(invalid(format!("{} is not an allowed grant type", shown(grant))));
        }
    }
    if client.may("authorization_code") && detail.redirect_uri.is_empty() {
        return Err(invalid(
            "redirect_uri is required for the grant type authorization_code",
        ));
    }
    for redirect in &detail.redirect_uri {
        redirect::check(redirect).map_err(invalid)?;
    }
    let longest = crate::issue::seconds(app.config.tokens.longest_access);
    if detail.access_token_validity.is_some_and(|seconds| seconds > longest) {
        return Err(invalid(format!(
            "access_token_validity must be at most {longest} seconds"
        )));
    }
    if caller.has_any(&["uaa.admin", "clients.admin"]) {
        return Ok(());
    }
    let by = app.store.client(&caller.claims.client_id).await?;
    modest(client, &caller.claims.client_id, by.as_ref())
}

/// What whoever may make clients without being an administrator may give them, as the original has it: scopes of the
/// caller's own client or below its name, of which a user's token gets what the user has; of authorities, which nobody
/// else has a say in, only what resource servers need; and no grant that sees passwords. The name of the new client opens
/// nothing: it is the caller's to choose.
fn modest(client: &Client, caller: &str, by: Option<&Client>) -> Result<(), ApiError> {
    let refused = |description: String| Err(ApiError::new(StatusCode::FORBIDDEN, "invalid_client", description));
    if client.may("password") {
        return refused("password is not an allowed grant type for non-admin caller.".to_owned());
    }
    if client.may("implicit") && client.may("authorization_code") {
        return refused("Not allowed: implicit grant type is not allowed together with authorization_code".to_owned());
    }
    let own = format!("{caller}.");
    let held = by.map(|by| by.detail.scope.as_slice()).unwrap_or_default();
    for scope in &client.detail.scope {
        let below = by.is_some() && scope.starts_with(&own);
        if scope != NONE && !below && !held.contains(scope) {
            return refused(format!(
                "{scope} is not an allowed scope for caller={}. Must have prefix in [{}] or be one of its own",
                shown(caller),
                shown(&own)
            ));
        }
    }
    for authority in &client.detail.authorities {
        let resource = authority == RESOURCE && client.may("client_credentials");
        if authority != NONE && !resource {
            return refused(format!(
                "{authority} is not an allowed authority for caller={}",
                shown(caller)
            ));
        }
    }
    Ok(())
}
