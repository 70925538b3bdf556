//! Where a record stands in its shard.
//!
//! A position is (sequence number, sub-sequence). Sequence numbers have up to 56 digits and more, so they are kept
//! as decimal digits and compared as numbers: never as strings, never as u128. The digits stay as the stream gave them,
//! leading zeros too: a server may know its own numbers in no other form.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A shard's name, cheap to clone: one record in a batch costs a counter, not a string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// A shard of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as Kinesis gives it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A sequence number: a decimal number of any length. Two are equal where their numbers are. The parts of an aggregate
/// share it: a clone costs a counter.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SequenceNumber(Arc<str>);

/// A text that is no sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a sequence number: one to 128 decimal digits are expected")]
pub struct InvalidSequence(String);

/// Longer texts are refused, so that a position's sortable form can carry its length in three digits.
const MAX_DIGITS: usize = 128;

impl SequenceNumber {
    /// Parses decimal digits.
    ///
    /// # Errors
    /// [`InvalidSequence`] for an empty text, one over 128 digits, or one with anything but digits.
    pub fn parse(text: &str) -> Result<Self, InvalidSequence> {
        let valid = !text.is_empty() && text.len() <= MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        if !valid {
            return Err(InvalidSequence(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The decimal digits as the stream gave them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits that count; none for zero.
    fn digits(&self) -> &str {
        self.0.trim_start_matches('0')
    }
}

impl From<u64> for SequenceNumber {
    fn from(number: u64) -> Self {
        Self(number.to_string().into())
    }
}

impl TryFrom<String> for SequenceNumber {
    type Error = InvalidSequence;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SequenceNumber> for String {
    fn from(sequence: SequenceNumber) -> Self {
        sequence.0.as_ref().to_owned()
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.digits(), other.digits());
        left.len().cmp(&right.len()).then_with(|| left.cmp(right))
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        self.digits() == other.digits()
    }
}

impl Eq for SequenceNumber {}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digits().hash(state);
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A record's place in its shard: ordered by sequence number, then by sub-sequence.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The sequence number that Kinesis gave the record.
    pub sequence: SequenceNumber,
    /// The place inside an aggregated record, from 0; 0 for a plain record.
    pub subsequence: u64,
}

impl Position {
    /// A position in a plain or aggregated record.
    pub fn new(sequence: SequenceNumber, subsequence: u64) -> Self {
        Self { sequence, subsequence }
    }

    /// Appends a text that sorts, byte by byte, as (position, event index) does: the digits' count in three
    /// digits, the digits, the sub-sequence in ten, the index in six.
    pub fn write_sortable(&self, index: u32, text: &mut String) {
        use fmt::Write as _;
        let digits = match self.sequence.digits() {
            "" => "0",
            digits => digits,
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{:03}{digits}.{:010}.{index:06}", digits.len(), self.subsequence);
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subsequence == 0 {
            return write!(formatter, "{}", self.sequence);
        }
        write!(formatter, "{}:{}", self.sequence, self.subsequence)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sequence(text: &str) -> SequenceNumber {
        SequenceNumber::parse(text).expect("digits")
    }

    #[test]
    fn sequence_numbers_compare_as_numbers() {
        assert!(sequence("9") < sequence("10"));
        assert!(
            sequence("49590338271490256608559692538361571095921575989136588898") > sequence("99999999999999999999")
        );
        assert_eq!(sequence("0007"), sequence("7"));
        assert!(sequence("0009") < sequence("10") && sequence("000") == sequence("0"));
        assert_eq!(sequence("0007").as_str(), "0007", "a server may know it in no other form");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-1", "1.0", "12a", "١٢", &"1".repeat(129)] {
            assert!(SequenceNumber::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_position_serialises_its_sequence_as_text() {
        let json = serde_json::to_string(&Position::new(sequence("123"), 4)).expect("json");
        assert_eq!(json, r#"{"sequence":"123","subsequence":4}"#);
    }

    proptest! {
        #[test]
        fn the_sortable_text_orders_as_positions_do(
            left in ("[0-9]{1,60}", 0u64..10_000_000_000, 0u32..1_000_000),
            right in ("[0-9]{1,60}", 0u64..10_000_000_000, 0u32..1_000_000),
        ) {
            let position = |parts: &(String, u64, u32)| Position::new(sequence(&parts.0), parts.1);
            let text = |parts: &(String, u64, u32)| {
                let mut text = String::new();
                position(parts).write_sortable(parts.2, &mut text);
                text
            };
            let expected = (position(&left), left.2).cmp(&(position(&right), right.2));
            prop_assert_eq!(text(&left).cmp(&text(&right)), expected);
        }
    }
}
