//! The database of a job file as a URL.

use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use weir_files::Readers;

use super::JobError;
use super::document::SqlDb;

/// What is escaped in a part of a URL.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The URL, with how the server's certificate is checked: as the original does it.
pub(super) fn url(
    db: &SqlDb,
    skips_validation: bool,
    passed_over: &mut Vec<(String, &'static str)>,
) -> Result<String, JobError> {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let (scheme, mode, names) = match db.r#type.as_str() {
        "postgres" => (
            "postgres",
            "sslmode",
            ["disable", "require", "verify-ca", "verify-full"],
        ),
        "mysql" => (
            "mysql",
            "ssl-mode",
            ["DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"],
        ),
        other => return Err(JobError::Value(format!("unknown type {other}"))),
    };
    let [disabled, required, authority, identity] = names;
    let mode_of = |value: &str| format!("{mode}={value}");
    let parameters = if db.ca_cert.is_empty() {
        mode_of(disabled)
    } else if skips_validation {
        passed_over.push((
            "sqldb.ca_cert".to_owned(),
            "`skip_ssl_validation` is set: the certificate of the database is not checked",
        ));
        mode_of(required)
    } else {
        let checked = if db.skip_hostname_validation {
            authority
        } else {
            identity
        };
        let root = if scheme == "postgres" { "sslrootcert" } else { "ssl-ca" };
        let file = written(&db.ca_cert)?;
        format!("{}&{root}={}", mode_of(checked), escaped(&file.display().to_string()))
    };
    let mut user = escaped(&db.username);
    if !db.password.is_empty() {
        user = format!("{user}:{}", escaped(&db.password));
    }
    let host = if db.host.contains(':') {
        format!("[{}]", db.host)
    } else {
        db.host.clone()
    };
    Ok(format!(
        "{scheme}://{user}@{host}:{}/{}?{parameters}",
        db.port,
        escaped(&db.schema)
    ))
}

/// Puts a certificate into a file of its own: the driver takes it from there only.
fn written(certificate: &str) -> Result<PathBuf, JobError> {
    let name = format!("weir-routing-api-{}.crt", crate::store::new_guid());
    let path = std::env::temp_dir().join(name);
    weir_files::create(&path, certificate.as_bytes(), Readers::Owner).map_err(JobError::Authority)?;
    Ok(path)
}
