//! Reads octet-counted frames (RFC 6587, section 3.4.1) and the fields of a message (RFC 5424, section 6), without any
//! code of the product.

use anyhow::{Context as _, ensure};

/// The largest number of digits of a message length: 99,999,999 bytes.
const DIGITS: usize = 8;

/// Splits a stream of octet-counted frames.
#[derive(Debug, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    /// The number of bytes of `bytes` that were read.
    at: usize,
}

impl Deframer {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next complete message, if there is one.
    ///
    /// # Errors
    /// Fails when the bytes do not begin with a frame.
    pub fn message(&mut self) -> anyhow::Result<Option<&[u8]>> {
        let rest = &self.bytes[self.at..];
        let Some(space) = rest.iter().take(DIGITS + 1).position(|byte| *byte == b' ') else {
            ensure!(
                rest.len() <= DIGITS && rest.iter().all(u8::is_ascii_digit),
                "no frame begins with {:?}",
                String::from_utf8_lossy(&rest[..rest.len().min(60)])
            );
            return Ok(None);
        };
        let digits = &rest[..space];
        ensure!(
            !digits.is_empty() && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit),
            "no count of octets: {:?}",
            String::from_utf8_lossy(&rest[..rest.len().min(60)])
        );
        let length: usize = std::str::from_utf8(digits)?.parse()?;
        let (from, to) = (self.at + space + 1, self.at + space + 1 + length);
        if to > self.bytes.len() {
            return Ok(None);
        }
        self.at = to;
        Ok(Some(&self.bytes[from..to]))
    }
}

/// The fields of a message, unparsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields<'a> {
    /// PRI, without its angle brackets.
    pub pri: &'a str,
    /// TIMESTAMP.
    pub timestamp: &'a str,
    /// HOSTNAME, or `-` if there is none.
    pub hostname: &'a str,
    /// APP-NAME, or `-` if there is none.
    pub app_name: &'a str,
    /// PROCID, or `-` if there is none.
    pub procid: &'a str,
    /// MSGID, or `-` if there is none.
    pub msgid: &'a str,
    /// STRUCTURED-DATA with its escapes, or `-` if there is none.
    pub structured_data: &'a str,
    /// MSG: everything after the space that follows the structured data.
    pub message: &'a [u8],
}

/// Splits a message into its fields.
///
/// # Errors
/// Fails when the message is not RFC 5424.
pub fn fields(message: &[u8]) -> anyhow::Result<Fields<'_>> {
    let shown = || String::from_utf8_lossy(&message[..message.len().min(200)]).into_owned();
    let mut rest = message;
    let mut word = || -> anyhow::Result<&str> {
        let end = rest.iter().position(|byte| *byte == b' ').with_context(shown)?;
        let (word, behind) = rest.split_at(end);
        rest = &behind[1..];
        std::str::from_utf8(word).with_context(shown)
    };
    let (pri, version) = word()?
        .strip_prefix('<')
        .and_then(|word| word.split_once('>'))
        .with_context(shown)?;
    ensure!(version == "1", "version {version}: {}", shown());
    let (timestamp, hostname, app_name, procid, msgid) = (word()?, word()?, word()?, word()?, word()?);
    let end = end_of_structured_data(rest).with_context(shown)?;
    let structured_data = std::str::from_utf8(&rest[..end]).with_context(shown)?;
    Ok(Fields {
        pri,
        timestamp,
        hostname,
        app_name,
        procid,
        msgid,
        structured_data,
        message: rest.get(end + 1..).unwrap_or_default(),
    })
}

/// Returns the position where the structured data at the start of `text` ends.
fn end_of_structured_data(text: &[u8]) -> Option<usize> {
    if text.first() == Some(&b'-') {
        return Some(1);
    }
    let mut at = 0;
    while text.get(at) == Some(&b'[') {
        let (mut quoted, mut escaped) = (false, false);
        loop {
            at += 1;
            match *text.get(at)? {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b']' if !quoted => break,
                _ => {}
            }
        }
        at += 1;
    }
    (at > 0).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages come out complete, wherever the stream is cut.
    #[test]
    fn frames_are_cut() -> anyhow::Result<()> {
        let stream = b"5 a b\nc11 hello world1 x";
        for step in 1..stream.len() {
            let mut deframer = Deframer::default();
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                deframer.push(piece);
                while let Some(message) = deframer.message()? {
                    found.push(message.to_vec());
                }
            }
            assert_eq!(found, [&b"a b\nc"[..], b"hello world", b"x"].map(<[u8]>::to_vec));
        }
        let mut deframer = Deframer::default();
        deframer.push(b"x5 hello");
        assert!(deframer.message().is_err());
        Ok(())
    }

    #[test]
    fn fields_are_split() -> anyhow::Result<()> {
        let message = br#"<14>1 1970-01-01T00:00:00+00:00 o.s.a app [APP/0] - [a@1 b="\"]\\"][c d="e"] text  x
"#;
        let fields = fields(message)?;
        assert_eq!(fields.structured_data, r#"[a@1 b="\"]\\"][c d="e"]"#);
        assert_eq!(fields.message, b"text  x\n");
        assert_eq!((fields.pri, fields.app_name, fields.procid), ("14", "app", "[APP/0]"));
        assert!(super::fields(b"<14>1 - - - - - [a b=\"c\" x").is_err());
        Ok(())
    }
}
