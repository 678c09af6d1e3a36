//! The files that the CA creates, keeps and renews.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::describe;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The directory and the keys are private. Certificates carry the given and the local names, and are valid for 397
/// days.
#[test]
fn issues_private_identities() {
    let dir = TempDir::new().unwrap();
    let certs = dir.path().join("state/certs");
    let authority = Authority::open_or_create(&certs).unwrap();
    let files = authority.issue("log-cache", &["log_cache", "localhost"]).unwrap();
    assert_eq!(mode(&certs), 0o700);
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(mode(&certs.join("ca.key")), 0o600);
    let status = describe(&files).unwrap();
    assert_eq!(status.subject, "log-cache");
    assert_eq!(
        status.names,
        ["log-cache", "log_cache", "localhost", "127.0.0.1", "::1"]
    );
    let days = status.expires_in.unwrap().as_secs() / 86_400;
    assert!((396..=397).contains(&days), "{days} days");
    let ca = describe_certificate(&authority.ca_file()).unwrap();
    assert_eq!(ca.subject, "weir CA");
    assert!(ca.expires_in.unwrap() > DAY * (CA_DAYS - 1));
}

/// A directory that other users can read is made private.
#[test]
fn makes_directories_private() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    Authority::open_or_create(dir.path()).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
}

/// A second start keeps the CA and the certificates. A certificate is issued again for a new name, too little remaining
/// time, a missing key or another CA.
#[test]
fn keeps_valid_certificates() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    let files = authority.issue("doppler", &[]).unwrap();
    let first = fs::read(&files.cert).unwrap();
    let changed = |authority: &Authority, names: &[&str], now: SystemTime| {
        let before = fs::read(&files.cert).unwrap();
        authority.issue_at("doppler", names, now).unwrap();
        describe(&files).unwrap();
        fs::read(&files.cert).unwrap() != before
    };
    let now = SystemTime::now();

    let authority = Authority::open_or_create(dir.path()).unwrap();
    assert!(!changed(&authority, &[], now));
    assert_eq!(fs::read(&files.cert).unwrap(), first);
    assert!(changed(&authority, &["doppler.internal"], now));
    assert!(!changed(&authority, &[], now));
    assert!(!changed(&authority, &[], now + DAY * (LEAF_DAYS - RENEW_DAYS - 1)));
    assert!(changed(&authority, &[], now + DAY * (LEAF_DAYS - RENEW_DAYS + 1)));
    fs::remove_file(&files.key).unwrap();
    assert!(changed(&authority, &[], now));

    fs::remove_file(dir.path().join("ca.crt")).unwrap();
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    assert!(matches!(describe(&files), Err(TlsError::ForeignAuthority { .. })));
    assert!(changed(&authority, &[], now));
}

/// A CA that expires soon is renewed with its key, so that the certificates it has signed stay valid. No certificate is
/// valid for longer than its CA.
#[test]
fn renews_the_ca_with_its_key() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    let files = authority.issue("doppler", &[]).unwrap();
    let (cert, key) = (authority.ca_file(), dir.path().join("ca.key"));
    let mut params = CertificateParams::default();
    params.distinguished_name = subject("weir CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let now = SystemTime::now();
    set_validity(&mut params, now, now + DAY * 29);
    fs::write(&cert, params.self_signed(&key_pair(&key).unwrap()).unwrap().pem()).unwrap();

    Authority::open_or_create(dir.path()).unwrap();
    assert!(describe_certificate(&cert).unwrap().expires_in.unwrap() > DAY * 3650);
    describe(&files).unwrap();

    let late = now + DAY * (CA_DAYS - 40);
    let files = authority.issue_at("router", &[], late).unwrap();
    let ca = describe_certificate(&cert).unwrap();
    let leaf = crate::material::certificates(&files.cert).unwrap();
    assert!(CertificateStatus::of(&files.cert, &leaf[0]).unwrap().not_after <= ca.not_after);
}

/// Names that would lead out of the directory or overwrite the CA are refused.
#[test]
fn refuses_unsafe_names() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    for name in ["", "ca", "../doppler", "a/b", ".lock", "späm"] {
        assert!(
            matches!(authority.issue(name, &[]), Err(TlsError::InvalidName { .. })),
            "{name}"
        );
    }
}

/// The error for a CA without its key, or with another key, names the file.
#[test]
fn names_the_damaged_file() {
    let dir = TempDir::new().unwrap();
    Authority::open_or_create(dir.path()).unwrap();
    let key = dir.path().join("ca.key");
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(&key, other.serialize_pem()).unwrap();
    assert!(matches!(
        Authority::open_or_create(dir.path()),
        Err(TlsError::KeyMismatch { .. })
    ));
    fs::remove_file(&key).unwrap();
    let error = Authority::open_or_create(dir.path()).unwrap_err();
    assert!(
        matches!(&error, TlsError::Unreadable { path, .. } if *path == key),
        "{error}"
    );
}
