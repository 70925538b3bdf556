//! The SHA-256 of bytes: what tells that an object is still what was written.
//!
//! Owns the sum and its form, 64 lower-case hexadecimal digits as `sha256sum` prints them. It reads nothing. SHA-256
//! and not a faster sum: processors compute it at 1 to 2 GB/s, a hundred times what staging writes, and everybody has
//! the tool to check it by hand.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum([u8; 32]);

/// Bytes on their way to a checksum, for those that don't come in one piece.
#[derive(Clone, Default)]
pub struct Checksummer(Sha256);

/// A text that is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256: 64 digits of 0-9 and a-f")]
pub struct InvalidChecksum(String);

impl Checksum {
    /// The length of its text.
    pub const DIGITS: usize = 64;

    /// The tag of a Delta add action that holds the checksum of the file that it adds.
    pub const DELTA_TAG: &str = "millstream.sha256";

    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl Checksummer {
    /// Goes on with these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of everything added, in its order.
    pub fn finish(self) -> Checksum {
        Checksum(self.0.finalize().into())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Checksum {
    type Err = InvalidChecksum;

    /// One text is one checksum: digits in upper case are refused.
    fn from_str(text: &str) -> Result<Self, InvalidChecksum> {
        let invalid = || InvalidChecksum(text.chars().take(Self::DIGITS + 1).collect());
        let digits: &[u8; Self::DIGITS] = text.as_bytes().try_into().map_err(|_| invalid())?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(invalid()),
                };
                *byte = *byte << 4 | value;
            }
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `printf 'abc' | sha256sum` prints it.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn it_is_what_sha256sum_prints() {
        assert_eq!(Checksum::of(b"abc").to_string(), ABC);
        let mut summer = Checksummer::default();
        ["a", "", "bc"].iter().for_each(|part| summer.add(part.as_bytes()));
        assert_eq!(summer.finish(), Checksum::of(b"abc"));
    }

    #[test]
    fn one_text_is_one_checksum() {
        assert_eq!(ABC.parse(), Ok(Checksum::of(b"abc")));
        let json = serde_json::to_string(&Checksum::of(b"abc")).expect("JSON");
        assert_eq!(serde_json::from_str::<Checksum>(&json).expect("a checksum"), Checksum::of(b"abc"));
        for text in ["", "ba78", &ABC.to_uppercase(), &format!("{ABC}0"), &ABC.replace('b', "g"), &"é".repeat(32)] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
