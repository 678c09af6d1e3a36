//! Reads the document of a client that a request sends, and checks it.

use http::StatusCode;
use serde_json::{Map, Value};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{AutoApprove, Client};

use super::invalid;
use crate::http::ApiError;
use crate::http::bearer::Caller;
use crate::http::error::excerpt;
use crate::http::redirect;

/// The grant types that a client may have. `implicit` is accepted and has no effect, because programs for the original send it.
const GRANTS: [&str; 6] = [
    "authorization_code",
    "client_credentials",
    "implicit",
    "password",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
];

/// The scope of a list that would be empty.
const NONE: &str = "uaa.none";

/// The authority with which resource servers check tokens.
const RESOURCE: &str = "uaa.resource";

/// The most entries of a list.
const MOST: usize = 200;

/// The members that only the server writes. Clients send them back with the rest of a document.
const READ_ONLY: [&str; 2] = ["lastModified", "approvals_deleted"];

/// The members that have an effect in the original and none here, and what to do instead.
const NOT_DONE: [(&str, &str); 4] = [
    ("jwks", "give the client a client_secret"),
    ("jwks_uri", "give the client a client_secret"),
    ("client_jwt_config", "give the client a client_secret"),
    (
        "token_salt",
        "DELETE /oauth/token/revoke/client/:id revokes the client's tokens",
    ),
];

/// The most bytes of the members without an effect, as JSON.
const MOST_INFORMATION: usize = 16 << 10;

/// The document of a client that a request sends. As in the original, members that are absent, `null`, or an empty list where
/// a list must not be empty, change nothing.
#[derive(Clone, Default)]
pub(super) struct Written {
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    /// The second secret of a client that is created with two.
    pub(super) second_secret: Option<String>,
    scope: Vec<String>,
    authorities: Vec<String>,
    authorized_grant_types: Vec<String>,
    redirect_uri: Vec<String>,
    auto_approve: Option<AutoApprove>,
    access_token_validity: Option<i64>,
    refresh_token_validity: Option<i64>,
    name: Change<String>,
    allowed_providers: Change<Vec<String>>,
    allow_public: Change<bool>,
    required_user_groups: Change<Vec<String>>,
    /// All other members, which are stored and returned. `null` removes one.
    information: Map<String, Value>,
}

/// The change of a member that `null` removes.
#[derive(Clone, Default)]
enum Change<T> {
    #[default]
    Keep,
    Remove,
    Set(T),
}

impl<T> Change<T> {
    fn of(value: Option<Option<T>>) -> Self {
        match value {
            None => Self::Keep,
            Some(None) => Self::Remove,
            Some(Some(value)) => Self::Set(value),
        }
    }
}

impl Written {
    /// Reads the members of a client. The error names the member that cannot be read or is not supported.
    pub(super) fn read(mut members: Map<String, Value>) -> Result<Self, ApiError> {
        let mut take = |name: &'static str| Member(name, members.remove(name));
        let written = Self {
            client_id: take("client_id").text()?.flatten(),
            client_secret: take("client_secret").text()?.flatten(),
            second_secret: take("secondary_client_secret").text()?.flatten(),
            scope: take("scope").list()?,
            authorities: take("authorities").list()?,
            authorized_grant_types: take("authorized_grant_types").list()?,
            redirect_uri: take("redirect_uri").list()?,
            auto_approve: take("autoapprove").approval()?,
            access_token_validity: take("access_token_validity").seconds()?,
            refresh_token_validity: take("refresh_token_validity").seconds()?,
            name: Change::of(take("name").text()?),
            allowed_providers: Change::of(take("allowedproviders").texts()?),
            allow_public: Change::of(take("allowpublic").boolean()?),
            required_user_groups: Change::of(take("required_user_groups").texts()?),
            information: Map::new(),
        };
        // The form is checked and the value ignored: as in the original, the audience follows from the scopes.
        take("resource_ids").list()?;
        if matches!(&written.allowed_providers, Change::Set(list) if list.is_empty()) {
            return Err(invalid("allowedproviders must name an origin; null allows all of them"));
        }
        for name in READ_ONLY {
            members.remove(name);
        }
        for (name, instead) in NOT_DONE {
            if members.remove(name).is_some_and(|value| !value.is_null()) {
                return Err(invalid(format!("{name} is not supported: {instead}")));
            }
        }
        Ok(Self {
            information: members,
            ..written
        })
    }

    /// Applies the members that were sent to a client.
    pub(super) fn apply(&self, client: &mut Client) {
        let detail = &mut client.detail;
        for (written, list) in [
            (&self.scope, &mut detail.scope),
            (&self.authorities, &mut detail.authorities),
            (&self.authorized_grant_types, &mut detail.authorized_grant_types),
            (&self.redirect_uri, &mut detail.redirect_uri),
        ] {
            if !written.is_empty() {
                list.clone_from(written);
            }
        }
        if let Some(approval) = &self.auto_approve {
            detail.auto_approve.clone_from(approval);
        }
        detail.access_token_validity = self.access_token_validity.or(detail.access_token_validity);
        detail.refresh_token_validity = self.refresh_token_validity.or(detail.refresh_token_validity);
        match &self.name {
            Change::Keep => {}
            Change::Remove => client.name = None,
            Change::Set(name) => client.name = Some(name.clone()).filter(|name| !name.is_empty()),
        }
        match &self.allowed_providers {
            Change::Keep => {}
            Change::Remove => detail.allowed_providers = None,
            Change::Set(list) => detail.allowed_providers = Some(list.clone()),
        }
        match &self.allow_public {
            Change::Keep => {}
            Change::Remove => detail.allow_public = false,
            Change::Set(allow) => detail.allow_public = *allow,
        }
        match &self.required_user_groups {
            Change::Keep => {}
            Change::Remove => detail.required_user_groups.clear(),
            Change::Set(groups) => detail.required_user_groups.clone_from(groups),
        }
        for (name, value) in &self.information {
            if value.is_null() {
                detail.information.remove(name);
            } else {
                detail.information.insert(name.clone(), value.clone());
            }
        }
        complete(client);
    }
}

/// Adds what follows from the other members of a client.
fn complete(client: &mut Client) {
    // As in the original, a client with a login of users may also refresh.
    let grants = &mut client.detail.authorized_grant_types;
    let has = |name: &str| grants.iter().any(|grant| grant == name);
    if (has("authorization_code") || has("password")) && !has("refresh_token") {
        grants.push("refresh_token".to_owned());
    }
    for scopes in [&mut client.detail.scope, &mut client.detail.authorities] {
        if scopes.is_empty() {
            scopes.push(NONE.to_owned());
        }
    }
}

/// A member of a client with its name: absent, `null`, or a value. Programs for the original send lists, numbers and booleans
/// as texts too.
struct Member(&'static str, Option<Value>);

impl Member {
    fn wrong(&self, form: &str) -> ApiError {
        invalid(format!("{} must be {form}", self.0))
    }

    fn text(self) -> Result<Option<Option<String>>, ApiError> {
        match self.1 {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(_) => Err(self.wrong("a text")),
        }
    }

    fn texts(self) -> Result<Option<Option<Vec<String>>>, ApiError> {
        let list: Vec<String> = match &self.1 {
            None => return Ok(None),
            Some(Value::Null) => return Ok(Some(None)),
            Some(Value::String(text)) => text
                .split(|character: char| character == ',' || character.is_whitespace())
                .map(str::to_owned)
                .collect(),
            Some(Value::Array(list)) => {
                let texts: Option<Vec<_>> = list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
                texts.ok_or_else(|| self.wrong("a list of texts"))?
            }
            Some(_) => return Err(self.wrong("a list of texts, or a text with commas")),
        };
        let filled = list.into_iter().filter(|text| !text.is_empty()).collect();
        Ok(Some(Some(filled)))
    }

    fn list(self) -> Result<Vec<String>, ApiError> {
        Ok(self.texts()?.flatten().unwrap_or_default())
    }

    fn boolean(self) -> Result<Option<Option<bool>>, ApiError> {
        match &self.1 {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::Bool(value)) => Ok(Some(Some(*value))),
            Some(Value::String(text)) if text == "true" => Ok(Some(Some(true))),
            Some(Value::String(text)) if text == "false" => Ok(Some(Some(false))),
            Some(_) => Err(self.wrong("true or false")),
        }
    }

    fn seconds(self) -> Result<Option<i64>, ApiError> {
        let number = match &self.1 {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        let number = number.filter(|seconds| *seconds > 0);
        number
            .map(Some)
            .ok_or_else(|| self.wrong("a number of seconds, at least 1"))
    }

    /// Reads `autoapprove`: `true`, `false`, or scopes. A list with `"true"` means all scopes, as older programs send it.
    fn approval(self) -> Result<Option<AutoApprove>, ApiError> {
        if let Some(Value::Bool(whole)) = &self.1 {
            return Ok(Some(AutoApprove::Whole(*whole)));
        }
        let scopes = self.texts()?.flatten();
        Ok(scopes.map(|scopes| {
            if scopes.iter().any(|scope| scope == "true") {
                AutoApprove::Whole(true)
            } else if scopes == ["false"] {
                AutoApprove::Whole(false)
            } else {
                AutoApprove::Scopes(scopes)
            }
        }))
    }
}

/// Checks a client, and that its creator gives it no more than they may.
pub(super) async fn check(app: &App, client: &Client, caller: &Caller) -> Result<(), ApiError> {
    let detail = &client.detail;
    let lists = [
        &detail.scope,
        &detail.authorities,
        &detail.authorized_grant_types,
        &detail.redirect_uri,
        &detail.required_user_groups,
    ];
    if lists.iter().any(|list| list.len() > MOST) {
        return Err(invalid(format!("a list has more than {MOST} entries")));
    }
    if client.name.as_ref().is_some_and(|name| name.len() > 255) {
        return Err(invalid("name is longer than 255 bytes"));
    }
    let approved = match &detail.auto_approve {
        AutoApprove::Scopes(scopes) => scopes.as_slice(),
        AutoApprove::Whole(_) => &[],
    };
    let providers = detail.allowed_providers.as_deref().unwrap_or_default();
    if approved.len() > MOST || providers.len() > MOST {
        return Err(invalid(format!("a list has more than {MOST} entries")));
    }
    for scope in [&detail.scope, &detail.authorities, &detail.required_user_groups]
        .into_iter()
        .flatten()
        .chain(approved)
    {
        if !weir_platform_uaa_store::scopes::is_valid(scope) {
            return Err(invalid(
                "scope, authorities, autoapprove and required_user_groups must be names of scopes",
            ));
        }
    }
    if serde_json::to_string(&detail.information).is_ok_and(|text| text.len() > MOST_INFORMATION) {
        return Err(invalid(format!(
            "the members without an effect are longer than {MOST_INFORMATION} bytes"
        )));
    }
    if detail.authorized_grant_types.is_empty() {
        return Err(invalid("authorized_grant_types must not be empty"));
    }
    for grant in &detail.authorized_grant_types {
        if !GRANTS.contains(&grant.as_str()) {
            return Err(invalid(format!("{} is not an allowed grant type", excerpt(grant))));
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
    let longest = weir_platform_uaa_core::issue::seconds(app.config.tokens.longest_access);
    if detail.access_token_validity.is_some_and(|seconds| seconds > longest) {
        return Err(invalid(format!(
            "access_token_validity must be at most {longest} seconds"
        )));
    }
    if caller.has_any(&["uaa.admin", "clients.admin"]) {
        return Ok(());
    }
    let by = app.store.client(&caller.claims.client_id).await?;
    check_not_administrator(client, &caller.claims.client_id, by.as_ref())
}

/// Checks what a caller who is not an administrator may give a client, as the original does.
///
/// - Scopes: those of the caller's own client, or below its name. Tokens of users get only what the user has.
/// - Authorities: only `uaa.resource`, because no user limits them.
/// - Grant types: not `password`, whose clients see passwords.
///
/// The id of the new client gives no rights, because the caller chooses it.
fn check_not_administrator(client: &Client, caller: &str, by: Option<&Client>) -> Result<(), ApiError> {
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
                excerpt(caller),
                excerpt(&own)
            ));
        }
    }
    for authority in &client.detail.authorities {
        let resource = authority == RESOURCE && client.may("client_credentials");
        if authority != NONE && !resource {
            return refused(format!(
                "{authority} is not an allowed authority for caller={}",
                excerpt(caller)
            ));
        }
    }
    Ok(())
}
