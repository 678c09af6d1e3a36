//! The hash of deterministic sharding: CRC-64/ECMA of the metric's name, as Go's `hash/crc64` computes it.

use weir_envelope::batch::RawEnvelope;
use weir_envelope::view::Message;

/// Go's `crc64.ECMA` table uses the reflected polynomial and inverts the value at both ends, which is known as
/// CRC-64/XZ.
const CRC: crc::Crc<u64> = crc::Crc::<u64>::new(&crc::CRC_64_XZ);

/// Returns the number that decides which member of a deterministic group gets `envelope`. Returns `None` for kinds that
/// are distributed at random even in such a group.
pub(crate) fn deterministic(envelope: RawEnvelope<'_>) -> Option<u64> {
    match envelope.view().message() {
        Message::Counter { name, .. } => Some(CRC.checksum(name.as_bytes())),
        Message::Gauge(metrics) => Some(metrics.fold(0u64, |sum, metric| {
            sum.wrapping_add(CRC.checksum(metric.name.as_bytes()))
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::CRC;

    /// The check value of CRC-64/XZ, which Go's documentation calls ECMA.
    #[test]
    fn the_polynomial_is_gos() {
        assert_eq!(CRC.checksum(b"123456789"), 0x995d_c9bb_df19_39fa);
    }
}
