//! Prints numbers as Go prints them, because clients of the original compare, group and parse these texts.

use std::fmt::Write as _;
use std::ops::Range;

/// The form in which a `double` is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalForm {
    /// Six decimal places and no exponent (Go's `%f`), for tags of v1 envelopes.
    SixPlaces,
    /// The fewest digits that read back as the value, and no exponent, for tags that an agent merges.
    Plain,
    /// The fewest digits that read back as the value, with an exponent below 1e-4 and from 1e6 (Go's `%v`), for tags
    /// that the reverse log proxy merges.
    Shortest,
}

/// Appends `value` to `out` in the given form; `NaN`, `+Inf` and `-Inf` for values that are not finite.
pub fn put_decimal(out: &mut String, value: f64, form: DecimalForm) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        match form {
            DecimalForm::SixPlaces => append(out, format_args!("{value:.6}")),
            DecimalForm::Plain => {
                let at = out.len();
                append(out, format_args!("{value}"));
                round_tie_to_even(out, at, value);
            }
            DecimalForm::Shortest => put_shortest(out, value, -4..6),
        }
    }
}

/// Appends a finite `value` to `out` as a JSON number, with an exponent below 1e-6 and from 1e21.
pub fn put_json_number(out: &mut String, value: f64) {
    put_shortest(out, value, -6..21);
}

/// Appends the fewest digits that read back as `value`, with an exponent unless the decimal exponent is in `plain`.
fn put_shortest(out: &mut String, value: f64, plain: Range<i32>) {
    let at = out.len();
    append(out, format_args!("{value:e}"));
    round_tie_to_even(out, at, value);
    let Some(mark) = out[at..].find('e').map(|mark| at + mark) else {
        return;
    };
    let exponent: i32 = out[mark + 1..].parse().unwrap_or_default();
    if value == 0.0 || plain.contains(&exponent) {
        out.truncate(at);
        append(out, format_args!("{value}"));
        round_tie_to_even(out, at, value);
    } else {
        out.truncate(mark);
        let sign = if exponent < 0 { '-' } else { '+' };
        append(out, format_args!("e{sign}{:02}", exponent.unsigned_abs()));
    }
}

/// Corrects the text of `value` that starts at `at` of `out` to the one that Go prints.
///
/// Two texts of the fewest digits can be equally near to a value. Go then prints the one whose last digit is even, and
/// Rust the greater one.
fn round_tie_to_even(out: &mut String, at: usize, value: f64) {
    let text = &out[at..];
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let Some(last) = mantissa.rfind(|digit| matches!(digit, '1'..='9')) else {
        return;
    };
    let digit = mantissa.as_bytes()[last];
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // The number of decimal places of the last digit; negative if it stands before the point.
    let place = mantissa.find('.').map_or_else(
        || signed(last + 1) - signed(mantissa.len()),
        |point| signed(last) - signed(point),
    ) - exponent;
    if digit % 2 == 0 || !is_halfway(value, place) {
        return;
    }
    let mut settled = text.to_owned();
    settled.replace_range(last..=last, char::from(digit - 1).encode_utf8(&mut [0]));
    if settled.parse() == Ok(value) {
        out.replace_range(at.., &settled);
    }
}

fn signed(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// Whether `value` is exactly halfway between two neighbouring numbers with `places` decimal places.
fn is_halfway(value: f64, places: i32) -> bool {
    let bits = value.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or_default();
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if exponent == 0 {
        (fraction, -1074)
    } else {
        (fraction | 1 << 52, exponent - 1075)
    };
    // The value is an odd number times two to the power of `power`.
    let power = exponent + i32::try_from(mantissa.trailing_zeros()).unwrap_or_default();
    if power < 0 {
        // An odd multiple of 2^-n, as a decimal fraction, has n places, of which the last is a 5.
        return -power == places + 1;
    }
    if places >= 0 {
        return false;
    }
    // The value is an integer with more digits than are printed. That is rare, so an exact text may be made of it.
    let exact = format!("{:.0}", value.abs());
    let zeros = usize::try_from(-places).unwrap_or_default();
    let (_, cut) = exact.split_at(exact.len().saturating_sub(zeros));
    cut.strip_prefix('5')
        .is_some_and(|rest| rest.bytes().all(|digit| digit == b'0'))
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(value: f64, form: DecimalForm) -> String {
        let mut out = String::new();
        put_decimal(&mut out, value, form);
        out
    }

    /// JSON numbers have no exponent from 1e-6 up to 1e21, and read back as the value.
    #[test]
    fn json_numbers_are_plain_in_the_usual_range() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-07"),
        ] {
            let mut out = String::new();
            put_json_number(&mut out, value);
            assert_eq!(out, text);
            assert_eq!(serde_json::from_str::<f64>(&out).unwrap(), value);
        }
    }

    /// Of two texts that are equally near, Go's choice is printed.
    #[test]
    fn ties_go_to_the_even_digit() {
        for (value, shortest, plain) in [
            (
                629_083_458_605_031.0 + 0.25,
                "6.290834586050312e+14",
                "629083458605031.2",
            ),
            (
                -629_083_458_605_031.0 - 0.25,
                "-6.290834586050312e+14",
                "-629083458605031.2",
            ),
            (
                629_083_458_605_031.0 + 0.75,
                "6.290834586050318e+14",
                "629083458605031.8",
            ),
            (0.5, "0.5", "0.5"),
            (1.5, "1.5", "1.5"),
            (9_007_199_254_740_991.0, "9.007199254740991e+15", "9007199254740991"),
        ] {
            assert_eq!(print(value, DecimalForm::Shortest), shortest);
            assert_eq!(print(value, DecimalForm::Plain), plain);
        }
    }

    /// The expected texts are those of Go's `fmt` and `strconv`.
    #[test]
    fn decimals_print_as_the_original_prints_them() {
        use DecimalForm::{Plain, Shortest, SixPlaces};
        for (value, six, plain, shortest) in [
            (0.0, "0.000000", "0", "0"),
            (-0.0, "-0.000000", "-0", "-0"),
            (1.0, "1.000000", "1", "1"),
            (0.1, "0.100000", "0.1", "0.1"),
            (
                123_456_789.125,
                "123456789.125000",
                "123456789.125",
                "1.23456789125e+08",
            ),
            (999_999.5, "999999.500000", "999999.5", "999999.5"),
            (1e6, "1000000.000000", "1000000", "1e+06"),
            (1e20, "100000000000000000000.000000", "100000000000000000000", "1e+20"),
            (1e21, "1000000000000000000000.000000", "1000000000000000000000", "1e+21"),
            (1e100, "", "", "1e+100"),
            (0.0001, "0.000100", "0.0001", "0.0001"),
            (0.000_012, "0.000012", "0.000012", "1.2e-05"),
            (f64::NAN, "NaN", "NaN", "NaN"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
        ] {
            if !six.is_empty() {
                assert_eq!(print(value, SixPlaces), six);
                assert_eq!(print(value, Plain), plain);
            }
            assert_eq!(print(value, Shortest), shortest);
        }
    }
}
