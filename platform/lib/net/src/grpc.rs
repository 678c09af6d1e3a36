//! The table between kinds of failure and gRPC codes, in both directions.

use tonic::Code;
use weir_error::ErrorKind;

/// The gRPC code for a kind of failure. All limits share `RESOURCE_EXHAUSTED`, as in grpc-go.
#[must_use]
pub const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidInput => Code::InvalidArgument,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::TooLarge | ErrorKind::RateLimited => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The kind of failure that a peer's gRPC code means, or `None` for `OK`, which is no failure.
#[must_use]
pub const fn kind(code: Code) -> Option<ErrorKind> {
    Some(match code {
        Code::Ok => return None,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidInput,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => ErrorKind::Conflict,
        Code::ResourceExhausted => ErrorKind::RateLimited,
        Code::Unavailable | Code::Cancelled => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Internal | Code::Unknown | Code::DataLoss => ErrorKind::Internal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, because a change of it changes what clients see.
    #[test]
    fn the_table_is_fixed() {
        let rows: Vec<String> = ErrorKind::ALL
            .iter()
            .map(|failure| format!("{failure} {:?}", code(*failure)))
            .collect();
        assert_eq!(
            rows,
            [
                "invalid_input InvalidArgument",
                "unauthenticated Unauthenticated",
                "forbidden PermissionDenied",
                "not_found NotFound",
                "conflict AlreadyExists",
                "too_large ResourceExhausted",
                "rate_limited ResourceExhausted",
                "unavailable Unavailable",
                "timeout DeadlineExceeded",
                "unimplemented Unimplemented",
                "internal Internal",
            ]
        );
    }

    /// A kind of failure is preserved over gRPC, except for the two that share a code.
    #[test]
    fn kinds_come_back_from_the_wire() {
        for failure in ErrorKind::ALL {
            let expected = if failure == ErrorKind::TooLarge {
                ErrorKind::RateLimited
            } else {
                failure
            };
            assert_eq!(kind(code(failure)), Some(expected));
        }
        assert_eq!(kind(Code::Ok), None);
    }

    /// Every code except `OK` is mapped to a kind of failure.
    #[test]
    fn every_code_is_mapped() {
        for number in 1..=16 {
            assert!(kind(Code::from(number)).is_some(), "code {number}");
        }
    }
}
