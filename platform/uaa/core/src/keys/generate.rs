//! A new RSA key. `ring` signs with keys but makes none, so this is the one place that uses another library; the numbers
//! are checked by `ring` when it reads them.

use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{CryptoRng, Error, RngCore};
use weir_platform_uaa_store::secrets;

/// Bits of the modulus: what RS256 asks for at least, and what every client takes.
const BITS: usize = 2048;

/// The system's generator in the form that `rsa` wants.
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

/// A new key as PKCS #8. Takes a good part of a second.
pub(super) fn generate() -> Option<Vec<u8>> {
    let key = RsaPrivateKey::new(&mut Random, BITS).ok()?;
    Some(key.to_pkcs8_der().ok()?.as_bytes().to_vec())
}
