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
            DecimalForm::Plain => append(out, format_args!("{value}")),
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
    let Some(mark) = out[at..].find('e').map(|mark| at + mark) else {
        return;
    };
    let exponent: i32 = out[mark + 1..].parse().unwrap_or_default();
    if value == 0.0 || plain.contains(&exponent) {
        out.truncate(at);
        append(out, format_args!("{value}"));
    } else {
        out.truncate(mark);
        let sign = if exponent < 0 { '-' } else { '+' };
        append(out, format_args!("e{sign}{:02}", exponent.unsigned_abs()));
    }
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
