//! Bindings: one drain of one app, or of all apps. Each has its own queue, task, trust store and budget.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::{DrainUrl, Refusal, feed};

pub use crate::feed::App;

/// The identity of a binding: a digest of URL, app and credentials, which is equal in every process and version.
///
/// Its text is 32 hexadecimal digits, so it is safe in file names, tags and tables, and reveals nothing of its parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId([u8; 16]);

impl BindingId {
    /// Returns the digest of the given parts.
    fn of(parts: &[&str]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // Without the lengths, `ab` and `c` would give the digest of `a` and `bc`.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(id)
    }
}

impl fmt::Display for BindingId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for BindingId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BindingId({self})")
    }
}

impl std::str::FromStr for BindingId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut id = [0; 16];
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidId);
        }
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| InvalidId)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidId)?;
        }
        Ok(Self(id))
    }
}

/// The error for a text that is not a [`BindingId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("binding id is not 32 hexadecimal digits")]
pub struct InvalidId;

/// The certificate that is presented to a drain, and the CAs that are trusted for it beside the platform's CAs.
///
/// `Debug` shows which of them are present, and nothing of their contents.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The client certificate, in PEM.
    pub cert: Option<String>,
    /// The key of the client certificate, in PEM. A certificate without a key, or a key without a certificate, is not
    /// used.
    pub key: Option<String>,
    /// The CA certificates that may have signed the drain's certificate, in PEM.
    pub ca: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("cert", &self.cert.is_some())
            .field("key", &self.key.is_some())
            .field("ca", &self.ca.is_some())
            .finish()
    }
}

impl Credentials {
    fn of(credential: &feed::Credential) -> Self {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            cert: given(&credential.cert),
            key: given(&credential.key),
            ca: given(&credential.ca),
        }
    }

    /// The client certificate and its key, if both are present.
    #[must_use]
    pub fn pair(&self) -> Option<(&str, &str)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }
}

/// One drain of one app, or an aggregate drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The identity of the binding.
    pub id: BindingId,
    /// A digest of app and URL without the credentials, which stays equal when the credentials are rotated.
    pub rotation_id: BindingId,
    /// The URL of the drain.
    pub url: DrainUrl,
    /// The bound app; `None` for an aggregate drain.
    pub app: Option<App>,
    /// The credentials towards the drain.
    pub credentials: Credentials,
}

/// A binding that cannot be used, with the text for its app's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The GUID of the app, if the binding has one.
    pub app: Option<String>,
    /// The safe form of the drain's URL; empty if it could not be parsed.
    pub url_safe: String,
    /// The reason, in the contract's words.
    pub text: String,
}

impl Binding {
    /// Returns a binding of `app`, or an aggregate drain if that is `None`.
    #[must_use]
    pub fn new(url: DrainUrl, app: Option<App>, credentials: Credentials) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (scope, guid) = match &app {
            Some(app) => ("app", app.app_id.as_str()),
            None => ("aggregate", ""),
        };
        // The parts and their order must never change: backlogs on disk are found by these ids after an update.
        let rotation_id = BindingId::of(&[scope, guid, url.expose()]);
        let id = BindingId::of(&[
            scope,
            guid,
            url.expose(),
            &text(&credentials.cert),
            &text(&credentials.key),
            &text(&credentials.ca),
        ]);
        Self {
            id,
            rotation_id,
            url,
            app,
            credentials,
        }
    }

    /// Returns the bindings of all apps of one item of `/v2/bindings`.
    ///
    /// Credentials without apps give no binding. Only [`Binding::aggregate`] makes drains for the lines of all apps.
    pub fn expand(item: &feed::Item) -> impl Iterator<Item = Result<Self, Invalid>> {
        let url = DrainUrl::parse(&item.url);
        item.credentials.iter().flat_map(move |credential| {
            let usable = url
                .clone()
                .map_err(Refusal::from)
                .and_then(|url| usable(url, credential));
            let apps = credential.apps.iter().flatten();
            apps.filter(|app| !app.app_id.is_empty()).map(move |app| match &usable {
                Ok((url, credentials)) => Ok(Self::new(url.clone(), Some(app.clone()), credentials.clone())),
                Err(refusal) => Err(invalid(Some(app), refusal)),
            })
        })
    }

    /// Returns the aggregate drains of one item of `/v2/aggregate`: one for each of its credentials, or one without
    /// credentials if it has none.
    pub fn aggregate(item: &feed::Item) -> impl Iterator<Item = Result<Self, Invalid>> {
        let url = DrainUrl::parse(&item.url);
        let none = item.credentials.is_empty().then(feed::Credential::default);
        let credentials: Vec<_> = item.credentials.iter().cloned().chain(none).collect();
        credentials.into_iter().map(move |credential| {
            let url = url.clone().map_err(Refusal::from);
            match url.and_then(|url| usable(url, &credential)) {
                Ok((url, credentials)) => Ok(Self::new(url, None, credentials)),
                Err(refusal) => Err(invalid(None, &refusal)),
            }
        })
    }

    /// The source id whose envelopes the drain gets; `None` for an aggregate drain, which gets those of all sources.
    #[must_use]
    pub fn source_id(&self) -> Option<&str> {
        self.app.as_ref().map(|app| app.app_id.as_str())
    }

    /// The HOSTNAME of messages whose tags name no app; empty for an aggregate drain.
    #[must_use]
    pub fn hostname(&self) -> &str {
        self.app.as_ref().map_or("", |app| app.hostname.as_str())
    }
}

/// Returns URL and credentials if the certificates can be used.
fn usable(url: DrainUrl, credential: &feed::Credential) -> Result<(DrainUrl, Credentials), Refusal> {
    let credentials = Credentials::of(credential);
    if let Some((cert, key)) = credentials.pair()
        && weir_tls::check_identity(cert.as_bytes(), key.as_bytes()).is_err()
    {
        return Err(Refusal::Certificate {
            url: url.safe().to_owned(),
        });
    }
    if let Some(ca) = &credentials.ca
        && weir_tls::check_authority(ca.as_bytes()).is_err()
    {
        return Err(Refusal::RootCa {
            url: url.safe().to_owned(),
        });
    }
    Ok((url, credentials))
}

/// Returns the report of a binding that cannot be used.
fn invalid(app: Option<&App>, refusal: &Refusal) -> Invalid {
    Invalid {
        app: app.map(|app| app.app_id.clone()),
        url_safe: refusal.url().to_owned(),
        text: refusal.to_string(),
    }
}

#[cfg(test)]
mod tests;
