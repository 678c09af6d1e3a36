//! The line of a request in the access log, as the original writes it.

use std::time::Duration;

use ring::digest;

use crate::record::RequestRecord;

mod quote;
#[cfg(test)]
mod tests;
mod time;

use quote::put_quoted;
pub(crate) use time::SecondText;

/// A line that is longer than this many bytes is written again with its parts cut.
const LONG_LINE: usize = 65_400;
/// The most bytes of a header that browsers write, where parts are cut.
const SMALL_PART: usize = 1_000;
/// The most bytes of the URI, or of all configured headers, where parts are cut.
const LARGE_PART: usize = 20_000;

/// What access log lines show.
#[derive(Debug, Clone, Default)]
pub struct AccessLogSettings {
    /// Whether `X-Forwarded-For` is left out.
    pub hide_forwarded_for: bool,
    /// Whether the address of the client is left out.
    pub hide_remote_address: bool,
    /// What becomes of the query of a `GET`.
    pub redact_query: Redact,
    /// Further fields, in their order.
    pub extra_fields: Vec<ExtraField>,
}

/// What becomes of the query of a `GET`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Redact {
    /// It is shown.
    #[default]
    None,
    /// It is left out.
    All,
    /// Its SHA-1 hash is shown.
    Hash,
}

/// A field that a line only has if it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraField {
    /// How long the successful attempt took.
    BackendTime,
    /// How long the connection to the backend took.
    DialTime,
    /// How long the resolution of the backend's name took.
    DnsTime,
    /// How many attempts failed.
    FailedAttempts,
    /// How long the failed attempts took.
    FailedAttemptsTime,
    /// The address from which the router called the backend.
    LocalAddress,
    /// How long the TLS handshake with the backend took.
    TlsTime,
}

impl ExtraField {
    /// The field of this name in the configuration of the original; `None` if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "backend_time" => Self::BackendTime,
            "dial_time" => Self::DialTime,
            "dns_time" => Self::DnsTime,
            "failed_attempts" => Self::FailedAttempts,
            "failed_attempts_time" => Self::FailedAttemptsTime,
            "local_address" => Self::LocalAddress,
            "tls_time" => Self::TlsTime,
            _ => return None,
        })
    }
}

/// Appends the line of a request to `out`, without a line break. `is_cut` says whether very long parts of a very long line
/// are cut, as they are in an app's stream and not in a file.
pub fn write_line(out: &mut Vec<u8>, record: &RequestRecord<'_>, settings: &AccessLogSettings, is_cut: bool) {
    put_line(out, record, settings, &mut SecondText::default(), is_cut);
}

/// [`write_line`], with the text of a second that other lines may have needed before.
pub(crate) fn put_line(
    out: &mut Vec<u8>,
    record: &RequestRecord<'_>,
    settings: &AccessLogSettings,
    second: &mut SecondText,
    is_cut: bool,
) {
    let start = out.len();
    let mut line = Line {
        out,
        record,
        settings,
        is_cut: false,
    };
    line.put(second);
    if is_cut && line.out.len() - start > LONG_LINE {
        line.out.truncate(start);
        line.is_cut = true;
        line.put(second);
    }
}

struct Line<'l> {
    out: &'l mut Vec<u8>,
    record: &'l RequestRecord<'l>,
    settings: &'l AccessLogSettings,
    is_cut: bool,
}

impl Line<'_> {
    fn put(&mut self, second: &mut SecondText) {
        let (record, settings) = (self.record, self.settings);
        self.out.extend_from_slice(record.host);
        self.raw(" - [");
        second.put(self.out, record.started);
        self.raw("] ");
        self.request_line();
        match record.status {
            0 => self.raw(" \"-\" "),
            status => {
                self.raw(" ");
                self.number(u64::from(status));
                self.raw(" ");
            }
        }
        self.number(record.received_bytes);
        self.raw(" ");
        self.number(record.sent_bytes);
        self.raw(" ");
        self.header("Referer", record.referer);
        self.raw(" ");
        self.header("User-Agent", record.user_agent);
        self.raw(" ");
        self.text(shown(record.remote_address.as_bytes(), settings.hide_remote_address));
        self.raw(" ");
        let backend = record.backend.as_ref();
        self.text(backend.map_or("", |backend| backend.address).as_bytes());
        self.raw(" x_forwarded_for:");
        if settings.hide_forwarded_for {
            self.text(b"");
        } else {
            self.header("X-Forwarded-For", record.forwarded_for);
        }
        self.raw(" x_forwarded_proto:");
        self.header("X-Forwarded-Proto", record.forwarded_proto);
        self.raw(" vcap_request_id:");
        self.text(record.request_id.as_bytes());
        self.raw(" response_time:");
        self.seconds(record.took);
        self.raw(" gorouter_time:");
        self.seconds(record.router_took);
        self.raw(" app_id:");
        self.text(backend.map_or("", |backend| backend.app_id).as_bytes());
        self.raw(" app_index:");
        self.text(backend.map_or("", |backend| backend.instance_index).as_bytes());
        self.raw(" instance_id:");
        self.text(backend.map_or("", |backend| backend.instance_id).as_bytes());
        self.raw(" ");
        for field in &settings.extra_fields {
            self.extra_field(*field);
            self.raw(" ");
        }
        self.raw("x_cf_routererror:");
        self.text(record.router_error.as_bytes());
        self.extra_headers();
    }

    fn request_line(&mut self) {
        let record = self.record;
        self.raw("\"");
        put_quoted(self.out, record.method.as_bytes());
        self.raw(" ");
        self.uri();
        self.raw(" ");
        put_quoted(self.out, record.protocol.as_bytes());
        self.raw("\"");
    }

    fn uri(&mut self) {
        let uri = self.record.uri;
        let redacted = match uri.split_once('?') {
            Some((path, query)) if self.record.method == "GET" && !query.is_empty() => match self.settings.redact_query
            {
                Redact::None => None,
                Redact::All => Some(path.to_owned()),
                Redact::Hash => Some(format!("{path}?hash={}", sha1(query))),
            },
            _ => None,
        };
        let uri = redacted.as_deref().unwrap_or(uri).as_bytes();
        if self.is_cut {
            put_quoted(self.out, &cut(uri, "request-uri", LARGE_PART));
        } else {
            put_quoted(self.out, uri);
        }
    }

    fn header(&mut self, name: &str, value: &[u8]) {
        if self.is_cut {
            self.text(&cut(value, name, SMALL_PART));
        } else {
            self.text(value);
        }
    }

    fn extra_field(&mut self, field: ExtraField) {
        let (record, phases) = (self.record, &self.record.phases);
        match field {
            ExtraField::BackendTime => {
                self.raw("backend_time:");
                self.seconds(phases.backend.filter(|_| record.is_answered_by_backend));
            }
            ExtraField::DialTime => {
                self.raw("dial_time:");
                self.seconds(phases.dial);
            }
            ExtraField::DnsTime => {
                self.raw("dns_time:");
                self.seconds(phases.dns);
            }
            ExtraField::FailedAttempts => {
                self.raw("failed_attempts:");
                self.number(u64::from(record.failed_attempts));
            }
            ExtraField::FailedAttemptsTime => {
                self.raw("failed_attempts_time:");
                self.seconds(phases.failed_attempts);
            }
            ExtraField::LocalAddress => {
                self.raw("local_address:");
                self.text(record.local_address.as_bytes());
            }
            ExtraField::TlsTime => {
                self.raw("tls_time:");
                self.seconds(phases.tls);
            }
        }
    }

    fn extra_headers(&mut self) {
        let start = self.out.len();
        for (name, value) in self.record.extra_headers {
            // Name and value, a colon, two quotes and a space, as the original counts; a dash and its quotes for no value.
            let length = name.len() + value.len() + 4 + if value.is_empty() { 3 } else { 0 };
            self.raw(" ");
            if self.is_cut && self.out.len() - start - 1 + length >= LARGE_PART {
                self.raw("...EXTRA-REQUEST-HEADERS-TOO-LONG-TO-LOG--TRUNCATED");
                break;
            }
            let lower = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
            self.out.extend(name.bytes().map(lower));
            self.raw(":");
            self.text(value);
        }
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Text in quotes; a dash in quotes for empty text.
    fn text(&mut self, text: &[u8]) {
        self.raw("\"");
        if text.is_empty() {
            self.raw("-");
        } else {
            put_quoted(self.out, text);
        }
        self.raw("\"");
    }

    fn number(&mut self, number: u64) {
        put_number(self.out, number);
    }

    /// Seconds with six decimals; a dash in quotes for `None`.
    fn seconds(&mut self, duration: Option<Duration>) {
        let Some(duration) = duration else {
            self.raw("\"-\"");
            return;
        };
        let microseconds = (duration.as_nanos() + 500) / 1_000;
        let seconds = u64::try_from(microseconds / 1_000_000).unwrap_or(u64::MAX);
        let fraction = u32::try_from(microseconds % 1_000_000).unwrap_or_default();
        self.number(seconds);
        self.raw(".");
        put_digits(self.out, fraction, 6);
    }
}

/// Appends a number in decimal digits.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = digit(number % 10);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the last `count` decimal digits of a number, with zeros in front of it; at most ten.
fn put_digits(out: &mut Vec<u8>, mut number: u32, count: usize) {
    let mut digits = [b'0'; 10];
    for place in digits[..count].iter_mut().rev() {
        *place = digit(u64::from(number % 10));
        number /= 10;
    }
    out.extend_from_slice(&digits[..count]);
}

#[expect(clippy::cast_possible_truncation, reason = "it is one digit")]
const fn digit(value: u64) -> u8 {
    b'0' + value as u8
}

fn shown(text: &[u8], is_hidden: bool) -> &[u8] {
    if is_hidden { b"" } else { text }
}

/// Cuts `text` to `limit` bytes: halves it, and says so at its end, until it is short enough.
fn cut(text: &[u8], name: &str, limit: usize) -> Vec<u8> {
    let mut text = text.to_vec();
    while text.len() > limit {
        text.truncate(text.len() / 2);
        text.extend_from_slice(b"...");
        text.extend_from_slice(name.to_ascii_uppercase().as_bytes());
        text.extend_from_slice(b"-TOO-LONG-TO-LOG--TRUNCATED");
    }
    text
}

fn sha1(text: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
