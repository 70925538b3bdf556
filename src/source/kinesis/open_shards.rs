//! Which open shard a record goes to: the shard whose range holds its hash key.
//!
//! Pure. A stream that reshards makes it wrong; the answer to a put says where a record really went.

use super::{HashRange, PutItem};
use crate::batch::ShardId;
use crate::error::{Error, Result};
use crate::source::Shard;
use crate::source::aggregate::hash_key;

/// The shards that took records when the stream was last asked.
#[derive(Debug, Clone)]
pub(super) struct OpenShards {
    /// The open ones, by their hash keys.
    open: Vec<Shard>,
}

impl OpenShards {
    /// From a stream's list.
    ///
    /// # Errors
    /// Transient where none is open: the list was made while the stream was changing.
    pub(super) fn of(listed: Vec<Shard>) -> Result<Self> {
        let mut open: Vec<Shard> = listed.into_iter().filter(|shard| !shard.closed).collect();
        if open.is_empty() {
            return Err(Error::transient("the stream lists no open shard, so nothing can be put into it; try again"));
        }
        open.sort_by_key(|shard| shard.hashes.first);
        Ok(Self { open })
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// The name of the one at this place.
    pub(super) fn id(&self, place: usize) -> Option<&ShardId> {
        self.open.get(place).map(|shard| &shard.id)
    }

    /// The hash keys of a shard; none where it is not open.
    pub(super) fn hashes(&self, id: &ShardId) -> Option<HashRange> {
        self.open.iter().find(|shard| shard.id == *id).map(|shard| shard.hashes)
    }

    /// The place of the shard that a record goes to.
    ///
    /// # Errors
    /// Invalid where its explicit hash key is no number below 2^128.
    pub(super) fn place_of(&self, item: &PutItem) -> Result<usize> {
        let key = item_hash_key(item)?;
        Ok(self.open.partition_point(|shard| shard.hashes.first <= key).saturating_sub(1))
    }
}

/// The hash key of a record to put.
pub(super) fn item_hash_key(item: &PutItem) -> Result<u128> {
    hash_key(&item.partition_key, item.explicit_hash_key.as_deref()).map_err(|fault| {
        let key = item.partition_key.escape_debug();
        Error::invalid(format!(
            "the record of partition key {key} cannot be put: {fault}; nothing of it is in the stream"
        ))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// Shards that share the hash keys evenly, the last one first.
    pub(in crate::source::kinesis) fn even(count: u128) -> OpenShards {
        let width = u128::MAX / count;
        let shard = |index: u128| Shard {
            id: ShardId::new(format!("shardId-{index:012}")),
            parents: vec![],
            closed: false,
            hashes: HashRange {
                first: index * width,
                last: if index + 1 == count { u128::MAX } else { (index + 1) * width - 1 },
            },
        };
        OpenShards::of((0..count).rev().map(shard).collect()).expect("open shards")
    }

    fn item(explicit: u128) -> PutItem {
        PutItem { explicit_hash_key: Some(explicit.to_string()), ..PutItem::new("key", "x") }
    }

    #[test]
    fn a_record_goes_to_the_shard_that_holds_its_hash_key() {
        let shards = even(4);
        let width = u128::MAX / 4;
        let cases = [(0, 0), (width - 1, 0), (width, 1), (3 * width - 1, 2), (3 * width, 3), (u128::MAX, 3)];
        for (key, expected) in cases {
            let place = shards.place_of(&item(key)).expect("a place");
            assert_eq!(place, expected, "{key}");
            let id = shards.id(place).expect("a name");
            assert!(shards.hashes(id).expect("a range").contains(key), "{key}");
        }
        let by_partition_key = shards.place_of(&PutItem::new("abc", "x")).expect("a place");
        assert_eq!(by_partition_key, 2, "the MD5 of abc begins with 90");
    }

    #[test]
    fn closed_shards_take_nothing_and_without_an_open_one_it_is_tried_again() {
        let closed = |id: &str, closed, hashes| Shard { id: ShardId::new(id), parents: vec![], closed, hashes };
        let listed = vec![closed("parent", true, HashRange::ALL), closed("child", false, HashRange::ALL)];
        let shards = OpenShards::of(listed).expect("open shards");
        assert_eq!((shards.count(), shards.id(0)), (1, Some(&ShardId::new("child"))));
        assert_eq!(shards.hashes(&ShardId::new("parent")), None);
        let error = OpenShards::of(vec![closed("parent", true, HashRange::ALL)]).expect_err("none is open");
        assert_eq!(error.kind(), ErrorKind::Transient);
    }

    #[test]
    fn an_explicit_hash_key_that_is_no_number_is_refused() {
        let wrong = PutItem { explicit_hash_key: Some("first".to_owned()), ..PutItem::new("key", "x") };
        let error = even(1).place_of(&wrong).expect_err("no number");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("\"first\""), "{error}");
    }
}
