//! The secret that the public faces show to UAA when they read what was revoked: that of the client `doppler`.
//!
//! UAA keeps the secrets of its first clients in one file and completes it at each start; a face gets a file with the one
//! that it needs. Whichever of the two is there first, both say the same.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use rand::Rng as _;
use weir_error::ErrorKind;

use crate::failure::Failure;
use crate::state::{StateDir, write_atomically};

/// The client that log components are to UAA (contract §2.6).
pub(crate) const RESOURCE_CLIENT: &str = "doppler";

/// The file with the secret of [`RESOURCE_CLIENT`], as UAA's own file has it; made in both places if there is none.
pub(crate) fn resource_secret(state: &StateDir) -> Result<PathBuf, Failure> {
    let (all, one) = (
        state.client_secrets(),
        state.uaa().join(format!("{RESOURCE_CLIENT}-secret")),
    );
    let mut secrets = match fs::read(&all) {
        Ok(text) => serde_json::from_slice::<BTreeMap<String, String>>(&text).map_err(|_| {
            // What is wrong with it could repeat a part of it.
            Failure::new(
                ErrorKind::InvalidInput,
                format!("`{}`: is no JSON object of client ids and secrets", all.display()),
            )
            .with_hint("restore it from a backup")
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(Failure::file(&all, &error)),
    };
    let write =
        |path: &PathBuf, text: &[u8]| write_atomically(path, text, true).map_err(|error| Failure::file(path, &error));
    let secret = match secrets.get(RESOURCE_CLIENT) {
        Some(secret) => secret.clone(),
        None => {
            let secret = fresh();
            secrets.insert(RESOURCE_CLIENT.to_owned(), secret.clone());
            let mut text = serde_json::to_vec_pretty(&secrets)
                .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
            text.push(b'\n');
            write(&all, &text)?;
            secret
        }
    };
    let line = format!("{secret}\n");
    if fs::read_to_string(&one).ok().as_ref() != Some(&line) {
        write(&one, line.as_bytes())?;
    }
    Ok(one)
}

/// 256 random bits.
fn fresh() -> String {
    let mut random = rand::rng();
    format!("{:032x}{:032x}", random.random::<u128>(), random.random::<u128>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Both files say the same, for the owner alone, whatever was there; other clients' secrets stay.
    #[test]
    fn both_files_agree() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        state.create().expect("created");
        let path = resource_secret(&state).expect("made");
        let first = fs::read_to_string(&path).expect("read");
        assert_eq!(first.trim().len(), 64);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(resource_secret(&state).expect("again"), path);
        assert_eq!(fs::read_to_string(&path).expect("read"), first);

        fs::write(state.client_secrets(), r#"{"admin":"a"}"#).expect("written");
        resource_secret(&state).expect("completed");
        let all = fs::read_to_string(state.client_secrets()).expect("read");
        let now = fs::read_to_string(&path).expect("read");
        assert!(all.contains(r#""admin": "a""#) && all.contains(now.trim()), "{all}");

        fs::write(state.client_secrets(), r#"{"doppler":"from UAA"}"#).expect("written");
        resource_secret(&state).expect("taken over");
        assert_eq!(fs::read_to_string(&path).expect("read"), "from UAA\n");

        fs::write(state.client_secrets(), "hidden").expect("damaged");
        let failure = resource_secret(&state).expect_err("damaged").to_string();
        assert!(!failure.contains("hidden"), "{failure}");
    }
}
