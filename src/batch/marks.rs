//! What becomes known of shards beyond the positions: that one has ended, that records were lost, that nothing is unread.
//!
//! Owns the marks of a batch and their JSON form in a journal entry. They are as true as the ranges beside them: by the
//! entry that holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

use super::position::{Position, ShardId};

/// What a batch knows of its shards beyond the ranges that it read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Shards that are read to their end: closed by a split or a merge, and nothing of them is unread.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ended: BTreeSet<ShardId>,
    /// Everything that the shard took before this time is read, ms since 1970 UTC.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub caught_up: BTreeMap<ShardId, i64>,
    /// Records that the stream dropped before they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
}

/// A stretch of a shard that passed the stream's retention before it was read: what stood there, if anything, is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// The shard.
    pub shard: ShardId,
    /// The last position that was read before the gap, exclusive; none where nothing of the shard was read.
    pub after: Option<Position>,
    /// The first record after the gap, exclusive; none where nothing was left.
    pub next: Option<Position>,
    /// What arrived from here on, ms since 1970 UTC …
    pub from: i64,
    /// … until here is lost, ms since 1970 UTC.
    pub to: i64,
}

impl fmt::Display for Loss {
    /// What happened, where and when.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, after, next, from, to } = self;
        let after = after.as_ref().map_or("its beginning".to_owned(), Position::to_string);
        let until = next.as_ref().map_or("its end".to_owned(), Position::to_string);
        let from = if *from == 0 { "a time that is not known".to_owned() } else { time(*from) };
        write!(
            formatter,
            "{shard}: the stream dropped records before they were read: what stood after {after} and before {until}, \
             arrived from {from} to {}, is lost",
            time(*to)
        )
    }
}

fn time(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis);
    time.map_or_else(|| format!("{millis} ms"), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

impl Marks {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.caught_up.is_empty() && self.losses.is_empty()
    }

    /// Adds what `later` knows.
    pub fn extend(&mut self, later: &Self) {
        self.ended.extend(later.ended.iter().cloned());
        self.losses.extend(later.losses.iter().cloned());
        for (shard, time) in &later.caught_up {
            self.catch_up(shard, *time);
        }
    }

    /// Notes that everything before this time is read (ms since 1970 UTC); it never goes back.
    pub fn catch_up(&mut self, shard: &ShardId, time: i64) {
        match self.caught_up.get_mut(shard) {
            Some(known) => *known = time.max(*known),
            None => drop(self.caught_up.insert(shard.clone(), time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_add_up_and_a_time_never_goes_back() {
        let shard = ShardId::new;
        let loss = Loss { shard: shard("a"), after: None, next: None, from: 1, to: 2 };
        let mut marks = Marks::default();
        assert!(marks.is_empty());
        marks.catch_up(&shard("a"), 5);
        let later = Marks {
            ended: BTreeSet::from([shard("b")]),
            caught_up: BTreeMap::from([(shard("a"), 3), (shard("b"), 9)]),
            losses: vec![loss.clone()],
        };
        marks.extend(&later);
        assert_eq!(marks.caught_up, BTreeMap::from([(shard("a"), 5), (shard("b"), 9)]));
        assert_eq!((marks.ended.len(), marks.losses.as_slice()), (1, [loss].as_slice()));
        assert!(!marks.is_empty());
    }
}
