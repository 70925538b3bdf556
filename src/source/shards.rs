//! Which shards can be read now, from where, and which must wait for their parents.
//!
//! Owns the order across splits and merges: pure, of what the stream lists and what the journal knows. It does not say
//! who reads a shard, nor when the listing is asked for again: that is the engine's. A partition key's records stay in
//! their order, because a child begins only when its parents are read to their end:
//!
//! | the shard is …                                                   | then                                         |
//! |------------------------------------------------------------------|----------------------------------------------|
//! | listed, ended                                                    | never read again                             |
//! | listed, a parent of it listed and not ended                      | waits (a merged child for both)              |
//! | listed, its parents ended or listed no more, with a position     | ready after it, closed or not                |
//! | the same without a position, there when the chain opened         | ready at the opening's `start`               |
//! | the same without a position, come later, or no chain opened yet  | ready at its beginning, whatever `start` says |
//! | not listed, known (by a position or by the opening), not ended   | vanished: past retention before it was read  |
//! | not listed, not ended, unknown, parent of an unread later comer  | vanished too: it came and went unseen        |
//!
//! An opening of format 1 does not say which shards were there then: all count as such. A `start` in the future is
//! about the shards that were there when the chain opened; one that comes before that time is read from its beginning
//! all the same: too much rather than too little. Parents that lead back to the shard itself (no stream lists such)
//! do not hold it up: reading out of order is better than waiting for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use crate::batch::{Opening, Position, ShardId, StartAt};

/// What the journal knows.
///
/// `ended` must hold a shard for as long as the stream may list a child of it that is not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// How the chain opened; none before its first entry.
    pub opening: Option<&'a Opening>,
    /// The last position that was read of each shard.
    pub positions: &'a BTreeMap<ShardId, Position>,
    /// The shards that are read to their end, or given up.
    pub ended: &'a BTreeSet<ShardId>,
}

/// What to do with each shard; lists are in the order of the shards' names.
#[derive(Debug, Default)]
pub struct ShardPlan {
    /// May be read now.
    pub ready: Vec<(Shard, StartAt)>,
    /// Must wait, by the parents that are listed and not ended yet.
    pub waiting: BTreeMap<ShardId, Vec<ShardId>>,
    /// How many are listed and read to their end.
    pub ended: usize,
    /// Listed no more, and past retention before they were read to their end.
    pub vanished: Vec<ShardId>,
}

/// Lays out the shards by the table above, in O(n log n).
pub fn plan(listed: &[Shard], known: &Known<'_>) -> ShardPlan {
    let by_name: BTreeMap<&ShardId, &Shard> = listed.iter().map(|shard| (&shard.id, shard)).collect();
    let holds_up = |parent: &ShardId| by_name.contains_key(parent) && !known.ended.contains(parent);
    let mut plan = ShardPlan { vanished: vanished(&by_name, known), ..ShardPlan::default() };
    for shard in by_name.values() {
        if known.ended.contains(&shard.id) {
            plan.ended += 1;
            continue;
        }
        let parents: Vec<ShardId> = shard.parents.iter().filter(|parent| holds_up(parent)).cloned().collect();
        if !parents.is_empty() {
            plan.waiting.insert(shard.id.clone(), parents);
        }
    }
    for shard in in_circles(&plan.waiting) {
        plan.waiting.remove(&shard);
    }
    let is_ready = |shard: &&&Shard| !known.ended.contains(&shard.id) && !plan.waiting.contains_key(&shard.id);
    let ready = by_name.values().filter(is_ready);
    plan.ready = ready.map(|shard| ((*shard).clone(), known.start(&shard.id))).collect();
    plan
}

impl Known<'_> {
    fn start(&self, shard: &ShardId) -> StartAt {
        match (self.positions.get(shard), self.opening) {
            (Some(position), _) => StartAt::After(position.clone()),
            (None, Some(opening)) if !self.came_later(shard) => opening.start.clone(),
            (None, _) => StartAt::TrimHorizon,
        }
    }

    /// Whether the shard is known to have come after the chain opened.
    fn came_later(&self, shard: &ShardId) -> bool {
        let then = self.opening.and_then(|opening| opening.shards.as_ref());
        then.is_some_and(|shards| !shards.contains(shard))
    }

    /// Whether nothing of it has been read.
    fn is_unread(&self, shard: &ShardId) -> bool {
        !self.positions.contains_key(shard) && !self.ended.contains(shard)
    }
}

fn vanished(by_name: &BTreeMap<&ShardId, &Shard>, known: &Known<'_>) -> Vec<ShardId> {
    let at_opening = known.opening.and_then(|opening| opening.shards.as_ref()).into_iter().flatten();
    // A later comer's parents were open after the chain had begun: not ended, they hold something that was not read.
    let later_comers = by_name.values().filter(|shard| known.came_later(&shard.id) && known.is_unread(&shard.id));
    let candidates = known.positions.keys().chain(at_opening).chain(later_comers.flat_map(|shard| &shard.parents));
    let vanished: BTreeSet<&ShardId> =
        candidates.filter(|shard| !by_name.contains_key(shard) && !known.ended.contains(shard)).collect();
    vanished.into_iter().cloned().collect()
}

/// One shard of each circle of parents: found by walking from child to parent until the walk meets itself.
fn in_circles(waiting: &BTreeMap<ShardId, Vec<ShardId>>) -> BTreeSet<ShardId> {
    let mut found = BTreeSet::new();
    // By shard, whether the walk still stands on it.
    let mut on_path: BTreeMap<&ShardId, bool> = BTreeMap::new();
    for (shard, parents) in waiting {
        if on_path.contains_key(shard) {
            continue;
        }
        on_path.insert(shard, true);
        let mut path = vec![(shard, parents.iter())];
        while let Some((child, parents_left)) = path.last_mut() {
            let Some(parent) = parents_left.next() else {
                on_path.insert(child, false);
                path.pop();
                continue;
            };
            match (waiting.get(parent), on_path.get(parent)) {
                (_, Some(true)) => drop(found.insert((*child).clone())),
                (Some(further), None) => {
                    on_path.insert(parent, true);
                    path.push((parent, further.iter()));
                }
                (None, None) | (_, Some(false)) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
