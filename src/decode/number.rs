//! A number as it is written: found once, then read exactly, without a float in between.
//!
//! Owns the grammar of numbers (RFC 8259's, for JSON and for texts alike) and the arithmetic on their digits. What
//! fits which type is `columns`'.

use super::fault::Reason;

/// A number's text and its parts; the value is `integer.fraction × 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number<'b> {
    text: &'b [u8],
    negative: bool,
    integer: &'b [u8],
    fraction: &'b [u8],
    exponent: i64,
    /// All digits as one number; right where there are at most [`SHORT_DIGITS`].
    mantissa: u64,
}

/// So many digits surely fit a u64, and so much shifting of them an i128.
const SHORT_DIGITS: usize = 18;

/// The digits that surely fit an i128.
const LONG_DIGITS: i64 = 38;

/// Exponents beyond it are as good as it: no payload has so many digits.
const MAX_EXPONENT: i64 = 1_000_000_000_000_000;

impl<'b> Number<'b> {
    /// The number that `bytes` begin with, or the offset at which they stop being one.
    #[inline]
    pub(super) fn scan(bytes: &'b [u8]) -> Result<Self, usize> {
        let negative = bytes.first() == Some(&b'-');
        let start = usize::from(negative);
        let mut mantissa = 0;
        let mut end = digits(bytes, start, &mut mantissa);
        if end == start {
            return Err(start);
        }
        if bytes[start] == b'0' && end > start + 1 {
            return Err(start + 1);
        }
        let integer = &bytes[start..end];
        let mut fraction: &[u8] = &[];
        if bytes.get(end) == Some(&b'.') {
            let point = end;
            end = digits(bytes, point + 1, &mut mantissa);
            fraction = &bytes[point + 1..end];
            if fraction.is_empty() {
                return Err(end);
            }
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = bytes.get(end) {
            (exponent, end) = scan_exponent(bytes, end + 1)?;
        }
        Ok(Self { text: &bytes[..end], negative, integer, fraction, exponent, mantissa })
    }

    /// The number that the whole text is.
    pub(super) fn parse(text: &'b [u8]) -> Option<Self> {
        Self::scan(text).ok().filter(|number| number.text.len() == text.len())
    }

    /// As it is written.
    #[inline]
    pub(super) fn text(&self) -> &'b [u8] {
        self.text
    }

    /// The value times `10^scale`, exactly.
    ///
    /// [`Reason::Fraction`] where that is no integer, [`Reason::Overflow`] beyond 38 digits.
    #[inline]
    pub(super) fn scaled(&self, scale: usize) -> Result<i128, Reason> {
        if self.exponent == 0
            && self.integer.len() + self.fraction.len() <= SHORT_DIGITS
            && let Some(shift) = scale.checked_sub(self.fraction.len())
            && shift <= SHORT_DIGITS
        {
            return Ok(self.signed(i128::from(self.mantissa) * 10_i128.pow(shift as u32)));
        }
        self.scaled_by_digits(scale, false)
    }

    /// The value times `10^scale`, further fraction digits dropped; [`Reason::Overflow`] beyond 38 digits.
    pub(super) fn scaled_dropping(&self, scale: usize) -> Result<i128, Reason> {
        self.scaled_by_digits(scale, true)
    }

    fn scaled_by_digits(&self, scale: usize, drop_rest: bool) -> Result<i128, Reason> {
        let all = || self.integer.iter().chain(self.fraction);
        let Some(first) = all().position(|digit| *digit != b'0') else { return Ok(0) };
        let count = self.integer.len() + self.fraction.len();
        let mut last = count - all().rev().take_while(|digit| **digit == b'0').count();
        // The digits first..last, times ten to this power.
        let mut power = self.exponent + scale as i64 + self.integer.len() as i64 - last as i64;
        if power < 0 {
            if !drop_rest {
                return Err(Reason::Fraction);
            }
            let kept = last as i64 + power;
            if kept <= first as i64 {
                return Ok(0);
            }
            last = kept as usize;
            power = 0;
        }
        if (last - first) as i64 + power > LONG_DIGITS {
            return Err(Reason::Overflow);
        }
        let digits = all().skip(first).take(last - first);
        let value = digits.fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        Ok(self.signed(value * 10_i128.pow(power as u32)))
    }

    #[inline]
    fn signed(&self, value: i128) -> i128 {
        if self.negative { -value } else { value }
    }

    /// The nearest double; [`Reason::Overflow`] beyond its range.
    pub(super) fn double(&self) -> Result<f64, Reason> {
        let value: f64 = self.parse_text()?;
        if value.is_finite() { Ok(value) } else { Err(Reason::Overflow) }
    }

    /// The nearest float of 32 bits; [`Reason::Overflow`] beyond its range.
    pub(super) fn real(&self) -> Result<f32, Reason> {
        let value: f32 = self.parse_text()?;
        if value.is_finite() { Ok(value) } else { Err(Reason::Overflow) }
    }

    fn parse_text<F: std::str::FromStr>(&self) -> Result<F, Reason> {
        let text = std::str::from_utf8(self.text).map_err(|_| Reason::WrongType)?;
        text.parse().map_err(|_| Reason::WrongType)
    }
}

/// Reads digits from `at` on into `mantissa`, wrapping; gives where they end.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    at
}

fn scan_exponent(bytes: &[u8], start: usize) -> Result<(i64, usize), usize> {
    let signed = matches!(bytes.get(start), Some(b'+' | b'-'));
    let digits_start = start + usize::from(signed);
    let mut at = digits_start;
    let mut exponent = 0_i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        exponent = (exponent * 10 + i64::from(digit - b'0')).min(MAX_EXPONENT);
        at += 1;
    }
    if at == digits_start {
        return Err(at);
    }
    Ok((if bytes.get(start) == Some(&b'-') { -exponent } else { exponent }, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaled(text: &str, scale: usize) -> Result<i128, Reason> {
        Number::parse(text.as_bytes()).expect(text).scaled(scale)
    }

    #[test]
    fn the_grammar_is_that_of_json() {
        for text in ["0", "-0", "10", "0.5", "1.0e5", "1E-5", "9e+9"] {
            assert!(Number::parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["", "-", "+1", "00", "007", "1.", ".5", "1e", "1e+", "0x1F", "1_000", "1,000", "NaN", "inf", "1 "]
        {
            assert!(Number::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(Number::scan(b"12,").map(|number| number.text()), Ok(b"12".as_slice()));
    }

    #[test]
    fn digits_are_scaled_exactly() {
        let cases = [
            ("12.34", 2, Ok(1234)),
            ("12.34", 4, Ok(123_400)),
            ("12.3400", 2, Ok(1234)),
            ("12.345", 2, Err(Reason::Fraction)),
            ("-12.34", 2, Ok(-1234)),
            ("-0", 0, Ok(0)),
            ("-0.00", 1, Ok(0)),
            ("3.0", 0, Ok(3)),
            ("3.5", 0, Err(Reason::Fraction)),
            ("1e3", 0, Ok(1000)),
            ("1500e-2", 0, Ok(15)),
            ("1.5e1", 0, Ok(15)),
            ("1.5e-1", 2, Ok(15)),
            ("1e-3", 2, Err(Reason::Fraction)),
            ("0e999999999999999999999", 5, Ok(0)),
            ("1e999999999999999999999", 0, Err(Reason::Overflow)),
            ("1e-999999999999999999999", 38, Err(Reason::Fraction)),
            ("99999999999999999999999999999999999999", 0, Ok(10_i128.pow(38) - 1)),
            ("100000000000000000000000000000000000000", 0, Err(Reason::Overflow)),
            ("0.00000000000000000000000000000000000001", 38, Ok(1)),
            ("1", 38, Err(Reason::Overflow)),
            ("0.1", 38, Ok(10_i128.pow(37))),
            ("123456789012345678", 18, Ok(123_456_789_012_345_678 * 10_i128.pow(18))),
            ("1234567890123456789", 0, Ok(1_234_567_890_123_456_789)),
            ("18446744073709551617", 0, Ok(18_446_744_073_709_551_617)),
        ];
        for (text, scale, expected) in cases {
            assert_eq!(scaled(text, scale), expected, "{text} at scale {scale}");
        }
    }

    #[test]
    fn a_million_digits_are_still_exact() {
        let text = format!("1{}e-1000000", "0".repeat(1_000_000));
        assert_eq!(scaled(&text, 0), Ok(1));
    }

    #[test]
    fn dropping_cuts_the_digits_that_do_not_fit() {
        let cases = [("1.23456789", 6, 1_234_567), ("-1.9999999", 6, -1_999_999), ("1e-9", 6, 0), ("0.0000005", 6, 0)];
        for (text, scale, expected) in cases {
            let number = Number::parse(text.as_bytes()).expect(text);
            assert_eq!(number.scaled_dropping(scale), Ok(expected), "{text}");
        }
    }

    #[test]
    fn floats_are_the_nearest_and_never_infinite() {
        let number = |text: &'static str| Number::parse(text.as_bytes()).expect(text);
        assert_eq!(number("0.1").double(), Ok(0.1));
        assert!(number("-0").double().is_ok_and(|value| value == 0.0 && value.is_sign_negative()));
        assert_eq!(number("1e309").double(), Err(Reason::Overflow));
        assert_eq!(number("1e-400").double(), Ok(0.0));
        assert_eq!(number("16777217").real(), Ok(16_777_216.0));
        assert_eq!(number("3.5e38").real(), Err(Reason::Overflow));
    }

    proptest! {
        #[test]
        fn any_i128_of_38_digits_reads_back_at_any_scale(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_usize..=37) {
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
            let (integer, fraction) = digits.split_at(digits.len() - scale);
            let sign = if value < 0 { "-" } else { "" };
            let point = if scale > 0 { "." } else { "" };
            prop_assert_eq!(scaled(&format!("{sign}{integer}{point}{fraction}"), scale), Ok(value));
            prop_assert_eq!(scaled(&format!("{value}e-{scale}"), scale), Ok(value));
        }
    }
}
