//! What may go wrong with a request to Kinesis, and a plan, drawn from a seed, of which request meets what.

use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Not passed on, refused for a limit.
    Throttled,
    /// Not passed on, answered with 500.
    Failed,
    /// Not passed on, answered with 503.
    Unavailable,
    /// Not passed on, the connection reset.
    Reset,
    /// Passed on, the connection reset without the answer.
    Unanswered,
    /// Passed on, answered with 500 all the same.
    AppliedButFailed,
    /// Passed on, the connection closed in the middle of the answer.
    Torn,
    /// Passed on late.
    Slow,
    /// Some records of a put passed on, the others refused.
    Partly,
    /// Not passed on, the iterator called too old.
    ExpiredIterator,
}

/// Every request can meet these.
const ANY: [Fault; 8] = [
    Fault::Throttled,
    Fault::Failed,
    Fault::Unavailable,
    Fault::Reset,
    Fault::Unanswered,
    Fault::AppliedButFailed,
    Fault::Torn,
    Fault::Slow,
];

/// The plan: the same seed gives the same faults to the same requests in the same order.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    random: ChaCha8Rng,
    percent: u32,
}

impl Plan {
    /// No request meets a fault.
    pub(crate) fn calm() -> Self {
        Self::seeded(0, 0)
    }

    /// So many requests of a hundred meet one, and twice as many puts: there are fewer of them.
    pub(crate) fn seeded(seed: u64, percent: u32) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), percent }
    }

    /// What the next request, of this operation, meets.
    pub(super) fn next(&mut self, operation: &str) -> Option<Fault> {
        let percent = if operation == "PutRecords" { self.percent * 2 } else { self.percent };
        if !self.random.random_ratio(percent, 100) {
            return None;
        }
        let own = match operation {
            "PutRecords" => Some(Fault::Partly),
            "GetRecords" => Some(Fault::ExpiredIterator),
            _ => None,
        };
        // As often as two others, where it can be: these have code of their own.
        let choices: Vec<Fault> = ANY.into_iter().chain(own).chain(own).collect();
        choices.choose(&mut self.random).copied()
    }

    /// How late a slow request is passed on.
    pub(super) fn delay(&mut self) -> Duration {
        Duration::from_millis(self.random.random_range(20..400))
    }

    /// Which of so many records of a put are refused: at least one.
    pub(super) fn refused(&mut self, records: usize) -> Vec<bool> {
        let mut refused: Vec<bool> = (0..records).map(|_| self.random.random_ratio(1, 4)).collect();
        let one = self.random.random_range(0..records.max(1));
        if let Some(record) = refused.get_mut(one) {
            *record = true;
        }
        refused
    }
}

mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_fixes_the_plan_and_each_fault_has_its_turn() {
        let draw = |seed, operation| {
            let mut plan = Plan::seeded(seed, 20);
            (0..2_000).map(|_| plan.next(operation)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "PutRecords"), draw(7, "PutRecords"));
        assert_ne!(draw(7, "PutRecords"), draw(8, "PutRecords"));
        for (operation, kinds, least) in [("PutRecords", 9, 700), ("GetRecords", 9, 300), ("ListShards", 8, 300)] {
            let mut counts: BTreeMap<Fault, u32> = BTreeMap::new();
            draw(1, operation).into_iter().flatten().for_each(|fault| *counts.entry(fault).or_default() += 1);
            assert_eq!(counts.len(), kinds, "{operation}: {counts:?}");
            assert!((least..least + 200).contains(&counts.values().sum::<u32>()), "{counts:?}");
        }
        assert_eq!((0..100).find_map(|_| Plan::calm().next("GetRecords")), None);
        assert!((0..100).all(|_| Plan::calm().refused(3).contains(&true)));
    }
}
