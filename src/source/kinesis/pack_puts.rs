//! Packing the records of a put into aggregates, each for one shard.
//!
//! Pure. Owns nothing between puts: what a put is given, it packs and puts whole, so no record waits in memory for
//! others to come.

use super::PutItem;
use super::open_shards::{OpenShards, item_hash_key};
use super::put_requests::{Outgoing, Strayed};
use crate::batch::ShardId;
use crate::error::Result;
use crate::source::aggregate::{Aggregate, Aggregator};

/// A shard's aggregate that is being filled.
#[derive(Default)]
struct Filling {
    aggregator: Aggregator,
    packed: Vec<PutItem>,
}

/// Packs the records by the shard that they go to, in the order given; with each the place of its shard.
///
/// # Errors
/// Invalid where an explicit hash key is no number.
pub(super) fn pack(records: Vec<PutItem>, shards: &OpenShards) -> Result<Vec<(usize, Outgoing)>> {
    let mut filling: Vec<Filling> = (0..shards.count()).map(|_| Filling::default()).collect();
    let mut outgoing = Vec::new();
    for item in records {
        let place = shards.place_of(&item)?;
        let Some(shard) = filling.get_mut(place) else { continue };
        let PutItem { partition_key, explicit_hash_key, payload } = item.clone();
        if let Some(full) = shard.aggregator.add(partition_key, explicit_hash_key, payload) {
            outgoing.push((place, sealed(full, std::mem::take(&mut shard.packed), shards.id(place))));
        }
        shard.packed.push(item);
    }
    for (place, mut shard) in filling.into_iter().enumerate() {
        let last = shard.aggregator.flush();
        outgoing.extend(last.map(|last| (place, sealed(last, shard.packed, shards.id(place)))));
    }
    Ok(outgoing)
}

fn sealed(aggregate: Aggregate, packed: Vec<PutItem>, shard: Option<&ShardId>) -> Outgoing {
    let Aggregate { partition_key, explicit_hash_key, payload, .. } = aggregate;
    Outgoing { item: PutItem { partition_key, explicit_hash_key, payload }, packed, meant_for: shard.cloned() }
}

/// What must be put again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) records: Vec<PutItem>,
    /// How many of them may be in the stream already.
    pub(super) maybe_doubled: u64,
}

/// The records of aggregates that another shard took than the one they were packed for, and that do not belong there:
/// readers drop those, so they must be put again. The shards are those of a list made since.
///
/// # Errors
/// None where the records have been packed before.
pub(super) fn to_put_again(strayed: Vec<Strayed>, shards: &OpenShards) -> Result<Again> {
    let mut again = Again::default();
    for Strayed { packed, taken_by } in strayed {
        // A shard that is closed again already is unknown here: all of it is put again, rather twice than never.
        let Some(hashes) = shards.hashes(&taken_by) else {
            again.maybe_doubled += packed.len() as u64;
            again.records.extend(packed);
            continue;
        };
        for item in packed {
            if !hashes.contains(item_hash_key(&item)?) {
                again.records.push(item);
            }
        }
    }
    Ok(again)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::open_shards::tests::even;
    use super::*;
    use crate::source::aggregate::{Taken, take_apart};

    fn items(keys: &[u16], bytes: usize) -> Vec<PutItem> {
        let payload = |number: usize| format!("{number} {}", "x".repeat(bytes));
        keys.iter().enumerate().map(|(number, key)| PutItem::new(format!("key {key}"), payload(number))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn each_aggregate_holds_records_of_its_shard_alone_and_a_key_keeps_its_order(
            keys in proptest::collection::vec(0u16..50, 0..300),
            count in 1u128..20,
            bytes in 0usize..2000,
        ) {
            let (shards, items) = (even(count), items(&keys, bytes));
            let mut found: BTreeMap<usize, Vec<bytes::Bytes>> = BTreeMap::new();
            for (place, outgoing) in pack(items.clone(), &shards).expect("packed") {
                let id = shards.id(place).expect("a shard").clone();
                let hashes = shards.hashes(&id).expect("a range");
                prop_assert_eq!(outgoing.meant_for.as_ref(), Some(&id));
                prop_assert_eq!(shards.place_of(&outgoing.item).expect("a place"), place);
                match take_apart(&outgoing.item.payload) {
                    Taken::Parts(mut parts) => {
                        prop_assert_eq!(parts.len(), outgoing.packed.len());
                        prop_assert!(parts.all(|part| hashes.contains(part.hash_key)));
                    }
                    other => prop_assert!(other == Taken::Plain && outgoing.packed.len() == 1),
                }
                found.entry(place).or_default().extend(outgoing.packed.into_iter().map(|item| item.payload));
            }
            let mut expected: BTreeMap<usize, Vec<bytes::Bytes>> = BTreeMap::new();
            for item in items {
                expected.entry(shards.place_of(&item).expect("a place")).or_default().push(item.payload);
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn of_an_aggregate_in_another_shard_what_does_not_belong_there_is_put_again() {
        let shards = even(2);
        let explicit = |key: u128| PutItem { explicit_hash_key: Some(key.to_string()), ..PutItem::new("k", "x") };
        let packed = vec![explicit(0), explicit(u128::MAX), explicit(1)];
        let strayed = |shard: &str| vec![Strayed { packed: packed.clone(), taken_by: ShardId::new(shard) }];
        let again = to_put_again(strayed("shardId-000000000000"), &shards).expect("known");
        assert_eq!(again, Again { records: vec![explicit(u128::MAX)], maybe_doubled: 0 });
        let again = to_put_again(strayed("shardId-000000000009"), &shards).expect("unknown");
        assert_eq!(again, Again { records: packed.clone(), maybe_doubled: 3 });
    }
}
