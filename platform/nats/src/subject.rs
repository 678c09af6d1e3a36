//! Subjects: tokens with points between them, and wildcards in those of subscriptions.

/// Most tokens of a subject that is subscribed to.
pub(crate) const MOST_TOKENS: usize = 256;

/// The tokens of a subject.
pub(crate) fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|byte| *byte == b'.')
}

/// Whether a subscription may have this subject: no token is empty, and `>` is the last one.
pub(crate) fn is_valid(subject: &[u8]) -> bool {
    let mut ended = false;
    tokens(subject).all(|token| {
        let follows_the_end = ended;
        ended = token == b">";
        !token.is_empty() && !follows_the_end
    })
}

/// Whether a message may have this subject: no token is empty or a wildcard.
pub(crate) fn is_literal(subject: &[u8]) -> bool {
    tokens(subject).all(|token| !matches!(token, b"" | b"*" | b">"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The subjects that nats-server takes for subscriptions and, if a client is pedantic, for messages.
    #[test]
    fn subjects_are_checked() {
        for (subject, valid, literal) in [
            ("a", true, true),
            ("a.b.c", true, true),
            ("a.*", true, false),
            ("*", true, false),
            (">", true, false),
            ("a.>", true, false),
            ("a.b*", true, true),
            ("a.>b", true, true),
            ("a.>.b", false, false),
            ("", false, false),
            (".a", false, false),
            ("a.", false, false),
            ("a..b", false, false),
        ] {
            let subject = subject.as_bytes();
            assert_eq!(
                (is_valid(subject), is_literal(subject)),
                (valid, literal),
                "{subject:?}"
            );
        }
    }
}
