//! The three questions every public error answers.

use crate::ErrorKind;

/// What a caller may ask any public error of this workspace.
pub trait Classify: std::error::Error {
    /// Which of the closed set of failures this is.
    fn kind(&self) -> ErrorKind;

    /// Whether the same call may succeed later without anybody changing anything. Separate from [`Classify::kind`]:
    /// an unavailable peer may be gone for good.
    fn retryable(&self) -> bool {
        false
    }

    /// What the reader can do, as one lower-case sentence without a full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl<T: Classify + ?Sized> Classify for Box<T>
where
    Box<T>: std::error::Error,
{
    fn kind(&self) -> ErrorKind {
        (**self).kind()
    }

    fn retryable(&self) -> bool {
        (**self).retryable()
    }

    fn hint(&self) -> Option<String> {
        (**self).hint()
    }
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("drain `a` is not reachable")]
    struct Unreachable;

    impl Classify for Unreachable {
        fn kind(&self) -> ErrorKind {
            ErrorKind::Unavailable
        }

        fn hint(&self) -> Option<String> {
            Some("check the address".to_owned())
        }
    }

    /// A boxed error classifies as the error inside.
    #[test]
    fn boxes_classify() {
        let boxed: Box<Unreachable> = Box::new(Unreachable);
        assert_eq!(boxed.kind(), ErrorKind::Unavailable);
        assert!(boxed.hint().is_some());
        assert!(!boxed.retryable());
    }
}
