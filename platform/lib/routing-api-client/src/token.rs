//! The token that UAA gives to a client, kept until shortly before its end.

use std::time::{Duration, Instant};

use http::HeaderValue;
use parking_lot::Mutex;
use weir_config::Secret;
use weir_service::clock;
use weir_uaa_client::Uaa;

use crate::{ClientError, RoutingApiSettings};

/// How long before its end a token is replaced, as the original's clients do.
const MARGIN: Duration = Duration::from_secs(30);

/// Gets tokens by client credentials. One request to UAA at a time; a secret that changes is seen with the next token.
#[derive(Debug)]
pub(crate) struct Tokens {
    uaa: Uaa,
    client: String,
    secret_file: std::path::PathBuf,
    kept: Mutex<Option<Kept>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Kept {
    token: Secret<String>,
    until: Instant,
}

impl Tokens {
    pub(crate) fn new(settings: &RoutingApiSettings) -> Result<Self, ClientError> {
        let client = settings.client_id.clone();
        let uaa = Uaa::new(&settings.uaa_url, settings.uaa_ca.as_deref()).map_err(|source| ClientError::Token {
            client: client.clone(),
            source,
        })?;
        Ok(Self {
            uaa,
            client,
            secret_file: settings.client_secret_file.clone(),
            kept: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// A token other than `refused`: the one that is kept, or a new one.
    pub(crate) async fn token(&self, refused: Option<&Secret<String>>) -> Result<Secret<String>, ClientError> {
        if let Some(token) = self.kept(refused) {
            return Ok(token);
        }
        let _asking = self.asking.lock().await;
        // Whoever asked before may have got one.
        if let Some(token) = self.kept(refused) {
            return Ok(token);
        }
        let secret = weir_auth::client_secret(&self.client, &self.secret_file).await;
        let secret = secret.map_err(|reason| ClientError::Secret {
            client: self.client.clone(),
            reason,
        })?;
        let given = self.uaa.client_credentials(&self.client, &secret).await;
        let given = given.map_err(|source| ClientError::Token {
            client: self.client.clone(),
            source,
        })?;
        let life = Duration::from_secs(given.expires_in).saturating_sub(MARGIN);
        let token = given.access_token;
        // A token that cannot be kept for long is asked for each time.
        *self.kept.lock() = clock::instant().checked_add(life).map(|until| Kept {
            token: token.clone(),
            until,
        });
        Ok(token)
    }

    fn kept(&self, refused: Option<&Secret<String>>) -> Option<Secret<String>> {
        let kept = self.kept.lock().clone()?;
        let is_good = clock::instant() < kept.until && refused != Some(&kept.token);
        is_good.then_some(kept.token)
    }
}

/// The value of `Authorization` with a token.
pub(crate) fn authorization(token: &Secret<String>) -> Result<HeaderValue, ClientError> {
    let value = HeaderValue::from_str(&format!("bearer {}", token.expose()));
    let mut value = value.map_err(|_| ClientError::Answer {
        reason: "the token has characters that no header may have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
