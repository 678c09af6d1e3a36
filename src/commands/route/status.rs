//! What has become of the routes, as the route registrar says.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use weir_component::Component as _;
use weir_error::ErrorKind;
use weir_platform_route_registrar::Server;
use weir_platform_route_registrar::status::Status;

use crate::client::{Stack, http as client};
use crate::failure::Failure;

/// Most bytes of an answer.
const MAX_BODY: usize = 64 << 20;

/// A component of this machine that has not answered by then does not answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The state of all routes.
pub(super) async fn status(stack: &Stack) -> Result<Status, Failure> {
    let address = stack.endpoints.address(Server::DESCRIPTION.port().key)?;
    let url = format!("{address}/v1/routes");
    let failed = |kind, text: String| Failure::new(kind, text).with_hint("is the stack well? `weir doctor` looks");
    let asking = async {
        let request = Request::get(&url)
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
