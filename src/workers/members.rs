//! The workers that live, as one of them sees it, and which of them does what.
//!
//! Owns the answers "whose is this shard", "who reads it still" and "who loads". A value without IO: it never changes,
//! a later look gives a new one. An answer costs a hash per worker.

use std::collections::{BTreeMap, BTreeSet};

use super::heartbeat::WorkerId;
use super::rendezvous;
use crate::batch::ShardId;

/// The name that stands for loading among the shards; no shard is called so.
const LOADING: &str = "loading";

/// The live workers, this one among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Members {
    us: WorkerId,
    /// What each said last that it reads; nothing is kept for ourselves.
    reads: BTreeMap<WorkerId, BTreeSet<ShardId>>,
    /// Those of them that load no more.
    idle: BTreeSet<WorkerId>,
}

impl Members {
    /// This worker and nobody else.
    pub fn alone(id: WorkerId) -> Self {
        Self::with(id, BTreeMap::new())
    }

    /// This worker and these others, with the shards that each reads.
    pub fn with(us: WorkerId, others: BTreeMap<WorkerId, BTreeSet<ShardId>>) -> Self {
        let mut reads = others;
        reads.insert(us.clone(), BTreeSet::new());
        Self { us, reads, idle: BTreeSet::new() }
    }

    /// The same, of whom these load no more.
    pub(super) fn without_loading(self, idle: BTreeSet<WorkerId>) -> Self {
        Self { idle, ..self }
    }

    /// All that live, in the order of their ids.
    pub fn ids(&self) -> impl Iterator<Item = &WorkerId> {
        self.reads.keys()
    }

    /// The live worker that the shard goes to.
    pub fn owner(&self, shard: &ShardId) -> &WorkerId {
        self.owner_of(shard.as_str())
    }

    /// Whether the shard goes to us.
    pub fn is_ours(&self, shard: &ShardId) -> bool {
        *self.owner(shard) == self.us
    }

    /// A live worker other than us that, by its last heartbeat, still reads this shard.
    pub fn still_reads(&self, shard: &ShardId) -> Option<&WorkerId> {
        self.reads.iter().find(|(_, shards)| shards.contains(shard)).map(|(worker, _)| worker)
    }

    /// Whether loading falls to us: it goes to one of those that load.
    pub fn loads(&self) -> bool {
        rendezvous::owner(self.ids().filter(|worker| !self.idle.contains(worker)), LOADING) == Some(&self.us)
    }

    fn owner_of(&self, name: &str) -> &WorkerId {
        // We are always among them.
        rendezvous::owner(self.ids(), name).unwrap_or(&self.us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(us: &str, others: &[(&str, &[&str])]) -> Members {
        let reads = |shards: &[&str]| shards.iter().map(|shard| ShardId::new(*shard)).collect();
        let others = others.iter().map(|(id, shards)| (WorkerId::new(*id), reads(shards))).collect();
        Members::with(WorkerId::new(us), others)
    }

    #[test]
    fn a_worker_alone_owns_all_and_loads() {
        let members = Members::alone(WorkerId::new("a"));
        assert!((0..64).all(|number| members.is_ours(&ShardId::new(format!("shardId-{number:012}")))));
        assert!(members.loads());
        assert_eq!(members.still_reads(&ShardId::new("s")), None);
        assert_eq!(members.ids().map(WorkerId::as_str).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_shard_and_the_loading_are_exactly_ones_own() {
        let all = [
            members("a", &[("b", &[]), ("c", &[])]),
            members("b", &[("a", &[]), ("c", &[])]),
            members("c", &[("b", &[]), ("a", &[])]),
        ];
        for number in 0..64 {
            let shard = ShardId::new(format!("shardId-{number:012}"));
            assert_eq!(all.iter().filter(|members| members.is_ours(&shard)).count(), 1, "{shard}");
            assert!(all.iter().all(|members| members.owner(&shard) == all[0].owner(&shard)), "{shard}");
        }
        assert_eq!(all.iter().filter(|members| members.loads()).count(), 1);
    }

    #[test]
    fn every_version_lets_the_same_worker_load() {
        let loads = |us: &str, others: [(&str, &[&str]); 2]| members(us, &others).loads();
        assert!(loads("w3", [("w1", &[]), ("w2", &[])]));
        assert!(!loads("w1", [("w2", &[]), ("w3", &[])]));
        assert!(!loads("w2", [("w1", &[]), ("w3", &[])]));
    }

    #[test]
    fn whoever_loads_no_more_leaves_it_to_another_and_keeps_its_shards() {
        let all = ["w1", "w2", "w3"];
        let loads = |us: &str, idle: &[&str]| {
            let others: Vec<(&str, &[&str])> =
                all.into_iter().filter(|id| *id != us).map(|id| (id, &[] as &[&str])).collect();
            let whole = members(us, &others);
            let idle = whole.clone().without_loading(idle.iter().map(|id| WorkerId::new(*id)).collect());
            let shards = (0..64).map(|number| ShardId::new(format!("shardId-{number:012}")));
            assert!(shards.into_iter().all(|shard| idle.owner(&shard) == whole.owner(&shard)));
            idle.loads()
        };
        let loaders = |idle: &[&str]| all.into_iter().filter(|us| loads(us, idle)).collect::<Vec<_>>();
        assert_eq!(loaders(&["w1", "w2"]), ["w3"]);
        assert_eq!(loaders(&["w2"]), ["w3"], "no reason to move it");
        assert_eq!(loaders(&["w3", "w1"]), ["w2"]);
        assert_eq!(loaders(&["w3"]).len(), 1);
        assert_eq!(loaders(&all), [""; 0]);
    }

    #[test]
    fn who_still_reads_a_shard_is_another_and_said_so() {
        let members = members("b", &[("a", &["s1"]), ("b", &["s2"]), ("c", &["s1", "s3"])]);
        let reader = |shard: &str| members.still_reads(&ShardId::new(shard)).map(WorkerId::as_str);
        assert_eq!([reader("s1"), reader("s2"), reader("s3"), reader("s4")], [Some("a"), None, Some("c"), None]);
    }
}
