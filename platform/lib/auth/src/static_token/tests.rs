//! Creating, reading and checking the token of a file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::thread;

use futures::FutureExt as _;
use tempfile::TempDir;

use super::*;

/// The verdict of an authorizer that does not wait.
fn at_once(verdict: Verdict<'_>) -> Result<Caller, Denied> {
    verdict.now_or_never().expect("no waiting")
}

fn file(content: &str, mode: u32) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

/// A missing file is created with a token of 256 bits, private and without other files beside it. A second start reads
/// the token of the first.
#[test]
fn a_missing_file_is_created_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    let token = StaticToken::from_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(URL_SAFE_NO_PAD.decode(token.reveal()).unwrap().len(), 32);
    assert_eq!(StaticToken::from_file(&path).unwrap().reveal(), token.reveal());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let other = StaticToken::from_file(&dir.path().join("other")).unwrap();
    assert_ne!(other.reveal(), token.reveal());
}

/// Several threads that start at once get one token.
#[test]
fn concurrent_starts_get_one_token() {
    let dir = TempDir::new().unwrap();
    let path = Arc::new(dir.path().join("token"));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = Arc::clone(&path);
            thread::spawn(move || StaticToken::from_file(&path).unwrap().reveal().to_owned())
        })
        .collect();
    let mut tokens: Vec<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// The token allows everything, in each form of the header. No token and other tokens are refused.
#[test]
fn only_the_token_is_accepted() {
    let token = StaticToken::new("0123456789abcdef").unwrap();
    let authorizer: Box<dyn Authorizer> = Box::new(token);
    for sent in ["bearer 0123456789abcdef", "Bearer 0123456789abcdef", "0123456789abcdef"] {
        assert!(at_once(authorizer.firehose(Some(sent))).unwrap().may_read("any"));
        assert!(at_once(authorizer.source(Some(sent), "app")).is_ok());
    }
    for sent in [None, Some(""), Some("bearer ")] {
        assert_eq!(at_once(authorizer.firehose(sent)), Err(Denied::Missing));
    }
    for sent in [
        "bearer 0123456789abcdeg",
        "0123456789abcde",
        "0123456789abcdef0",
        "basic 0123456789abcdef",
    ] {
        assert_eq!(at_once(authorizer.source(Some(sent), "app")), Err(Denied::Invalid));
    }
}

/// Files that every user can read, and files without a token, are refused. The hint says what to do.
#[test]
fn unsafe_files_are_refused() {
    let (_dir, path) = file("0123456789abcdef", 0o644);
    let error = StaticToken::from_file(&path).unwrap_err();
    assert!(
        error.to_string().ends_with("is open to everybody (mode 644)"),
        "{error}"
    );
    assert!(error.hint().unwrap().starts_with("run `chmod 600 "));
    for content in ["", "short", "two words of token", "späte-nacht-im-november"] {
        let (_dir, path) = file(content, 0o600);
        assert!(
            matches!(StaticToken::from_file(&path), Err(TokenError::Unusable { .. })),
            "{content}"
        );
    }
    let (_dir, path) = file(" 0123456789abcdef\n", 0o640);
    assert_eq!(StaticToken::from_file(&path).unwrap().reveal(), "0123456789abcdef");
    let missing = TempDir::new().unwrap().path().join("no/dir/token");
    assert!(matches!(StaticToken::from_file(&missing), Err(TokenError::File { .. })));
}

/// The debug output does not contain the token.
#[test]
fn debug_output_is_redacted() {
    let token = StaticToken::new("0123456789abcdef").unwrap();
    assert_eq!(format!("{token:?}"), "StaticToken([redacted])");
}
