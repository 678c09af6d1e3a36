//! Generates RSA keys. `ring` signs but does not generate keys, so only this module uses the crate `rsa`. `ring` checks the
//! numbers of a key when it reads it.

use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{CryptoRng, Error, RngCore};
use weir_platform_uaa_store::secrets;

/// The bits of the modulus: the minimum of RS256 (RFC 7518 §3.3), which every client accepts.
const BITS: usize = 2048;

/// The random numbers of the operating system, as the traits that `rsa` requires.
struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        secrets::fill(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        secrets::fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        secrets::fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        secrets::fill(bytes);
        Ok(())
    }
}

impl CryptoRng for Random {}

/// Returns a new key in PKCS #8 form. It takes most of a second of a core.
pub(super) fn generate() -> Option<Vec<u8>> {
    let key = RsaPrivateKey::new(&mut Random, BITS).ok()?;
    Some(key.to_pkcs8_der().ok()?.as_bytes().to_vec())
}
