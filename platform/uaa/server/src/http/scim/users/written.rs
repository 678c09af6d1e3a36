//! A user as clients write it, and whether it makes sense.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use weir_platform_uaa_core::login::OURS;
use weir_platform_uaa_store::{Email, User};

use crate::http::ApiError;
use crate::http::error::shown;
use crate::http::scim::body::refuse_unknown;

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
    pub(super) meta: Option<Meta>,
    pub(super) groups: Option<Vec<WrittenGroup>>,
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Name {
    given_name: Option<String>,
    family_name: Option<String>,
    /// Follows from the other two.
    #[serde(rename = "formatted")]
    _formatted: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Phone {
    value: String,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// A group that a user is in, as it is shown to clients.
#[derive(Deserialize)]
pub(super) struct WrittenGroup {
    pub(super) value: String,
}

/// `meta` as clients write it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::http::scim) struct Meta {
    /// What was read.
    pub(in crate::http::scim) version: Option<i64>,
    /// What is to be taken away.
    pub(in crate::http::scim) attributes: Vec<String>,
}

/// How a list that was sent becomes one with the list that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// It stands in its place, as with `PUT`.
    Replace,
    /// It is added to it, as with `PATCH`.
    Add,
}

/// Takes attributes away, as `meta.attributes` of a `PATCH` says.
pub(super) fn take_away(user: &mut User, attributes: &[String], written: &Written) -> Result<(), ApiError> {
    for attribute in attributes {
        match attribute.to_ascii_lowercase().as_str() {
            "name.givenname" => user.given_name = None,
            "name.familyname" => user.family_name = None,
            "name" => (user.given_name, user.family_name) = (None, None),
            "phonenumbers" => user.phones.clear(),
            "externalid" => user.external_id = None,
            "emails" if written.emails.as_ref().is_some_and(|emails| !emails.is_empty()) => user.emails.clear(),
            "username" if written.user_name.is_some() => {}
            other => {
                return Err(ApiError::invalid_scim(format!(
                    "Attribute {} cannot be removed using \"Meta.attributes\"",
                    shown(other)
                )));
            }
        }
    }
    Ok(())
}

/// Writes what was sent over what is there.
pub(super) fn write(user: &mut User, written: Written, lists: Lists) -> Result<(), ApiError> {
    refuse_unknown(&written.others)?;
    if let Some(name) = written.user_name {
        check_user_name(&name, &user.origin)?;
        user.user_name = name;
    }
    if let Some(emails) = written.emails {
        write_emails(user, emails, lists)?;
    }
    if let Some(name) = written.name {
        refuse_unknown(&name.others)?;
        for part in [&name.given_name, &name.family_name].into_iter().flatten() {
            short("name", part)?;
        }
        for (there, part) in [
            (&mut user.given_name, name.given_name),
            (&mut user.family_name, name.family_name),
        ] {
            if lists == Lists::Replace || part.is_some() {
                *there = part.filter(|part| !part.is_empty());
            }
        }
    }
    if let Some(phones) = written.phone_numbers {
        write_phones(user, phones, lists)?;
    }
    if let Some(id) = written.external_id {
        short("externalId", &id)?;
        user.external_id = Some(id).filter(|id| !id.is_empty());
    }
    user.active = written.active.unwrap_or(user.active);
    user.verified = written.verified.unwrap_or(user.verified);
    Ok(())
}

fn write_emails(user: &mut User, emails: Vec<Email>, lists: Lists) -> Result<(), ApiError> {
    if emails.is_empty() {
        // Nothing to add; and nobody is left without an address.
        return match lists {
            Lists::Add => Ok(()),
            Lists::Replace => Err(ApiError::invalid_scim("An email must be provided.")),
        };
    }
    for email in &emails {
        short("email", &email.value)?;
        short("email type", email.kind.as_deref().unwrap_or_default())?;
        if !email.value.contains('@') && email.value != user.user_name {
            return Err(ApiError::invalid_scim("An email must have the form name@domain"));
        }
    }
    if lists == Lists::Replace {
        user.emails = emails;
    } else {
        let another = emails.iter().any(|email| email.primary);
        user.emails
            .retain(|known| emails.iter().all(|email| email.value != known.value));
        for known in &mut user.emails {
            known.primary &= !another;
        }
        user.emails.extend(emails);
    }
    if user.emails.len() > MOST {
        return Err(ApiError::invalid_scim(format!("There are more than {MOST} emails")));
    }
    Ok(())
}

fn write_phones(user: &mut User, phones: Vec<Phone>, lists: Lists) -> Result<(), ApiError> {
    for phone in &phones {
        short("phone number", &phone.value)?;
        refuse_unknown(&phone.others)?;
    }
    let mut numbers: Vec<String> = phones.into_iter().map(|phone| phone.value).collect();
    if lists == Lists::Add {
        // The first is the one that counts, as in the original.
        let known = std::mem::take(&mut user.phones);
        let known: Vec<_> = known.into_iter().filter(|known| !numbers.contains(known)).collect();
        numbers.extend(known);
    }
    if numbers.len() > MOST {
        return Err(ApiError::invalid_scim(format!(
            "There are more than {MOST} phone numbers"
        )));
    }
    user.phones = numbers;
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
