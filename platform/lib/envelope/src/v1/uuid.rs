//! UUIDs of v1 envelopes: two 64-bit numbers, each of which holds eight bytes in little-endian order.

/// A UUID as `events.UUID` holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Uuid {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl Uuid {
    /// Reads the textual form of 36 characters. Any character may stand between the groups, as in the original.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 16];
        let mut at = 0;
        for (index, byte) in bytes.iter_mut().enumerate() {
            // A separator stands before bytes 4, 6, 8 and 10.
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            *byte = hex(text[at])? << 4 | hex(text[at + 1])?;
            at += 2;
        }
        let [low, high] = [0, 8].map(|start| {
            let mut half = [0; 8];
            half.copy_from_slice(&bytes[start..start + 8]);
            u64::from_le_bytes(half)
        });
        Some(Self { low, high })
    }

    pub(super) const fn is_zero(self) -> bool {
        self.low == 0 && self.high == 0
    }

    /// Returns the textual form, in lower case.
    pub(super) fn text(self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self
            .low
            .to_le_bytes()
            .into_iter()
            .chain(self.high.to_le_bytes())
            .enumerate()
        {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 0xf)];
            at += 2;
        }
        text
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two numbers are those that the original gives for this text.
    #[test]
    fn text_and_halves_are_the_same_uuid() {
        let text = "b3015d69-09cd-476d-aace-ad2d824d5ab7";
        let uuid = Uuid::parse(text).unwrap();
        assert_eq!(
            uuid,
            Uuid {
                low: 0x6d47_cd09_695d_01b3,
                high: 0xb75a_4d82_2dad_ceaa
            }
        );
        assert_eq!(uuid.text(), text.as_bytes());
        assert_eq!(Uuid::parse(&text.to_uppercase()), Some(uuid));
        assert_eq!(Uuid::parse(&text[1..]), None);
        assert_eq!(Uuid::parse("b3015d69-09cd-476d-aace-ad2d824d5abx"), None);
        assert_eq!(Uuid::parse(&"ä".repeat(18)), None);
    }
}
