//! Reads the answer of an HTTP drain, and decides what it means for the POST.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Buf as _;
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use weir_service::clock;

use super::post::{Result as PostResult, Template};
use crate::{Failure, Stage};

/// How many bytes of an answer's body are kept for the excerpt in a failure's text.
const KEPT: usize = 4096;

/// The longest body that is read to its end, in bytes. The connection of a longer one is closed.
const LONGEST: usize = 64 * 1024;

/// The longest delay for which a drain can ask.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// An answer, with the begin of its body.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    begin: Vec<u8>,
    is_cut: bool,
    /// Whether the body was read to its end, so that the connection can carry another POST.
    pub(super) is_complete: bool,
}

impl Answer {
    pub(super) async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, mut body) = response.into_parts();
        let mut begin = Vec::new();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let Ok(mut data) = frame?.into_data() else {
                continue;
            };
            length += data.remaining();
            if length > LONGEST {
                break;
            }
            let kept = data.remaining().min(KEPT - begin.len());
            begin.extend_from_slice(&data.copy_to_bytes(kept));
        }
        Ok(Self {
            status: head.status,
            headers: head.headers,
            is_cut: length > begin.len(),
            begin,
            is_complete: length <= LONGEST,
        })
    }
}

/// Returns the result of a POST with this answer.
pub(super) fn judge(answer: &Answer, template: &Template) -> PostResult {
    let status = answer.status;
    if status.is_success() {
        return PostResult::Accepted;
    }
    let mut text = format!("the drain answered `{status}`");
    if status.is_redirection() {
        text.push_str(&redirected(&answer.headers));
    }
    let excerpt = template.redactor.excerpt(&answer.begin, !answer.is_cut);
    if !excerpt.is_empty() {
        text.push_str(": ");
        text.push_str(&excerpt);
    }
    let mut failure = Failure::new(Stage::Http, text);
    failure.status = Some(status.as_u16());
    failure.retry_after = retry_after(&answer.headers);
    match status.as_u16() {
        // These are transient by definition, or faults of the server. A shipment is sent again after them.
        408 | 425 | 429 | 500..=599 => PostResult::Failed(failure.hint(match status.as_u16() {
            429 => "the drain takes no more than this: raise its limit, or send it less",
            503 => "the drain is overloaded or being restarted",
            _ => "the drain has a fault of its own: look at its log",
        })),
        300..=399 => PostResult::Refused(
            failure
                .permanent()
                .hint("drains do not follow redirects: bind the new URL"),
        ),
        // Here and below `drain_wide` stays set, because every other shipment would get the same answer.
        401 | 407 => PostResult::Refused(
            failure
                .permanent()
                .hint("correct user and password, or the token, in the URL"),
        ),
        403 => PostResult::Refused(
            failure
                .permanent()
                .hint("the drain must allow these credentials to write"),
        ),
        404 | 410 => PostResult::Refused(failure.permanent().hint("check the path of the drain's URL")),
        _ => {
            // Any other 4xx is about the contents of this POST.
            failure.drain_wide = false;
            PostResult::Refused(
                failure
                    .permanent()
                    .hint("the drain does not accept what was sent: look at its log"),
            )
        }
    }
}

/// Describes the target of a redirect, without path and query, which may contain tokens.
fn redirected(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    match location.and_then(|location| url::Url::parse(location).ok()) {
        Some(url) => match url.host_str() {
            Some(host) => format!(" and redirects to `{}://{host}`", url.scheme()),
            None => String::new(),
        },
        None => " and redirects to another path".to_owned(),
    }
}

/// Reads `Retry-After`, which is a number of seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
            let now = Duration::from_nanos(u64::try_from(clock::now_nanos()).ok()?);
            then.saturating_sub(now)
        }
    };
    Some(delay.min(LONGEST_DELAY))
}
