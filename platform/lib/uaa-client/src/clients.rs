//! Clients: programs that ask for tokens.

use http::Method;
use serde::{Deserialize, Serialize};
use weir_config::Secret;

use crate::{Admin, AdminError, escaped};

/// A client as the UAA shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClientEntry {
    /// The client's id.
    pub client_id: String,
    /// The name that people see.
    pub name: Option<String>,
    /// The scopes that tokens of its users may have.
    #[serde(default)]
    pub scope: Vec<String>,
    /// The scopes that its own tokens have.
    #[serde(default)]
    pub authorities: Vec<String>,
    /// The grants by which it may ask for tokens.
    #[serde(default)]
    pub authorized_grant_types: Vec<String>,
    /// The addresses to which codes may be sent.
    #[serde(default)]
    pub redirect_uri: Vec<String>,
}

/// A client to be made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewClient {
    /// The client's id.
    pub client_id: String,
    /// The client's secret; none for a public client.
    #[serde(skip)]
    pub client_secret: Option<Secret<String>>,
    /// The name that people see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The scopes that tokens of its users may have.
    pub scope: Vec<String>,
    /// The scopes that its own tokens have.
    pub authorities: Vec<String>,
    /// The grants by which it may ask for tokens.
    pub authorized_grant_types: Vec<String>,
    /// The addresses to which codes may be sent.
    pub redirect_uri: Vec<String>,
    /// Whether users need not agree.
    pub autoapprove: bool,
    /// Whether it may redeem codes without a secret, with PKCE.
    pub allowpublic: bool,
}

impl Admin {
    /// Returns all clients.
    ///
    /// # Errors
    /// When this token may not see them.
    pub async fn clients(&self) -> Result<Vec<ClientEntry>, AdminError> {
        self.list("/oauth/clients", None).await
    }

    /// Makes a client.
    ///
    /// # Errors
    /// When the id is taken, it makes no sense, or it would have more than this token.
    pub async fn add_client(&self, client: &NewClient) -> Result<ClientEntry, AdminError> {
        let mut body = serde_json::to_value(client).map_err(|error| AdminError::Answer {
            reason: error.to_string(),
        })?;
        if let Some(secret) = &client.client_secret {
            body["client_secret"] = secret.expose().as_str().into();
        }
        self.send(Method::POST, "/oauth/clients", &body).await
    }

    /// Removes a client; all tokens that were issued to it end.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove_client(&self, id: &str) -> Result<(), AdminError> {
        self.delete(&format!("/oauth/clients/{}", escaped(id))).await
    }
}
