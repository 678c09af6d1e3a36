//! Writes and reads RFC 5424 time stamps, such as `2026-01-03T10:11:12.345678+00:00`.

use std::ops::Range;

/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;
/// Seconds of a day.
const DAY: i64 = 86_400;

/// Days from the first of March of the year 0 to 1970-01-01, in the proleptic Gregorian calendar.
const EPOCH: i64 = 719_468;

/// Days of 400 years, after which the Gregorian calendar repeats itself.
const ERA: i64 = 146_097;

/// The length of the longest time stamp that is written: date and time, fraction, and offset.
const LONGEST: usize = 19 + 7 + 6;

/// Writes time stamps. It keeps the text of the last second, which most time stamps share with the one before.
#[derive(Debug)]
pub(crate) struct TimestampWriter {
    second: i64,
    text: [u8; LONGEST],
}

impl TimestampWriter {
    pub(crate) fn new() -> Self {
        let mut stamp = Self {
            second: 0,
            text: [b'0'; LONGEST],
        };
        stamp.set_second(0);
        stamp
    }

    /// Returns the text of a time in nanoseconds since the Unix epoch: in UTC, cut to microseconds, and without
    /// trailing zeros in the fraction.
    #[inline]
    pub(crate) fn text(&mut self, nanos: i64) -> &[u8] {
        let (second, within) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
        if second != self.second {
            self.set_second(second);
        }
        let mut micros = within / 1000;
        let mut end = 19;
        if micros != 0 {
            let mut digits = 6;
            while micros % 10 == 0 {
                micros /= 10;
                digits -= 1;
            }
            self.text[19] = b'.';
            self.put(20..20 + digits, micros);
            end = 20 + digits;
        }
        self.text[end..end + 6].copy_from_slice(b"+00:00");
        &self.text[..end + 6]
    }

    fn set_second(&mut self, second: i64) {
        let (day, within) = (second.div_euclid(DAY), second.rem_euclid(DAY));
        let (year, month, day) = civil(day);
        self.text[..19].copy_from_slice(b"0000-00-00T00:00:00");
        self.put(0..4, year);
        self.put(5..7, month);
        self.put(8..10, day);
        self.put(11..13, within / 3600);
        self.put(14..16, within / 60 % 60);
        self.put(17..19, within % 60);
        self.second = second;
    }

    /// Writes `value` with leading zeros into the range `at` of the text.
    #[inline]
    fn put(&mut self, at: Range<usize>, mut value: i64) {
        for digit in self.text[at].iter_mut().rev() {
            *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
            value /= 10;
        }
    }
}

/// Returns year, month and day of a day that is counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + EPOCH;
    let (era, of_era) = (day.div_euclid(ERA), day.rem_euclid(ERA));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months are counted from March, so that the leap day is the last day of a year.
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// Returns the number of a date's day, counted from 1970-01-01; `None` if there is no such date.
fn day_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let (from_march, year_from_march) = if month > 2 {
        (month - 3, year)
    } else {
        (month + 9, year - 1)
    };
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let found = era * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - EPOCH;
    ((1..=12).contains(&month) && civil(found) == (year, month, day)).then_some(found)
}

/// Reads an RFC 5424 time stamp other than `-`; returns nanoseconds since the Unix epoch.
///
/// `None` if it is malformed, or outside the range of 64 bits. The fraction may have nine digits instead of the RFC's
/// six.
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    let (date_time, mut rest) = text.split_at_checked(19)?;
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
    ] = *date_time
    else {
        return None;
    };
    let day = day_of(number(&[y1, y2, y3, y4])?, number(&[mo1, mo2])?, number(&[d1, d2])?)?;
    let second = clock(h1, h2, mi1, mi2)? + below(number(&[s1, s2])?, 60)?;
    let mut nanos = 0;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let scale = 9 - u32::try_from(digits).ok().filter(|digits| (1..=9).contains(digits))?;
        nanos = number(&fraction[..digits])? * 10_i64.pow(scale);
        rest = &fraction[digits..];
    }
    let offset = match *rest {
        [b'Z'] => 0,
        [b'+', h1, h2, b':', m1, m2] => clock(h1, h2, m1, m2)?,
        [b'-', h1, h2, b':', m1, m2] => -clock(h1, h2, m1, m2)?,
        _ => return None,
    };
    // Computed in 128 bits, because the earliest second that 64 bits can hold begins outside their range.
    let nanos = i128::from(day * DAY + second - offset) * i128::from(NANOS) + i128::from(nanos);
    // The earliest time is cut to a microsecond when it is written, and so lies just outside the range. It reads back
    // as the earliest time.
    let before = i128::from(i64::MIN) - nanos;
    i64::try_from(if (0..1000).contains(&before) {
        nanos + before
    } else {
        nanos
    })
    .ok()
}

/// Reads hours and minutes, and returns them in seconds.
fn clock(h1: u8, h2: u8, m1: u8, m2: u8) -> Option<i64> {
    Some(below(number(&[h1, h2])?, 24)? * 3600 + below(number(&[m1, m2])?, 60)? * 60)
}

/// Returns `value` if it is less than `limit`.
fn below(value: i64, limit: i64) -> Option<i64> {
    (value < limit).then_some(value)
}

/// Reads decimal digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(nanos: i64) -> String {
        String::from_utf8(TimestampWriter::new().text(nanos).to_vec()).unwrap()
    }

    #[test]
    fn time_stamps_are_cut_to_microseconds() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (12_345_678, "1970-01-01T00:00:00.012345+00:00"),
            (999, "1970-01-01T00:00:00+00:00"),
            (1000, "1970-01-01T00:00:00.000001+00:00"),
            (500_000_000, "1970-01-01T00:00:00.5+00:00"),
            (-1, "1969-12-31T23:59:59.999999+00:00"),
            (951_782_400_120_000_000, "2000-02-29T00:00:00.12+00:00"),
            (1_767_435_072_345_678_901, "2026-01-03T10:11:12.345678+00:00"),
            (i64::MAX, "2262-04-11T23:47:16.854775+00:00"),
            (i64::MIN, "1677-09-21T00:12:43.145224+00:00"),
        ] {
            assert_eq!(text(nanos), expected);
        }
    }

    #[test]
    fn time_stamps_are_read_with_their_offset() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00.012345+00:00", Some(12_345_000)),
            ("1970-01-01T02:00:00.123456789+02:00", Some(123_456_789)),
            ("1969-12-31T23:30:00-00:30", Some(0)),
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000_000)),
            ("1677-09-21T00:12:43.145224192Z", Some(i64::MIN)),
            ("1677-09-21T00:12:43.145224Z", Some(i64::MIN)),
            ("1677-09-21T00:12:43.145223Z", None),
            ("2262-04-11T23:47:16.854775807Z", Some(i64::MAX)),
            ("2262-04-11T23:47:16.854775808Z", None),
            ("0000-01-01T00:00:00Z", None),
            ("1900-02-29T00:00:00Z", None),
            ("1970-00-01T00:00:00Z", None),
            ("1970-13-01T00:00:00Z", None),
            ("1970-01-32T00:00:00Z", None),
            ("1970-01-00T00:00:00Z", None),
            ("1970-01-01T24:00:00Z", None),
            ("1970-01-01T00:60:00Z", None),
            ("1970-01-01T00:00:60Z", None),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01T00:00:00.Z", None),
            ("1970-01-01T00:00:00.1234567890Z", None),
            ("1970-01-01t00:00:00Z", None),
            ("1970-01-01T00:00:00z", None),
            ("1970-01-01T00:00:00+24:00", None),
            ("1970-01-01T00:00:00+0000", None),
            ("1970-1-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes()), nanos, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_time_stamps_read_back(nanos: i64, step in 0..3_000_000_000_i64) {
            let mut stamp = TimestampWriter::new();
            for nanos in [nanos, nanos.saturating_add(step)] {
                let read = parse(stamp.text(nanos));
                prop_assert_eq!(read, Some(nanos.div_euclid(1000).saturating_mul(1000)));
            }
        }
    }
}
