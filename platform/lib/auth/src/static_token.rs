//! One token for everything, in a private file.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_files::Readers;

use crate::{Authorizer, Caller, Denied, Scope, Verdict, bearer};

/// 256 bits: beyond guessing.
const TOKEN_BYTES: usize = 32;
/// Anything shorter was not made by a generator.
const SHORTEST: usize = 16;
/// Far above any token, far below anything that would hurt to read.
const LONGEST_FILE: u64 = 64 * 1024;

/// Whoever knows the token of one file may read everything.
#[derive(Clone)]
pub struct StaticToken {
    token: String,
}

/// The token file is not usable.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It cannot be read or made.
    #[error("token file `{}` cannot be {action}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `created`.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Every user of this machine can read or write it.
    #[error("token file `{}` is open to everybody (mode {mode:03o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in it is no token.
    #[error("token file `{}` holds no usable token", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("random bytes are not available")]
    Random,
}

impl Classify for TokenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } => ErrorKind::Unavailable,
            Self::Open { .. } | Self::Unusable { .. } => ErrorKind::InvalidInput,
            Self::Random => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(format!("run `chmod 600 {}`", path.display())),
            Self::Unusable { path } => Some(format!(
                "write one line of at least {SHORTEST} visible ASCII characters, or remove `{}` to have one made",
                path.display()
            )),
            Self::File { .. } => Some("check the directory's owner and mode".to_owned()),
            Self::Random => None,
        }
    }
}

impl StaticToken {
    /// The token in `path`. If there is no such file, one is made: mode 0600, 256 random bits in base64url and a line
    /// feed. Of several processes that do so at once, all get the same token.
    ///
    /// # Errors
    /// When the file cannot be read or made, is open to everybody, or holds no token.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        match Self::read(path) {
            Err(TokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                Self::read(path)
            }
            read => read,
        }
    }

    /// A token that is known already.
    ///
    /// # Errors
    /// [`Denied::Invalid`] if it is too short or holds anything but visible ASCII.
    pub fn new(token: &str) -> Result<Self, Denied> {
        if token.len() >= SHORTEST && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self {
                token: token.to_owned(),
            })
        } else {
            Err(Denied::Invalid)
        }
    }

    /// The token itself, for those who print it on purpose or send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// Compares in a time that does not depend on where they differ.
    ///
    /// # Errors
    /// [`Denied::Missing`] without a token, [`Denied::Invalid`] with another one.
    pub fn check(&self, token: Option<&str>) -> Result<Caller, Denied> {
        let token = token.and_then(bearer).ok_or(Denied::Missing)?;
        if bool::from(token.as_bytes().ct_eq(self.token.as_bytes())) {
            Ok(Caller::new("operator", Scope::Everything))
        } else {
            Err(Denied::Invalid)
        }
    }

    fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File {
            path: path.to_owned(),
            action: "read",
            source,
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.mode() & 0o007 != 0 {
            return Err(TokenError::Open {
                path: path.to_owned(),
                mode: metadata.mode() & 0o777,
            });
        }
        let unusable = || TokenError::Unusable { path: path.to_owned() };
        if metadata.len() > LONGEST_FILE {
            return Err(unusable());
        }
        let content = fs::read(path).map_err(failed)?;
        let text = std::str::from_utf8(&content).map_err(|_| unusable())?;
        Self::new(text.trim()).map_err(|_| unusable())
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StaticToken([redacted])")
    }
}

impl Authorizer for StaticToken {
    fn caller<'a>(&'a self, token: Option<&'a str>) -> Verdict<'a> {
        let verdict = self.check(token);
        Box::pin(async { verdict })
    }
}

/// Makes the file, unless somebody else does: it appears whole, under its name, or not at all.
fn create(path: &Path) -> Result<(), TokenError> {
    let mut secret = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| TokenError::Random)?;
    let line = format!("{}\n", URL_SAFE_NO_PAD.encode(secret));
    let made = weir_files::create(path, line.as_bytes(), Readers::Owner);
    made.map(drop).map_err(|source| TokenError::File {
        path: path.to_owned(),
        action: "created",
        source,
    })
}

#[cfg(test)]
mod tests;
