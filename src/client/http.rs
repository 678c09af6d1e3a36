//! HTTPS requests to servers of the stack, whose answers are streamed.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use weir_error::ErrorKind;
use weir_net::{AnswerBody, HttpsClient};
use weir_tls::ClientTls;

use crate::failure::Failure;

/// The most bytes that are read of the body of an error.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// The server name in the certificates of a stack for callers on the same machine.
const LOCAL: &str = "localhost";

/// Sends `request`, whose URI names the server, and waits for the head of the answer. The connection serves this one call
/// and closes when the answer was read or is dropped, which also cancels a query at the server.
pub(crate) async fn send(tls: &ClientTls, request: Request<Bytes>) -> Result<Response<AnswerBody>, Failure> {
    let server = request.uri().authority().map_or_else(String::new, ToString::to_string);
    let answer = HttpsClient::of(LOCAL, tls)?.open(request).await;
    answer.map_err(|error| Failure::new(ErrorKind::Unavailable, format!("`{server}`: {}", error.reason())))
}

/// Reads a whole body of at most `most` bytes.
pub(crate) async fn text(response: Response<AnswerBody>, most: usize) -> Result<String, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    let body = Limited::new(response.into_body(), most).collect().await;
    match body {
        Ok(body) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Err(error) => Err(Failure::new(
            ErrorKind::Unavailable,
            format!("the answer broke off: {error}"),
        )),
    }
}

/// Reads the body of an error answer as text.
pub(crate) async fn error_text(response: Response<AnswerBody>) -> String {
    let text = text(response, MAX_ERROR_BODY).await;
    text.map_or_else(|failure| failure.message().to_owned(), |text| text.trim().to_owned())
}
