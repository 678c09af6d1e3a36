//! A token that allows everything, in a private file.

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

/// The length of a new token in bytes, before encoding: 256 bits cannot be guessed.
const TOKEN_BYTES: usize = 32;
/// The shortest token that is accepted, in characters: a shorter one was not made by a generator.
const SHORTEST: usize = 16;
/// The largest file that is read, in bytes: far larger than any token.
const LONGEST_FILE: u64 = 64 * 1024;

/// An authorizer with one token, whose bearer may read everything.
#[derive(Clone)]
pub struct StaticToken {
    token: String,
}

/// Why a token file cannot be used.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read or created.
    #[error("token file `{}` cannot be {action}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The action that failed: `read` or `created`.
        action: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Every user of this machine can read or write the file.
    #[error("token file `{}` is open to everybody (mode {mode:03o})", path.display())]
    Open {
        /// The path of the file.
        path: PathBuf,
        /// The permission bits of the file.
        mode: u32,
    },
    /// The content of the file is no token.
    #[error("token file `{}` holds no usable token", path.display())]
    Unusable {
        /// The path of the file.
        path: PathBuf,
    },
    /// The operating system gives no random bytes.
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
                "write one line of at least {SHORTEST} visible ASCII characters, or remove `{}` so that a new token is made",
                path.display()
            )),
            Self::File { .. } => Some("check the directory's owner and mode".to_owned()),
            Self::Random => None,
        }
    }
}

impl StaticToken {
    /// Reads the token in the file `path`. If there is no such file, it is created with mode 0600 and a new token: 256
    /// random bits in base64url, and a line feed. If several processes do so at once, all of them get one token.
    ///
    /// # Errors
    /// When the file cannot be read or created, is accessible to every user, or contains no token.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        match Self::read(path) {
            Err(TokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // Read back, because another process may have created the file first.
                create(path)?;
                Self::read(path)
            }
            read => read,
        }
    }

    /// An authorizer with a given token.
    ///
    /// # Errors
    /// [`Denied::Invalid`] if the token is too short, or has other characters than visible ASCII.
    pub fn new(token: &str) -> Result<Self, Denied> {
        if token.len() >= SHORTEST && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self {
                token: token.to_owned(),
            })
        } else {
            Err(Denied::Invalid)
        }
    }

    /// The token itself, for code that prints it on purpose or sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// Checks a token in a time that does not depend on where it differs.
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

    /// Reads the token in the file `path`.
    fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File {
            path: path.to_owned(),
            action: "read",
            source,
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        // The group may have access: operators give a file to several accounts in this way.
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

/// Creates the file with a new token, unless another process has done so. The file appears under its name with its
/// whole content, or not at all.
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
