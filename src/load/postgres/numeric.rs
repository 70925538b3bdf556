//! A decimal as PostgreSQL's binary numeric.
//!
//! Pure. A numeric is its digits to the base of 10,000, from the most significant on, grouped from the decimal point; the
//! weight is the power of the first. Zeros at both ends are left out.

use bytes::BufMut;

/// The most groups: 39 digits before the point, or as many after it.
const GROUPS: usize = 24;

const NEGATIVE: u16 = 0x4000;

/// Writes `unscaled / 10^scale`.
pub(super) fn put(unscaled: i128, scale: u32, buffer: &mut impl BufMut) {
    let mut groups = [0u16; GROUPS];
    let absolute = unscaled.unsigned_abs();
    let point = 10u128.checked_pow(scale);
    let (mut whole, mut fraction) = point.map_or((0, absolute), |point| (absolute / point, absolute % point));
    let mut before = 0;
    while whole > 0 {
        groups[before] = (whole % 10_000) as u16;
        whole /= 10_000;
        before += 1;
    }
    groups[..before].reverse();
    let (mut count, mut left) = (before, scale);
    while fraction > 0 {
        // The last group has fewer digits where the scale does not fill it.
        let (group, rest) = match left.checked_sub(4) {
            Some(rest) => (fraction / 10u128.pow(rest), rest),
            None => (fraction * 10u128.pow(4 - left), 0),
        };
        groups[count] = group as u16;
        fraction = if left > 4 { fraction % 10u128.pow(rest) } else { 0 };
        count += 1;
        left = rest;
    }
    let first = groups[..count].iter().position(|&group| group != 0).unwrap_or(count);
    let last = groups[..count].iter().rposition(|&group| group != 0).map_or(first, |last| last + 1);
    let digits = &groups[first..last];
    let weight = if digits.is_empty() { 0 } else { before as i16 - 1 - first as i16 };
    buffer.put_i32(8 + 2 * digits.len() as i32);
    buffer.put_i16(digits.len() as i16);
    buffer.put_i16(weight);
    buffer.put_u16(if unscaled < 0 { NEGATIVE } else { 0 });
    buffer.put_u16(scale as u16);
    digits.iter().for_each(|&digit| buffer.put_u16(digit));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(unscaled: i128, scale: u32) -> Vec<i16> {
        let mut bytes = Vec::new();
        put(unscaled, scale, &mut bytes);
        let (length, rest) = bytes.split_at(4);
        assert_eq!(i32::from_be_bytes(length.try_into().expect("4 bytes")), rest.len() as i32);
        rest.chunks(2).map(|word| i16::from_be_bytes([word[0], word[1]])).collect()
    }

    #[test]
    fn digits_are_grouped_from_the_point() {
        // Digits, weight, sign, scale, groups.
        let cases: [(i128, u32, &[i16]); 12] = [
            (0, 2, &[0, 0, 0, 2]),
            (1, 0, &[1, 0, 0, 0, 1]),
            (-1, 0, &[1, 0, 0x4000, 0, 1]),
            (10_000, 0, &[1, 1, 0, 0, 1]),
            (12_345, 0, &[2, 1, 0, 0, 1, 2345]),
            (150, 2, &[2, 0, 0, 2, 1, 5000]),
            (5, 2, &[1, -1, 0, 2, 500]),
            (1, 6, &[1, -2, 0, 6, 100]),
            (1_000_000, 6, &[1, 0, 0, 6, 1]),
            (123_456_789, 5, &[3, 0, 0, 5, 1234, 5678, 9000]),
            (100_000_001, 8, &[3, 0, 0, 8, 1, 0, 1]),
            (1, 38, &[1, -10, 0, 38, 100]),
        ];
        for (unscaled, scale, expected) in cases {
            assert_eq!(words(unscaled, scale), expected, "{unscaled} / 10^{scale}");
        }
        assert_eq!(words(10i128.pow(38) - 1, 38).len(), 4 + 10);
        assert_eq!(words(i128::MIN, 0).len(), 4 + 10);
    }
}
