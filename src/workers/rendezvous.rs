//! Rendezvous hashing: which of several workers a name goes to.
//!
//! Owns the function that all versions of the program on one stream must agree on, so it never changes:
//!
//! ```text
//! score(worker, name) = the first 8 bytes, as a big-endian number, of SHA-256(worker ++ 0x00 ++ name)
//! owner(workers, name) = the worker of the greatest score; of equal scores, of the greatest id
//! ```
//!
//! So all who see the same workers agree, a worker that goes gives up its own names and moves no other, and each
//! worker is as likely to own a name as any other.

use sha2::{Digest, Sha256};

use super::heartbeat::WorkerId;

/// The worker that the name goes to; none where there is no worker.
pub(super) fn owner<'a>(workers: impl Iterator<Item = &'a WorkerId>, name: &str) -> Option<&'a WorkerId> {
    workers.max_by_key(|worker| (score(worker, name), *worker))
}

/// A mark that tells one object's bytes from another's.
pub(super) fn mark(bytes: &[u8]) -> u64 {
    leading(Sha256::digest(bytes).as_slice())
}

fn score(worker: &WorkerId, name: &str) -> u64 {
    let hash = Sha256::new().chain_update(worker.as_str()).chain_update([0]).chain_update(name);
    leading(hash.finalize().as_slice())
}

fn leading(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Random;
    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn workers(ids: impl IntoIterator<Item = impl Into<String>>) -> Vec<WorkerId> {
        ids.into_iter().map(WorkerId::new).collect()
    }

    fn shard(number: u32) -> String {
        format!("shardId-{number:012}")
    }

    /// How many of so many shards each of so many workers of random ids owns.
    fn spread(seed: u64, worker_count: usize, shard_count: u32) -> Vec<u32> {
        let random = Random::seeded(seed);
        let workers = workers((0..worker_count).map(|_| random.id()));
        let mut counts: BTreeMap<&WorkerId, u32> = workers.iter().map(|worker| (worker, 0)).collect();
        for number in 0..shard_count {
            *counts.get_mut(owner(workers.iter(), &shard(number)).expect("one")).expect("known") += 1;
        }
        counts.into_values().collect()
    }

    #[test]
    fn the_function_has_these_values_in_every_version() {
        // As `printf 'w1\0shardId-000000000000' | sha256sum` gives them.
        let cases = [
            ("w1", "shardId-000000000000", 0xd2ce_a9f8_b095_cc0e),
            ("3f1c7a52-9d0e-4c8b-a6f1-2b7d5e904c13", "shardId-000000000042", 0xe5ad_9c45_255b_bd3e),
            ("", "", 0x6e34_0b9c_ffb3_7a98),
        ];
        for (worker, name, expected) in cases {
            assert_eq!(score(&WorkerId::new(worker), name), expected, "{worker} {name}");
        }
        let workers = workers(["w1", "w2", "w3"]);
        let owners: String =
            (0..16).map(|number| &owner(workers.iter(), &shard(number)).expect("one").as_str()[1..]).collect();
        assert_eq!(owners, "1213122222123321");
    }

    #[test]
    fn without_workers_nobody_owns() {
        assert_eq!(owner([].iter(), "shardId-000000000000"), None);
    }

    #[test]
    fn shards_are_spread_fairly() {
        // A fair draw gives each of 3 workers 16/3 ± 1.9 shards, and each of 5 workers 200 ± 12.6.
        let mut largest = 0.0;
        for seed in 0..100 {
            let few = spread(seed, 3, 16);
            largest += f64::from(*few.iter().max().expect("three")) / 100.0;
            assert!(few.iter().all(|count| *count <= 13), "{few:?}");
            let many = spread(seed, 5, 1000);
            assert!(many.iter().all(|count| (140..=260).contains(count)), "{many:?}");
        }
        assert!((6.0..8.0).contains(&largest), "the busiest of 3 has {largest} of 16 shards on average");
    }

    proptest! {
        #[test]
        fn the_order_in_which_workers_are_seen_does_not_matter(
            ids in btree_set("[a-z0-9-]{1,36}", 1..12),
            name in ".{0,30}",
        ) {
            let forth = workers(&ids);
            let back: Vec<WorkerId> = forth.iter().rev().cloned().collect();
            let chosen = owner(forth.iter(), &name).expect("one");
            prop_assert_eq!(chosen, owner(back.iter(), &name).expect("one"));
            prop_assert!(forth.contains(chosen));
        }

        #[test]
        fn a_worker_that_goes_moves_only_its_own_shards(
            ids in btree_set("[a-z0-9-]{1,36}", 2..12),
            gone in any::<prop::sample::Index>(),
            shards in 1u32..200,
        ) {
            let before = workers(&ids);
            let gone = gone.get(&before);
            let left: Vec<WorkerId> = before.iter().filter(|worker| *worker != gone).cloned().collect();
            for number in 0..shards {
                let was = owner(before.iter(), &shard(number)).expect("one");
                let is = owner(left.iter(), &shard(number)).expect("one");
                prop_assert!(is == was || was == gone, "shard {} went from {} to {}", number, was, is);
            }
        }
    }
}
