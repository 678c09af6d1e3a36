//! `X-Forwarded-Client-Cert`: the certificate that the client has shown, as the application gets it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::names::X_FORWARDED_CLIENT_CERT;
use crate::settings::ClientCertificate;

/// Applies `rule` for a client that has shown `certificate` (DER) or none.
pub(crate) fn apply(headers: &mut HeaderMap, certificate: Option<&[u8]>, rule: ClientCertificate) {
    match rule {
        ClientCertificate::AlwaysForward => {}
        ClientCertificate::Forward => {
            if certificate.is_none() {
                headers.remove(&X_FORWARDED_CLIENT_CERT);
            }
        }
        ClientCertificate::SanitizeSet => {
            headers.remove(&X_FORWARDED_CLIENT_CERT);
            if let Some(certificate) = certificate {
                headers.insert(
                    X_FORWARDED_CLIENT_CERT.clone(),
                    super::value(STANDARD.encode(certificate)),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each rule leaves of a header that the client itself sent.
    #[test]
    fn rules() {
        let left = |rule, certificate: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            headers.insert(X_FORWARDED_CLIENT_CERT.clone(), http::HeaderValue::from_static("sent"));
            apply(&mut headers, certificate, rule);
            headers
                .get(&X_FORWARDED_CLIENT_CERT)
                .map(|value| value.to_str().expect("text").to_owned())
        };
        let (sent, own) = (Some("sent".to_owned()), Some("AQID".to_owned()));
        let certificate: Option<&[u8]> = Some(&[1, 2, 3]);
        assert_eq!(left(ClientCertificate::AlwaysForward, None), sent);
        assert_eq!(left(ClientCertificate::Forward, None), None);
        assert_eq!(left(ClientCertificate::Forward, certificate), sent);
        assert_eq!(left(ClientCertificate::SanitizeSet, None), None);
        assert_eq!(left(ClientCertificate::SanitizeSet, certificate), own);
    }
}
