//! Reads the document of a user that a request sends, and checks it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use weir_platform_uaa_core::login::UAA_ORIGIN;
use weir_platform_uaa_store::{Email, User};

use crate::http::ApiError;
use crate::http::error::excerpt;
use crate::http::scim::body::refuse_unknown;

/// The most bytes of a text.
const LONGEST: usize = 255;

/// The most addresses, or telephone numbers.
const MOST: usize = 20;

/// The document of a user that a request sends.
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
    /// Ignored, because it follows from the other two.
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

/// A group in the document of a user.
#[derive(Deserialize)]
pub(super) struct WrittenGroup {
    pub(super) value: String,
}

/// The member `meta` of a document that a request sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::http::scim) struct Meta {
    /// The version that the client read.
    pub(in crate::http::scim) version: Option<i64>,
    /// The attributes that a `PATCH` removes.
    pub(in crate::http::scim) attributes: Vec<String>,
}

/// The effect of a list that is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// The list replaces the present one, as with `PUT`.
    Replace,
    /// The entries are added to the present list, as with `PATCH`.
    Add,
}

/// Removes the attributes that `meta.attributes` of a `PATCH` names.
pub(super) fn remove_attributes(user: &mut User, attributes: &[String], written: &Written) -> Result<(), ApiError> {
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
                    excerpt(other)
                )));
            }
        }
    }
    Ok(())
}

/// Applies the members that were sent to a user.
pub(super) fn apply(user: &mut User, written: Written, lists: Lists) -> Result<(), ApiError> {
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
            check_length("name", part)?;
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
        check_length("externalId", &id)?;
        user.external_id = Some(id).filter(|id| !id.is_empty());
    }
    user.active = written.active.unwrap_or(user.active);
    user.verified = written.verified.unwrap_or(user.verified);
    Ok(())
}

fn write_emails(user: &mut User, emails: Vec<Email>, lists: Lists) -> Result<(), ApiError> {
    if emails.is_empty() {
        // With `PUT`, an empty list would leave the user without an address.
        return match lists {
            Lists::Add => Ok(()),
            Lists::Replace => Err(ApiError::invalid_scim("An email must be provided.")),
        };
    }
    for email in &emails {
        check_length("email", &email.value)?;
        check_length("email type", email.kind.as_deref().unwrap_or_default())?;
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
        check_length("phone number", &phone.value)?;
        refuse_unknown(&phone.others)?;
    }
    let mut numbers: Vec<String> = phones.into_iter().map(|phone| phone.value).collect();
    if lists == Lists::Add {
        // The new numbers come first, because the first number is the one in tokens, as in the original.
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

/// Checks a user name. The characters are limited for users of this UAA only, because providers choose the names of theirs.
fn check_user_name(name: &str, origin: &str) -> Result<(), ApiError> {
    check_length("username", name)?;
    let usable =
        |character: char| character.is_alphabetic() || character.is_ascii_digit() || "+-_.@'!".contains(character);
    if name.trim().is_empty() {
        return Err(ApiError::invalid_scim("A username must be provided."));
    }
    if origin == UAA_ORIGIN && !name.chars().all(usable) {
        return Err(ApiError::invalid_scim(
            "Username must match pattern: [\\p{L}+0-9+\\-_.@'!]+",
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::invalid_scim("A username has no control characters"));
    }
    Ok(())
}

pub(super) fn check_length(what: &str, text: &str) -> Result<(), ApiError> {
    if text.len() > LONGEST {
        return Err(ApiError::invalid_scim(format!(
            "The {what} is longer than {LONGEST} bytes"
        )));
    }
    Ok(())
}
