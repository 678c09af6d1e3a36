//! JSON bodies.
//!
//! No member of a body is ignored silently: it has an effect, or only the server writes it ([`READ_ONLY`]), or the request is
//! refused.

use std::collections::BTreeMap;
use std::fmt;

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::http::ApiError;
use crate::http::error::excerpt;

/// The members of users and groups that only the server writes, in lower case. Clients send them back with the rest of a
/// document, and uaac in lower case.
const READ_ONLY: [&str; 10] = [
    "id",
    "schemas",
    "zoneid",
    "groups",
    "approvals",
    "passwordlastmodified",
    "lastlogontime",
    "previouslogontime",
    "created",
    "lastmodified",
];

/// Reads a JSON body.
pub(crate) fn json<T: DeserializeOwned>(body: Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(&body).map_err(|error| {
        // Only the place is told: the text of the library may quote the body, which may contain a password.
        let place = format!("line {} column {}", error.line(), error.column());
        ApiError::invalid_scim(format!("The body is not readable at {place}"))
    })
}

/// Reads a JSON body that is an object, member by member.
pub(crate) fn object(body: Bytes) -> Result<Map<String, Value>, ApiError> {
    Ok(json::<Object>(body)?.0)
}

/// Refuses members that have no effect.
pub(crate) fn refuse_unknown(members: &BTreeMap<String, Value>) -> Result<(), ApiError> {
    let unknown = members
        .iter()
        .filter(|(_, value)| !value.is_null())
        .find(|(name, _)| !READ_ONLY.contains(&name.to_ascii_lowercase().as_str()));
    match unknown {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::invalid_scim(format!(
            "The attribute `{}` is not kept here: leave it out",
            excerpt(name)
        ))),
    }
}

/// A JSON object without repeated names. Two parsers could choose different values of a repeated name.
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
                let mut object = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if object.insert(name, value).is_some() {
                        return Err(de::Error::custom("a name is repeated"));
                    }
                }
                Ok(Object(object))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
