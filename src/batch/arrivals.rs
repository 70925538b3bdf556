//! When the records of a batch arrived: enough for percentiles of how long they have waited, and small however long a
//! batch took to arrive, so that it can be kept until the batch is loaded.
//!
//! The newest arrival is kept as it is, the others by how much older they are, in a log-scaled histogram: so a wait is
//! right to within 1 % of itself.

use hdrhistogram::Histogram;

/// No stream keeps a record longer; what is older counts as this old.
const YEAR_MS: u64 = 366 * 86_400_000;

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(Option<Seen>);

#[derive(Clone, Debug)]
struct Seen {
    /// Ms since 1970 UTC.
    newest: i64,
    /// How much older each is, in ms. Two significant digits: 4,000 counters of 4 bytes at most.
    ages: Histogram<u32>,
}

impl Arrivals {
    /// Of records that arrived at these times, µs since 1970 UTC.
    pub fn of(arrived_at: impl Iterator<Item = i64> + Clone) -> Self {
        let millis = arrived_at.map(|micros| micros.div_euclid(1000));
        let Some((newest, mut ages)) = millis.clone().max().zip(Histogram::new(2).ok()) else { return Self(None) };
        for milli in millis {
            // Refused only where a counter's place cannot be made, and every age up to a year has one.
            let _ = ages.record(newest.abs_diff(milli).min(YEAR_MS));
        }
        Self(Some(Seen { newest, ages }))
    }

    /// How long the records have waited at `now`, as (ms, count), the shortest wait first; what arrives later than `now`
    /// has not waited.
    pub fn waits(&self, now_ms: i64) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().flat_map(move |seen| {
            let wait = move |age: u64| {
                let age = i64::try_from(seen.ages.median_equivalent(age)).unwrap_or(i64::MAX);
                u64::try_from(now_ms.saturating_sub(seen.newest).saturating_add(age)).unwrap_or(0)
            };
            let counted = seen.ages.iter_recorded();
            counted.map(move |step| (wait(step.value_iterated_to()), step.count_since_last_iteration()))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The waits that so many records, in percent, do not exceed: of the histogram, and of all waits one by one.
    fn percentiles(arrivals: &Arrivals, arrived_at: &[i64], now: i64) -> [(u64, u64); 4] {
        let mut exact: Vec<u64> = arrived_at.iter().map(|micros| now.abs_diff(micros.div_euclid(1000))).collect();
        exact.sort_unstable();
        let counted: Vec<(u64, u64)> = arrivals.waits(now).collect();
        [1, 50, 90, 99].map(|percent| {
            let rank = (exact.len() * percent).div_ceil(100).max(1);
            let mut left = rank as u64;
            let found = counted.iter().find(|(_, count)| {
                let is_there = left <= *count;
                left = left.saturating_sub(*count);
                is_there
            });
            (found.expect("as many as there are").0, exact[rank - 1])
        })
    }

    #[test]
    fn a_catch_up_over_millions_of_milliseconds_is_as_small_as_a_short_one() {
        let counters = |arrivals: &Arrivals| arrivals.0.as_ref().expect("some").ages.distinct_values();
        let day = 86_400_000_i64;
        let of = |step: usize, most: i64| Arrivals::of((0..most).step_by(step).map(|milli| milli * 1000));
        let (hour, days, months) = (of(1, 3_600_000), of(61, 7 * day), of(10_007, 365 * day));
        assert_eq!(days.waits(0).map(|(_, count)| count).sum::<u64>(), 7 * day as u64 / 61 + 1);
        assert!(counters(&hour) < counters(&days) && counters(&days) < counters(&months));
        assert!(counters(&months) <= 4_000, "{}", counters(&months));
        assert!(counters(&of(1, 100)) <= 256, "and a batch that has just arrived costs a kilobyte");
    }

    #[test]
    fn nothing_has_arrived_and_nothing_waits() {
        assert_eq!(Arrivals::default().waits(7).count(), 0);
        assert_eq!(Arrivals::of(std::iter::empty()).waits(7).count(), 0);
        let two = Arrivals::of([4_999, 1_000].into_iter());
        assert_eq!(two.waits(10).collect::<Vec<_>>(), [(6, 1), (9, 1)]);
        assert_eq!(two.waits(2).collect::<Vec<_>>(), [(0, 1), (1, 1)], "a clock that is behind");
    }

    proptest! {
        #[test]
        fn percentiles_are_right_to_within_a_hundredth(
            first in 0..1_800_000_000_000_000_i64,
            steps in prop::collection::vec(0..3_000_000_000_i64, 1..400),
            later in 0..100_000_i64,
        ) {
            let arrived_at: Vec<i64> = steps.iter().map(|step| first + step * step % 86_400_000_000).collect();
            let newest = arrived_at.iter().max().expect("one").div_euclid(1000);
            let arrivals = Arrivals::of(arrived_at.iter().copied());
            for (found, exact) in percentiles(&arrivals, &arrived_at, newest + later) {
                prop_assert!(found.abs_diff(exact) * 100 <= exact, "{found} for {exact}");
            }
        }
    }
}
