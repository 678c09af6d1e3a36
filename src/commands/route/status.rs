//! What has become of the routes, as the route registrar says.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use serde::de::DeserializeOwned;
use weir_component::Component as _;
use weir_error::ErrorKind;
use weir_platform_route_registrar::Server;
use weir_platform_route_registrar::status::Status;
use weir_routing_api_client::models::RouterGroup;

use crate::client::{Stack, http as client};
use crate::commands::token;
use crate::failure::Failure;

/// Most bytes of an answer.
const MAX_BODY: usize = 64 << 20;

/// A component of this machine that has not answered by then does not answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The state of all routes.
pub(super) async fn status(stack: &Stack) -> Result<Status, Failure> {
    let address = stack.endpoints.address(Server::DESCRIPTION.port().key)?;
    get(stack, format!("{address}/v1/routes"), None).await
}

/// The router group of this name, which the routing API tells the operator.
pub(super) async fn router_group(stack: &Stack, name: &str) -> Result<Option<RouterGroup>, Failure> {
    let address = stack.endpoints.address("routing_api")?;
    let url = format!("{address}/routing/v1/router_groups");
    let groups: Vec<RouterGroup> = get(stack, url, Some(token::operator(&stack.state)?)).await?;
    Ok(groups.into_iter().find(|group| group.name == name))
}

/// What a component answers.
async fn get<T: DeserializeOwned>(stack: &Stack, url: String, token: Option<String>) -> Result<T, Failure> {
    let failed = |kind, text: String| Failure::new(kind, text).with_hint("is the stack well? `weir doctor` looks");
    let asking = async {
        let request = match token {
            Some(token) => Request::get(&url).header(header::AUTHORIZATION, format!("bearer {token}")),
            None => Request::get(&url),
        };
        let request = request
            .body(Bytes::new())
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("request: {error}")))?;
        let answer = client::send(&stack.tls, request).await?;
        let status = answer.status();
        let text = client::text(answer, MAX_BODY).await?;
        match status.is_success() {
            true => Ok(text),
            false => Err(failed(ErrorKind::Unavailable, format!("`{url}`: {status}"))),
        }
    };
    let late = || failed(ErrorKind::Timeout, format!("`{url}`: no answer within 10 s"));
    let text = tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| Err(late()))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(ErrorKind::Internal, format!("`{url}`: answer cannot be read: {error}")))
}
