//! The position algebra: what a batch covers, and whether two stretches join.
//!
//! A range is `(after, through]` in one shard: `after` is exclusive, and none means the shard's beginning in this
//! chain; `through` is inclusive. The algebra is pure, total and all-or-nothing:
//!
//! | so far        | next          | joined        |
//! |---------------|---------------|---------------|
//! | none          | `(-, 5]`      | `(-, 5]`      |
//! | `(-, 5]`      | `(5, 9]`      | `(-, 9]`      |
//! | `(-, 5]`      | `(7, 9]`      | gap: 5 is not 7 |
//! | `(-, 5]`      | `(3, 9]`      | overlap: 5 is not 3 |
//! | `(-, 5]`      | `(-, 9]`      | overlap: 5 is not the beginning |
//! | any           | `(9, 9]`      | empty: nothing lies between |
//! | any           | `(9, 4]`      | backwards     |
//!
//! A range is cut after a position; the pieces join to the whole:
//!
//! | range    | cut after     | first    | second   |
//! |----------|---------------|----------|----------|
//! | `(2, 9]` | 5             | `(2, 5]` | `(5, 9]` |
//! | `(-, 9]` | 5             | `(-, 5]` | `(5, 9]` |
//! | `(2, 9]` | 9 or later    | `(2, 9]` | nothing  |
//! | `(2, 9]` | 2 or earlier  | nothing  | `(2, 9]` |
//! | `(2, 9]` | nowhere       | nothing  | `(2, 9]` |

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::position::{Position, ShardId};

/// A stretch of one shard, `(after, through]`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Exclusive; none is the shard's beginning in this chain.
    pub after: Option<Position>,
    /// Inclusive.
    pub through: Position,
}

/// Why two stretches do not join. Both bounds named are of the shard in question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The range holds no position or runs backwards.
    #[error("{shard}: the range {range:?} holds no position")]
    Empty {
        /// The shard.
        shard: ShardId,
        /// The range.
        range: Range,
    },
    /// The range does not start where the shard stands.
    #[error(
        "{shard}: the range starts after {} (exclusive), but the shard stands at {} (inclusive)",
        at(after),
        at(position)
    )]
    NotContiguous {
        /// The shard.
        shard: ShardId,
        /// Where the shard stands, inclusive.
        position: Option<Position>,
        /// Where the range starts, exclusive.
        after: Option<Position>,
    },
}

fn at(position: &Option<Position>) -> String {
    position.as_ref().map_or_else(|| "its beginning".to_owned(), Position::to_string)
}

impl Range {
    /// The stretch `(after, through]`.
    pub fn new(after: Option<Position>, through: Position) -> Self {
        Self { after, through }
    }

    fn is_empty(&self) -> bool {
        self.after.as_ref().is_some_and(|after| *after >= self.through)
    }

    fn cut_after(self, end: Option<&Position>) -> (Option<Self>, Option<Self>) {
        match end {
            Some(end) if *end >= self.through => (Some(self), None),
            Some(end) if self.after.as_ref().is_none_or(|after| end > after) => {
                (Some(Self::new(self.after, end.clone())), Some(Self::new(Some(end.clone()), self.through)))
            }
            _ => (None, Some(self)),
        }
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            Some(after) => write!(formatter, "({after}, {}]", self.through),
            None => write!(formatter, "(-, {}]", self.through),
        }
    }
}

/// One range for each shard that a batch touches.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(BTreeMap<ShardId, Range>);

impl Ranges {
    /// No shard touched.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no shard is touched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many shards are touched.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The shard's range, where the batch touches it.
    pub fn get(&self, shard: &ShardId) -> Option<&Range> {
        self.0.get(shard)
    }

    /// The shards with their ranges, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ShardId, &Range)> {
        self.0.iter()
    }

    /// Joins one more stretch of a shard onto what is here.
    ///
    /// # Errors
    /// [`RangeError`], and then nothing has changed: for an empty range, a gap or an overlap.
    pub fn extend(&mut self, shard: &ShardId, range: Range) -> Result<(), RangeError> {
        if range.is_empty() {
            return Err(RangeError::Empty { shard: shard.clone(), range });
        }
        let Some(present) = self.0.get_mut(shard) else {
            self.0.insert(shard.clone(), range);
            return Ok(());
        };
        if range.after.as_ref() != Some(&present.through) {
            let position = Some(present.through.clone());
            return Err(RangeError::NotContiguous { shard: shard.clone(), position, after: range.after });
        }
        present.through = range.through;
        Ok(())
    }

    /// Checks that every range starts exactly where its shard stands in `positions`.
    ///
    /// # Errors
    /// [`RangeError`] for the first shard, by name, that does not fit.
    pub fn follow(&self, positions: &BTreeMap<ShardId, Position>) -> Result<(), RangeError> {
        for (shard, range) in &self.0 {
            if range.is_empty() {
                return Err(RangeError::Empty { shard: shard.clone(), range: range.clone() });
            }
            let position = positions.get(shard);
            if range.after.as_ref() != position {
                let (shard, after) = (shard.clone(), range.after.clone());
                return Err(RangeError::NotContiguous { shard, position: position.cloned(), after });
            }
        }
        Ok(())
    }

    /// Cuts each shard's range after the position that `ends` gives for it; see the module's header.
    pub fn cut_after(self, ends: &BTreeMap<ShardId, Position>) -> (Self, Self) {
        let (mut first, mut second) = (Self::new(), Self::new());
        for (shard, range) in self.0 {
            let (before, after) = range.cut_after(ends.get(&shard));
            first.0.extend(before.map(|range| (shard.clone(), range)));
            second.0.extend(after.map(|range| (shard, range)));
        }
        (first, second)
    }

    /// Moves `positions` to the end of every range. Call [`Ranges::follow`] first.
    pub fn advance(&self, positions: &mut BTreeMap<ShardId, Position>) {
        for (shard, range) in &self.0 {
            positions.insert(shard.clone(), range.through.clone());
        }
    }
}

impl fmt::Debug for Ranges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.0.iter().map(|(shard, range)| (shard.as_str(), range))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(number: u64) -> Position {
        Position::new(number.into(), 0)
    }

    fn range(after: Option<u64>, through: u64) -> Range {
        Range::new(after.map(at), at(through))
    }

    fn shard() -> ShardId {
        ShardId::new("shardId-0")
    }

    fn joined(next: Range) -> Result<Range, RangeError> {
        let mut ranges = Ranges::new();
        ranges.extend(&shard(), range(None, 5)).expect("the first always fits");
        ranges.extend(&shard(), next)?;
        Ok(ranges.get(&shard()).expect("present").clone())
    }

    #[test]
    fn the_table_of_cases() {
        assert_eq!(joined(range(Some(5), 9)), Ok(range(None, 9)));
        for (after, words) in [(Some(7), "starts after 7"), (Some(3), "starts after 3"), (None, "its beginning")] {
            let error = joined(range(after, 9)).expect_err("does not join").to_string();
            assert!(error.contains(words) && error.contains("stands at 5 (inclusive)"), "{error}");
        }
        for through in [9, 4] {
            let error = joined(range(Some(9), through)).expect_err("empty");
            assert!(matches!(error, RangeError::Empty { .. }), "{error}");
        }
    }

    #[test]
    fn the_table_of_cuts() {
        let whole = (None, Some(range(Some(2), 9)));
        let cases = [
            (Some(2), Some(5), (Some(range(Some(2), 5)), Some(range(Some(5), 9)))),
            (None, Some(5), (Some(range(None, 5)), Some(range(Some(5), 9)))),
            (Some(2), Some(9), (Some(range(Some(2), 9)), None)),
            (Some(2), Some(10), (Some(range(Some(2), 9)), None)),
            (Some(2), Some(2), whole.clone()),
            (Some(2), Some(1), whole.clone()),
            (Some(2), None, whole),
        ];
        for (after, end, expected) in cases {
            let mut ranges = Ranges::new();
            ranges.extend(&shard(), range(after, 9)).expect("the first always fits");
            let ends = end.map(|end| (shard(), at(end))).into_iter().collect();
            let (first, second) = ranges.cut_after(&ends);
            assert_eq!((first.get(&shard()).cloned(), second.get(&shard()).cloned()), expected, "{after:?} {end:?}");
        }
    }

    #[test]
    fn a_range_may_end_inside_an_aggregate() {
        let inside = Position::new(9.into(), 3);
        let rest = Range::new(Some(inside.clone()), at(10));
        let mut ranges = Ranges::new();
        ranges.extend(&shard(), Range::new(None, inside)).expect("first");
        ranges.extend(&shard(), rest).expect("joins inside the aggregate");
    }

    #[test]
    fn one_shard_that_does_not_fit_refuses_the_whole() {
        let mut ranges = Ranges::new();
        ranges.extend(&ShardId::new("a"), range(None, 5)).expect("first");
        ranges.extend(&ShardId::new("b"), range(Some(3), 5)).expect("first");
        assert!(ranges.follow(&BTreeMap::new()).is_err());
        assert!(ranges.follow(&BTreeMap::from([(ShardId::new("b"), at(3))])).is_ok());
    }

    proptest! {
        #[test]
        fn any_cut_of_a_shard_joins_back_to_the_whole(cuts in proptest::collection::btree_set(1u64..1000, 1..20)) {
            let mut ranges = Ranges::new();
            let mut positions = BTreeMap::new();
            let mut after = None;
            for cut in &cuts {
                let piece = range(after, *cut);
                let mut single = Ranges::new();
                single.extend(&shard(), piece.clone()).expect("first");
                single.follow(&positions).expect("contiguous");
                single.advance(&mut positions);
                ranges.extend(&shard(), piece).expect("contiguous");
                after = Some(*cut);
            }
            let last = *cuts.last().expect("one at least");
            prop_assert_eq!(ranges.get(&shard()), Some(&range(None, last)));
            prop_assert_eq!(positions.get(&shard()), Some(&at(last)));
        }
    }
}
