//! The arguments that describe a drain: its URL, its certificates, and the source.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use weir_agents_binding_cache::statics::StaticDrain;
use weir_drain::{Binding, DrainUrl};
use weir_error::ErrorKind;

use crate::failure::Failure;

/// The most bytes of a URL.
const MAX_URL: u64 = 64 * 1024;
/// The most bytes of a certificate file.
const MAX_PEM: u64 = 1 << 20;
/// The most characters of the hostname of a message (RFC 5424 §6).
const MAX_HOSTNAME: usize = 255;

/// The certificates of a drain.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Certificates")]
pub(super) struct Certificates {
    /// PEM file of the certificate to show to the drain
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// PEM file of its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// PEM file of CAs that the drain's certificate may come from, beside the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Returns the URL of a drain. `-` reads it from standard input, so that its secrets are not in the list of processes.
pub(super) fn url(text: &str) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut url = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_URL)
        .read_to_string(&mut url)
        .map_err(|error| Failure::io("standard input", &error))?;
    Ok(url.trim().to_owned())
}

/// Returns the drain of `source_id` at `url`, and the binding that the syslog agent derives from it.
pub(super) fn drain(
    url: &str,
    source_id: &str,
    hostname: &str,
    certificates: &Certificates,
) -> Result<(StaticDrain, Binding), Failure> {
    printable("--source-id", source_id)?;
    if !hostname.is_empty() {
        printable("--hostname", hostname)?;
    }
    let pem = |path: &Option<PathBuf>| path.as_deref().map_or_else(|| Ok(String::new()), read);
    let drain = StaticDrain {
        source_id: source_id.to_owned(),
        hostname: hostname.to_owned(),
        url: url.to_owned(),
        cert: pem(&certificates.cert)?,
        key: pem(&certificates.key)?,
        ca: pem(&certificates.ca)?,
    };
    // The error of the URL parser is more precise than that of the binding.
    DrainUrl::parse(url).map_err(|error| invalid(&error.to_string()))?;
    let binding = drain.binding().map_err(|refusal| invalid(&refusal.text))?;
    Ok((drain, binding))
}

fn invalid(text: &str) -> Failure {
    // These texts are sentences with a full stop, because they also appear in an app's log.
    let text = text.trim_end_matches('.');
    Failure::new(ErrorKind::InvalidInput, format!("drain: {text}")).with_hint(
        "a drain is syslog://HOST:PORT, syslog-tls://HOST:PORT, https://HOST/PATH or https-batch://HOST/PATH; in a shell put \
         it in single quotes",
    )
}

/// Checks a value for the header of a message.
fn printable(flag: &str, value: &str) -> Result<(), Failure> {
    if !value.is_empty() && value.len() <= MAX_HOSTNAME && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Failure::new(
        ErrorKind::InvalidInput,
        format!("`{flag}`: must be 1 to {MAX_HOSTNAME} printable ASCII characters without blanks"),
    )
    .with_hint("it is written into the head of every message, which has no room for others (RFC 5424)"))
}

fn read(path: &Path) -> Result<String, Failure> {
    let file = fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
    let mut text = String::new();
    file.take(MAX_PEM)
        .read_to_string(&mut text)
        .map_err(|error| Failure::file(path, &error))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Certificates = Certificates {
        cert: None,
        key: None,
        ca: None,
    };

    /// Wrong drains are refused with a reason, and without the secrets of the URL.
    #[test]
    fn a_drain_is_checked() {
        let (drain, binding) = drain("https://u:hunter2@h/x?hunter2", "web", "o.s.web", &NONE).expect("valid");
        assert_eq!(
            (drain.url.as_str(), binding.url.safe()),
            ("https://u:hunter2@h/x?hunter2", "https://h/x")
        );
        for (url, source, hostname, expected) in [
            ("ftp://u:hunter2@h/", "web", "", "Invalid Scheme ftp"),
            ("syslog://h", "web", "", "No port found"),
            ("hunter2", "web", "", "Cannot parse syslog drain URL"),
            ("syslog://h:1", "", "", "`--source-id`"),
            ("syslog://h:1", "my app", "", "`--source-id`"),
            ("syslog://h:1", "web", "größe", "`--hostname`"),
        ] {
            let failure = super::drain(url, source, hostname, &NONE).expect_err(url);
            let text = failure.to_string();
            assert!(
                text.contains(expected) && text.contains("hint: ") && !text.contains("hunter2"),
                "{text}"
            );
            assert_eq!(failure.kind(), ErrorKind::InvalidInput);
        }
    }

    /// A file that is not a certificate is reported.
    #[test]
    fn certificates_are_checked() {
        let base = tempfile::tempdir().expect("temporary directory");
        let ca = base.path().join("ca.pem");
        fs::write(&ca, "hunter2").expect("written");
        let certificates = |ca: &Path| Certificates {
            cert: None,
            key: None,
            ca: Some(ca.to_owned()),
        };
        let failure = drain("syslog-tls://h:1", "web", "", &certificates(&ca))
            .expect_err("no PEM")
            .to_string();
        assert!(
            failure.contains("failed to load root CA") && !failure.contains("hunter2"),
            "{failure}"
        );
        let failure =
            drain("syslog-tls://h:1", "web", "", &certificates(&base.path().join("none"))).expect_err("absent");
        assert_eq!(failure.kind(), ErrorKind::NotFound);
    }
}
