//! The UAA of a running stack, as clients and an administrator use it.

use std::net::Ipv4Addr;
use std::process::Output;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};
use weir_testkit::{Answer, Https, Stack};

/// A client of UAA over HTTPS.
#[derive(Debug, Clone)]
pub(crate) struct Uaa {
    url: String,
    https: Https,
    secrets: Value,
}

impl Uaa {
    /// Returns a client of the UAA of `stack`.
    pub(crate) fn of(stack: &Stack) -> anyhow::Result<Self> {
        let secrets = std::fs::read(stack.state_dir().join("uaa/client-secrets.json"))?;
        Ok(Self {
            url: stack.endpoints().uaa.clone(),
            https: Https::new(stack.endpoints().trusting()?),
            secrets: serde_json::from_slice(&secrets)?,
        })
    }

    /// Sends requests from this address of the loopback interface.
    pub(crate) fn calling_from(self, from: Ipv4Addr) -> Self {
        Self {
            https: self.https.calling_from(from),
            ..self
        }
    }

    /// Sends `POST /oauth/token`, and returns the fields of the answer.
    async fn grant(&self, form: &str) -> anyhow::Result<Value> {
        let answer = self.form("/oauth/token", form).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Sends an encoded form, and returns the answer.
    pub(crate) async fn form(&self, path: &str, form: &str) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url);
        let kind = "application/x-www-form-urlencoded";
        self.https.post(&url, kind, "application/json", form.to_owned()).await
    }

    /// Returns a user's token, as the cf CLI gets it, as the value of a header.
    pub(crate) async fn user_token(&self, user: &str, password: &str) -> anyhow::Result<String> {
        let form = format!("grant_type=password&client_id=cf&client_secret=&username={user}&password={password}");
        bearer(&self.grant(&form).await?)
    }

    /// Returns a client's own token as the value of a header.
    pub(crate) async fn client_token(&self, id: &str, secret: &str) -> anyhow::Result<String> {
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        bearer(&self.grant(&form).await?)
    }

    /// Returns a client's own token for one scope, as the value of a header.
    pub(crate) async fn scoped_client_token(&self, id: &str, secret: &str, scope: &str) -> anyhow::Result<String> {
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={scope}");
        bearer(&self.grant(&form).await?)
    }

    /// Returns the administrator's token.
    pub(crate) async fn admin_token(&self) -> anyhow::Result<String> {
        let secret = self.secrets["admin"].as_str().context("the secret of `admin`")?;
        self.client_token("admin", secret).await
    }

    /// Sends a request with the administrator's token.
    pub(crate) async fn administrate(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.call_as(&self.admin_token().await?, method, path, body).await
    }

    /// Sends a request with a token, and fails if it is refused.
    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let https = self.https.clone().with_token(token);
        let url = format!("{}{path}", self.url);
        let answer = https.send(method, &url, "application/json", body.to_string()).await?;
        ensure!(
            answer.status.is_success(),
            "{path}: {}: {}",
            answer.status,
            answer.text()
        );
        Ok(answer)
    }

    /// Adds a client with these authorities, whose tokens are valid for `seconds`.
    pub(crate) async fn add_client(&self, id: &str, authorities: &[&str], seconds: u32) -> anyhow::Result<()> {
        let client = json!({
            "client_id": id,
            "client_secret": "secret",
            "authorized_grant_types": ["client_credentials"],
            "authorities": authorities,
            "scope": ["uaa.none"],
            "access_token_validity": seconds,
        });
        self.administrate(Method::POST, "/oauth/clients", &client)
            .await
            .map(drop)
    }
}

fn bearer(answer: &Value) -> anyhow::Result<String> {
    let token = answer["access_token"].as_str().context("an access token")?;
    ensure!(answer["token_type"] == "bearer", "{}", answer["token_type"]);
    Ok(format!("bearer {token}"))
}

/// Runs a `weir` command, and fails if the command does.
pub(crate) fn weir(stack: &Stack, arguments: &[&str]) -> anyhow::Result<String> {
    let output: Output = stack.command()?.args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "weir {}: {text}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// Adds a user to these groups.
pub(crate) fn add_user(stack: &Stack, name: &str, groups: &[&str]) -> anyhow::Result<()> {
    let mut arguments = vec!["user", "add", name, "--password", "password"];
    arguments.extend(groups.iter().flat_map(|group| ["--group", group]));
    weir(stack, &arguments).map(drop)
}
