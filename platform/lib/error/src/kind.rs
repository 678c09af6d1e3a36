//! The closed set of failures and its mappings. One table per protocol: servers and the command line translate here and
//! nowhere else, but for gRPC, whose table is `weir_net::grpc`.

use std::fmt;

use http::StatusCode;

/// What went wrong, from the caller's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request, the configuration or a file does not make sense as it is.
    InvalidInput,
    /// There are no credentials, or they are not valid.
    Unauthenticated,
    /// The credentials are valid but do not allow this.
    Forbidden,
    /// What was asked for does not exist, or the caller may not know that it does.
    NotFound,
    /// The state of things does not allow this now: it exists already, or somebody else holds it.
    Conflict,
    /// A message or a result exceeds a limit.
    TooLarge,
    /// The caller asks too often, or too much at the same time.
    RateLimited,
    /// A peer or a resource cannot be reached or is shutting down.
    Unavailable,
    /// It did not happen in time.
    Timeout,
    /// This server does not do that.
    Unimplemented,
    /// A fault of ours. Logged with its cause, masked to clients.
    Internal,
}

impl ErrorKind {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 11] = [
        Self::InvalidInput,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimited,
        Self::Unavailable,
        Self::Timeout,
        Self::Unimplemented,
        Self::Internal,
    ];

    /// The HTTP status of a response that carries this failure.
    #[must_use]
    pub const fn http_status(self) -> StatusCode {
        match self {
            Self::InvalidInput => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The exit code of a command that ends with this failure. Distinct and below 64, so that scripts can tell them
    /// apart; 0 is success and 1 a fault of ours.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::InvalidInput => 2,
            Self::Unauthenticated => 3,
            Self::Forbidden => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::TooLarge => 7,
            Self::RateLimited => 8,
            Self::Unavailable => 9,
            Self::Timeout => 10,
            Self::Unimplemented => 11,
        }
    }

    /// What a peer's HTTP status means. `None` where the status is no failure (below 400).
    #[must_use]
    pub fn from_http(status: StatusCode) -> Option<Self> {
        Some(match status.as_u16() {
            0..=399 => return None,
            401 => Self::Unauthenticated,
            403 => Self::Forbidden,
            404 | 410 => Self::NotFound,
            409 | 412 => Self::Conflict,
            413 | 414 | 431 => Self::TooLarge,
            429 => Self::RateLimited,
            408 | 504 => Self::Timeout,
            405 | 501 => Self::Unimplemented,
            502 | 503 => Self::Unavailable,
            400..=499 => Self::InvalidInput,
            _ => Self::Internal,
        })
    }

    /// A stable name for logs and JSON errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The two tables in full: a change here changes what clients and scripts see.
    #[test]
    fn tables_are_fixed() {
        let rows: Vec<String> = ErrorKind::ALL
            .iter()
            .map(|kind| format!("{kind} {} {}", kind.http_status().as_u16(), kind.exit_code()))
            .collect();
        assert_eq!(
            rows,
            [
                "invalid_input 400 2",
                "unauthenticated 401 3",
                "forbidden 403 4",
                "not_found 404 5",
                "conflict 409 6",
                "too_large 413 7",
                "rate_limited 429 8",
                "unavailable 503 9",
                "timeout 504 10",
                "unimplemented 501 11",
                "internal 500 1",
            ]
        );
    }

    /// Exit codes and names tell the kinds apart, and no exit code looks like success.
    #[test]
    fn codes_are_distinct() {
        let codes: BTreeSet<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(!codes.contains(&0));
        let names: BTreeSet<&str> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    /// A kind survives the way over HTTP.
    #[test]
    fn kinds_come_back_from_the_wire() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_http(kind.http_status()), Some(kind));
        }
        assert_eq!(ErrorKind::from_http(StatusCode::OK), None);
        assert_eq!(
            ErrorKind::from_http(StatusCode::IM_A_TEAPOT),
            Some(ErrorKind::InvalidInput)
        );
    }
}
