//! The aggregate drains of the configuration, with the certificates in their files.

use std::fs;
use std::io;
use std::path::Path;

use weir_drain::feed::{Credential, Item};
use weir_drain::{Binding, Invalid};

use super::parsed::Parsed;
use crate::config::Aggregate;

/// Reads the files of the configured drains. A drain whose files cannot be read is among the invalid ones.
pub(super) fn read(configured: &[Aggregate]) -> Parsed {
    let mut parsed = Parsed::default();
    for aggregate in configured {
        match credential(aggregate) {
            Ok(credential) => {
                let item = Item {
                    url: aggregate.url.expose().to_owned(),
                    credentials: vec![credential],
                };
                Binding::aggregate(&item).for_each(|binding| parsed.push(binding));
            }
            Err((path, error)) => parsed.push(Err(Invalid {
                app: None,
                url_safe: aggregate.url.safe().to_owned(),
                text: format!("cannot read `{}`: {error}", path.display()),
            })),
        }
    }
    parsed
}

fn credential(aggregate: &Aggregate) -> Result<Credential, (&Path, io::Error)> {
    let read = |path: &'_ Path| fs::read_to_string(path);
    let mut credential = Credential::default();
    if let Some((cert, key)) = &aggregate.pair {
        credential.cert = read(cert).map_err(|error| (cert.as_path(), error))?;
        credential.key = read(key).map_err(|error| (key.as_path(), error))?;
    }
    if let Some(ca) = &aggregate.ca {
        credential.ca = read(ca).map_err(|error| (ca.as_path(), error))?;
    }
    Ok(credential)
}
