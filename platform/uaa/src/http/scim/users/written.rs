//! A user as clients write it, and whether it makes sense.

use serde::Deserialize;

use crate::http::ApiError;
use crate::login::OURS;
use crate::store::{Email, User};

/// Longest of any text.
const LONGEST: usize = 255;

/// Most addresses or numbers.
const MOST: usize = 20;

/// A user as clients write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    pub(super) user_name: Option<String>,
    pub(super) password: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) name: Option<Name>,
    pub(super) emails: Option<Vec<Email>>,
    pub(super) phone_numbers: Option<Vec<Phone>>,
    pub(super) active: Option<bool>,
    pub(super) verified: Option<bool>,
    /// What `PATCH` takes away.
    pub(super) meta: Option<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Name {
    given_name: Option<String>,
    family_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Phone {
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) attributes: Vec<String>,
}

/// Writes what was sent over what is there.
pub(super) fn replace(user: &mut User, written: Written) -> Result<(), ApiError> {
    if let Some(name) = written.user_name {
        check_user_name(&name, &user.origin)?;
        user.user_name = name;
    }
    if let Some(emails) = written.emails {
        if emails.is_empty() || emails.len() > MOST {
            return Err(ApiError::invalid_scim("An email must be provided."));
        }
        for email in &emails {
            short("email", &email.value)?;
            if !email.value.contains('@') && email.value != user.user_name {
                return Err(ApiError::invalid_scim("An email must have the form name@domain"));
            }
        }
        user.emails = emails;
    }
    if let Some(name) = written.name {
        for part in [&name.given_name, &name.family_name].into_iter().flatten() {
            short("name", part)?;
        }
        let filled = |part: Option<String>| part.filter(|part| !part.is_empty());
        (user.given_name, user.family_name) = (filled(name.given_name), filled(name.family_name));
    }
    if let Some(phones) = written.phone_numbers {
        if phones.len() > MOST {
            return Err(ApiError::invalid_scim("There are too many phone numbers"));
        }
        for phone in &phones {
            short("phone number", &phone.value)?;
        }
        user.phones = phones.into_iter().map(|phone| phone.value).collect();
    }
    if let Some(id) = written.external_id {
        short("externalId", &id)?;
        user.external_id = Some(id).filter(|id| !id.is_empty());
    }
    user.active = written.active.unwrap_or(user.active);
    user.verified = written.verified.unwrap_or(user.verified);
    Ok(())
}

/// Users of ours have the names that UAA gives; those of others are called what they are called there.
fn check_user_name(name: &str, origin: &str) -> Result<(), ApiError> {
    short("username", name)?;
    let usable =
        |character: char| character.is_alphabetic() || character.is_ascii_digit() || "+-_.@'!".contains(character);
    if name.trim().is_empty() {
        return Err(ApiError::invalid_scim("A username must be provided."));
    }
    if origin == OURS && !name.chars().all(usable) {
        return Err(ApiError::invalid_scim(
            "Username must match pattern: [\\p{L}+0-9+\\-_.@'!]+",
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::invalid_scim("A username has no control characters"));
    }
    Ok(())
}

pub(super) fn short(what: &str, text: &str) -> Result<(), ApiError> {
    if text.len() > LONGEST {
        return Err(ApiError::invalid_scim(format!(
            "The {what} is longer than {LONGEST} bytes"
        )));
    }
    Ok(())
}
