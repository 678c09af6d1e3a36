//! One drain of one app, or of all: the unit that has a queue, a task, a trust store and a budget of its own.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::{DrainUrl, Refusal, feed};

pub use crate::feed::App;

/// What tells a binding from every other: made of URL, app and credentials, the same in every process. Hexadecimal, so it
/// is safe in file names, tags and tables; nothing can be read from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId([u8; 16]);

impl BindingId {
    fn of(parts: &[&str]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // Lengths keep `ab` + `c` apart from `a` + `bc`.
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

/// A text that is no [`BindingId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("binding id is not 32 hexadecimal digits")]
pub struct InvalidId;

/// What we show to a drain and what we trust beside the platform's CAs. Secret: `Debug` says only what is there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Our certificate, PEM.
    pub cert: Option<String>,
    /// Its key, PEM. A certificate without key, or a key without certificate, is not used.
    pub key: Option<String>,
    /// CA certificates that the drain's may come from, PEM.
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

    /// Certificate and key, if both are there.
    #[must_use]
    pub fn pair(&self) -> Option<(&str, &str)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }
}

/// One drain of one app, or an aggregate drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// What tells it from every other.
    pub id: BindingId,
    /// As `id`, without the credentials: the same before and after they were rotated.
    pub kin: BindingId,
    /// Where it goes.
    pub url: DrainUrl,
    /// Whose it is; `None` for an aggregate drain.
    pub app: Option<App>,
    /// What it shows and trusts.
    pub credentials: Credentials,
}

/// A binding that is not usable, with the text for its app's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The app, if it is known.
    pub app: Option<String>,
    /// The drain, as it may be shown; empty if not even that is known.
    pub url_safe: String,
    /// The contract's text.
    pub text: String,
}

impl Binding {
    /// A binding. `app`: `None` for an aggregate drain.
    #[must_use]
    pub fn new(url: DrainUrl, app: Option<App>, credentials: Credentials) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (scope, guid) = match &app {
            Some(app) => ("app", app.app_id.as_str()),
            None => ("aggregate", ""),
        };
        let kin = BindingId::of(&[scope, guid, url.expose()]);
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
            kin,
            url,
            app,
            credentials,
        }
    }

    /// The bindings of the apps of one item of the feed (`/v2/bindings`). Credentials without apps give nothing: only
    /// [`Binding::aggregate`] makes drains of everything.
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

    /// The aggregate drains of one item of `/v2/aggregate`: one for each of its credentials, one without any if there are
    /// none.
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

    /// The source id whose lines it gets; `None` for an aggregate drain.
    #[must_use]
    pub fn source_id(&self) -> Option<&str> {
        self.app.as_ref().map(|app| app.app_id.as_str())
    }

    /// The hostname for messages that name none; empty for an aggregate drain.
    #[must_use]
    pub fn hostname(&self) -> &str {
        self.app.as_ref().map_or("", |app| app.hostname.as_str())
    }
}

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

fn invalid(app: Option<&App>, refusal: &Refusal) -> Invalid {
    Invalid {
        app: app.map(|app| app.app_id.clone()),
        url_safe: refusal.url().to_owned(),
        text: refusal.to_string(),
    }
}

#[cfg(test)]
mod tests;
