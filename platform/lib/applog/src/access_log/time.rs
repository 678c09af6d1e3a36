//! The time of a request in the access log.

use super::put_digits;

/// The text of one second, which many requests share.
#[derive(Debug, Default)]
pub(crate) struct SecondText {
    second: i64,
    /// `2006-01-02T15:04:05`; empty: none yet.
    text: Vec<u8>,
}

impl SecondText {
    /// Appends a time, in nanoseconds since the Unix epoch, as `2006-01-02T15:04:05.000000000Z`.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, nanos: i64) {
        let second = nanos.div_euclid(1_000_000_000);
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            put_second(&mut self.text, second);
        }
        out.extend_from_slice(&self.text);
        out.push(b'.');
        let fraction = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default();
        put_digits(out, fraction, 9);
        out.push(b'Z');
    }
}

fn put_second(out: &mut Vec<u8>, second: i64) {
    let (year, month, day) = civil(second.div_euclid(86_400));
    let of_day = second.rem_euclid(86_400);
    let fields = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3_600, 2, b':'),
        (of_day / 60 % 60, 2, b':'),
    ];
    for (value, digits, separator) in fields {
        put_digits(out, u32::try_from(value).unwrap_or_default(), digits);
        out.push(separator);
    }
    put_digits(out, u32::try_from(of_day % 60).unwrap_or_default(), 2);
}

/// Year, month and day of a day, counted since the Unix epoch.
const fn civil(days: i64) -> (i64, i64, i64) {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, so that a leap day is the last.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}
