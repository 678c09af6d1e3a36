//! The document of a user.

use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::issue::ZONE;
use weir_platform_uaa_store::User;

use crate::http::ApiError;
use crate::http::scim::{SCHEMA, meta, time};

/// Returns the document of a user, which never has a password or its hash.
pub(in crate::http::scim) async fn document(app: &App, user: &User) -> Result<Value, ApiError> {
    let groups: Vec<Value> = app
        .memberships(user)
        .await?
        .into_iter()
        .map(|group| {
            let kind = if group.direct { "DIRECT" } else { "INDIRECT" };
            json!({"value": group.id, "display": group.display_name, "type": kind})
        })
        .collect();
    let approvals: Vec<Value> = app
        .store
        .approvals(&user.id)
        .await?
        .into_iter()
        .map(|approval| {
            json!({
                "userId": user.id,
                "clientId": approval.client_id,
                "scope": approval.scope,
                "status": if approval.approved { "APPROVED" } else { "DENIED" },
                "lastUpdatedAt": time(approval.modified_at),
                "expiresAt": time(approval.expires_at),
            })
        })
        .collect();
    let mut name = serde_json::Map::new();
    for (key, part) in [("givenName", &user.given_name), ("familyName", &user.family_name)] {
        if let Some(part) = part {
            name.insert(key.to_owned(), part.as_str().into());
        }
    }
    let mut document = json!({
        "id": user.id,
        "meta": meta(user.version, user.created_at, user.modified_at),
        "userName": user.user_name,
        "name": name,
        "emails": user.emails,
        "groups": groups,
        "approvals": approvals,
        "active": user.active,
        "verified": user.verified,
        "origin": user.origin,
        "zoneId": ZONE,
        "passwordLastModified": time(user.password_changed_at.unwrap_or(user.created_at)),
        "schemas": [SCHEMA],
    });
    if let Some(id) = &user.external_id {
        document["externalId"] = id.as_str().into();
    }
    if !user.phones.is_empty() {
        document["phoneNumbers"] = user.phones.iter().map(|phone| json!({ "value": phone })).collect();
    }
    for (key, at) in [
        ("lastLogonTime", user.last_logon),
        ("previousLogonTime", user.previous_logon),
    ] {
        if let Some(at) = at {
            document[key] = at.into();
        }
    }
    Ok(document)
}
