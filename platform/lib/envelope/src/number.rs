//! Numbers as text, the way the original's language prints them: clients compare, group and parse these texts.

use std::fmt::Write as _;
use std::ops::Range;

/// How a decimal number is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalForm {
    /// Six places, never an exponent (`%f`): tags in v1 envelopes.
    SixPlaces,
    /// As many digits as it takes, never an exponent: tags that an agent folds.
    Plain,
    /// As many digits as it takes, an exponent below 1e-4 and from 1e6 (`%v`, `%g`): tags that the reverse log proxy folds.
    Shortest,
}

/// Appends `value` to `out`.
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
                settle_tie(out, at, value);
            }
            DecimalForm::Shortest => put_shortest(out, value, -4..6),
        }
    }
}

/// Appends a finite `value` to `out` as a JSON number: an exponent below 1e-6 and from 1e21.
pub fn put_json_number(out: &mut String, value: f64) {
    put_shortest(out, value, -6..21);
}

/// The shortest digits that read back as `value`; with an exponent, where it is not one of the `plain` ones.
fn put_shortest(out: &mut String, value: f64, plain: Range<i32>) {
    let at = out.len();
    append(out, format_args!("{value:e}"));
    settle_tie(out, at, value);
    let Some(mark) = out[at..].find('e').map(|mark| at + mark) else {
        return;
    };
    let exponent: i32 = out[mark + 1..].parse().unwrap_or_default();
    if value == 0.0 || plain.contains(&exponent) {
        out.truncate(at);
        append(out, format_args!("{value}"));
        settle_tie(out, at, value);
    } else {
        out.truncate(mark);
        let sign = if exponent < 0 { '-' } else { '+' };
        append(out, format_args!("e{sign}{:02}", exponent.unsigned_abs()));
    }
}

/// Where two shortest texts are equally near, the original prints the one whose last digit is even, and Rust the greater
/// one: makes the text of `value` behind `at` the former.
fn settle_tie(out: &mut String, at: usize, value: f64) {
    let text = &out[at..];
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let Some(last) = mantissa.rfind(|digit| matches!(digit, '1'..='9')) else {
        return;
    };
    let digit = mantissa.as_bytes()[last];
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // How many places behind the point the last digit is; negative before it.
    let place = mantissa.find('.').map_or_else(
        || signed(last + 1) - signed(mantissa.len()),
        |point| signed(last) - signed(point),
    ) - exponent;
    if digit % 2 == 0 || !is_between(value, place) {
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

/// Whether `value` is just between two numbers with so many places behind the point.
fn is_between(value: f64, places: i32) -> bool {
    let bits = value.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or_default();
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if exponent == 0 {
        (fraction, -1074)
    } else {
        (fraction | 1 << 52, exponent - 1075)
    };
    // The value is an odd number times a power of two.
    let power = exponent + i32::try_from(mantissa.trailing_zeros()).unwrap_or_default();
    if power < 0 {
        // Which as a decimal fraction ends with a 5 at this place.
        return -power == places + 1;
    }
    if places >= 0 {
        return false;
    }
    // A whole number that needs more digits than are printed: rare, so the slow way will do.
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

    /// JSON numbers get an exponent much later.
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

    /// Two texts of the same length are equally near; the original's choice.
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

    /// The expected texts are what the original's `fmt` and `strconv` give.
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
