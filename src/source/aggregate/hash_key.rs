//! The hash key that decides a record's shard.

use super::format::digest;

/// An explicit hash key that chooses no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the explicit hash key {0:?} is no decimal number below 2^128")]
pub(in crate::source) struct InvalidHashKey(String);

/// The explicit hash key (decimal) where there is one, else the MD5 of the partition key, big-endian: as Kinesis does.
pub(in crate::source) fn hash_key(partition_key: &str, explicit: Option<&str>) -> Result<u128, InvalidHashKey> {
    explicit.map_or_else(|| Ok(partition_key_hash(partition_key)), explicit_hash_key)
}

pub(super) fn partition_key_hash(partition_key: &str) -> u128 {
    u128::from_be_bytes(digest(partition_key.as_bytes()))
}

pub(super) fn explicit_hash_key(explicit: &str) -> Result<u128, InvalidHashKey> {
    // The parser would take a sign too.
    let digits = explicit.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { explicit.parse().ok() } else { None };
    // What it says may come from a damaged aggregate: no more of it than a number could fill.
    number.ok_or_else(|| InvalidHashKey(explicit.chars().take(40).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_hash_key_is_a_decimal_number_below_2_to_the_128() {
        let cases = [
            ("0", Some(0)),
            ("340282366920938463463374607431768211455", Some(u128::MAX)),
            ("340282366920938463463374607431768211456", None),
            ("+1", None),
            ("-1", None),
            ("", None),
            (" 1", None),
            ("1e3", None),
            ("٣", None),
        ];
        for (explicit, expected) in cases {
            assert_eq!(hash_key("key", Some(explicit)).ok(), expected, "{explicit:?}");
        }
        let fault = explicit_hash_key(&"x".repeat(1000)).expect_err("no number").to_string();
        assert!(fault.contains(&format!("{:?}", "x".repeat(40))), "{fault}");
    }

    #[test]
    fn without_one_it_is_the_md5_of_the_partition_key() {
        let cases =
            [("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e), ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72)];
        for (key, expected) in cases {
            assert_eq!(hash_key(key, None), Ok(expected), "{key:?}");
        }
    }
}
