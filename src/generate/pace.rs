//! The arithmetic of a rate.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// So many records a second, counted from a start: late ones are made up for, none is ever early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    rate: u64,
}

impl Pace {
    /// So many records a second; 0 for as fast as it goes.
    pub fn new(rate: u64) -> Self {
        Self { rate }
    }

    /// Records that are due, in all, this long after the start; `u64::MAX` without a rate.
    pub fn due(&self, elapsed: Duration) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        u64::try_from(elapsed.as_nanos() * u128::from(self.rate) / NANOS).unwrap_or(u64::MAX)
    }

    /// How long after the start the record number `count` (from 1) is due; zero without a rate.
    pub fn due_at(&self, count: u64) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let nanos = (u128::from(count) * NANOS).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_fall_due_at_the_rate() {
        let cases = [
            (1000, 0, 0),
            (1000, 999_999, 0),
            (1000, 1_000_000, 1),
            (1000, 1_500_000_000, 1500),
            (3, 999_999_999, 2),
            (3, 1_000_000_000, 3),
        ];
        for (rate, nanos, due) in cases {
            assert_eq!(Pace::new(rate).due(Duration::from_nanos(nanos)), due, "{rate}/s after {nanos} ns");
        }
    }

    #[test]
    fn without_a_rate_everything_is_due_at_once() {
        assert_eq!(Pace::new(0).due(Duration::ZERO), u64::MAX);
        assert_eq!(Pace::new(0).due_at(u64::MAX), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_record_is_due_from_its_time_on_and_not_before(rate in 1u64..10_000_000, count in 1u64..1_000_000_000) {
            let pace = Pace::new(rate);
            let at = pace.due_at(count);
            prop_assert!(pace.due(at) >= count);
            prop_assert!(pace.due(at - Duration::from_nanos(1)) < count);
        }
    }
}
