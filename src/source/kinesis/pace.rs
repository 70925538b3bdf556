//! When a reader may call again: pure, of the settings, the clock and the last answer.
//!
//! | the last answer                          | the next call comes after                                            |
//! |------------------------------------------|----------------------------------------------------------------------|
//! | had records, nothing more is there       | `poll_interval`                                                      |
//! | was empty, nothing more is there         | twice as long each time, from `poll_interval` up to `idle_interval`  |
//! | leaves more to fetch                     | `catch_up_interval`                                                  |
//! | any, with limits                         | at least what its call and its bytes cost                            |
//! | any, throttled not long ago              | stretched: twice with each throttled call, less with each answer     |
//!
//! All count from the moment that the call was made, so that an answer's own time is not waited for twice.

use std::time::Duration;

use super::connection::{KinesisSettings, ReadLimits};

/// Others poll the shard too: at most so many times slower.
const MOST_STRETCH: f64 = 8.0;
/// What an answer leaves of the stretch.
const EASING: f64 = 0.9;
/// The least that is stretched: a full speed without pauses has nothing else to stretch.
const LEAST_STRETCHED: Duration = Duration::from_millis(25);

/// A reader's pace.
#[derive(Debug)]
pub(super) struct Pace {
    usual: Duration,
    idle: Duration,
    catch_up: Duration,
    limits: Option<ReadLimits>,
    /// The next pause at the tip where the answer is empty.
    quiet: Duration,
    stretch: f64,
    rest: Option<Rest>,
}

/// No call before `until`, µs since 1970 UTC. `at_most` bounds the wait where the clock is set back.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: i64,
    at_most: Duration,
}

/// What of an answer sets the pace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetched {
    /// Its records, before they are taken apart.
    pub(super) records: usize,
    /// Their bytes as the service counts them.
    pub(super) bytes: u64,
    /// Whether it leaves more to fetch.
    pub(super) is_behind: bool,
}

impl Pace {
    pub(super) fn new(settings: &KinesisSettings) -> Self {
        let KinesisSettings { poll_interval, idle_interval, catch_up_interval, limits, .. } = *settings;
        Self {
            usual: poll_interval,
            idle: idle_interval.max(poll_interval),
            catch_up: catch_up_interval,
            limits,
            quiet: poll_interval,
            stretch: 1.0,
            rest: None,
        }
    }

    /// How long to wait now.
    pub(super) fn left(&self, now: i64) -> Option<Duration> {
        let Rest { until, at_most } = self.rest?;
        let left = u64::try_from(until.saturating_sub(now)).ok().filter(|left| *left > 0)?;
        Some(Duration::from_micros(left).min(at_most))
    }

    /// No call before this pause is over.
    pub(super) fn rest(&mut self, from: i64, pause: Duration) {
        let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        self.rest = Some(Rest { until: from.saturating_add(micros), at_most: pause });
    }

    /// A call is about to be made; one that is dropped half-way counts too.
    pub(super) fn call(&mut self, now: i64) {
        self.rest(now, self.stretched(self.usual));
    }

    /// A call was refused because a limit was reached: somebody else reads the shard too.
    pub(super) fn throttled(&mut self) {
        self.stretch = (self.stretch * 2.0).min(MOST_STRETCH);
    }

    /// The call that was made at `asked_at` has its answer.
    pub(super) fn answered(&mut self, asked_at: i64, fetched: Fetched) {
        let Fetched { records, bytes, is_behind } = fetched;
        let is_idle = records == 0 && !is_behind;
        let wanted = match (is_behind, is_idle) {
            (true, _) => self.catch_up,
            (_, true) => self.quiet,
            _ => self.usual,
        };
        self.quiet = if is_idle { self.quiet.saturating_mul(2).min(self.idle) } else { self.usual };
        let cost = self.limits.map_or(Duration::ZERO, |limits| limits.cost(bytes));
        let pause = self.stretched(wanted.max(cost));
        self.stretch = (self.stretch * EASING).max(1.0);
        self.rest(asked_at, pause);
    }

    fn stretched(&self, interval: Duration) -> Duration {
        if self.stretch <= 1.0 {
            return interval;
        }
        interval.max(LEAST_STRETCHED).mul_f64(self.stretch)
    }
}

impl ReadLimits {
    /// How long a call with so many bytes in its answer takes up the shard's limits.
    fn cost(&self, bytes: u64) -> Duration {
        let calls = Duration::from_secs(1) / self.calls_per_second.max(1);
        let bytes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.max(1) as f64);
        calls.max(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: Fetched = Fetched { records: 0, bytes: 0, is_behind: false };
    const SOME: Fetched = Fetched { records: 3, bytes: 300, is_behind: false };
    const FULL: Fetched = Fetched { records: 10_000, bytes: 10 * 1024 * 1024, is_behind: true };

    fn pace(limits: Option<ReadLimits>) -> Pace {
        let settings = KinesisSettings::local("http://127.0.0.1:1", "orders");
        Pace::new(&KinesisSettings { idle_interval: Duration::from_secs(1), limits, ..settings })
    }

    /// The pauses in ms after these answers, each call made as soon as it may be.
    fn pauses(pace: &mut Pace, answers: &[Fetched]) -> Vec<u128> {
        let mut now = 0;
        let pause = |fetched: &Fetched| {
            pace.answered(now, *fetched);
            let left = pace.left(now).unwrap_or_default();
            now += left.as_micros() as i64;
            left.as_millis()
        };
        answers.iter().map(pause).collect()
    }

    #[test]
    fn an_idle_shard_is_asked_less_and_less_often_until_a_record_comes() {
        let answers = [SOME, IDLE, IDLE, IDLE, IDLE, IDLE, SOME, IDLE, IDLE];
        assert_eq!(pauses(&mut pace(None), &answers), [200, 200, 400, 800, 1_000, 1_000, 200, 200, 400]);
    }

    #[test]
    fn who_is_behind_goes_at_full_speed_or_as_fast_as_the_limits_allow() {
        let small = Fetched { bytes: 1_000, ..FULL };
        let on_the_way = Fetched { records: 0, bytes: 0, is_behind: true };
        let answers = [FULL, small, on_the_way];
        assert_eq!(pauses(&mut pace(None), &answers), [0, 0, 0]);
        assert_eq!(pauses(&mut pace(Some(ReadLimits::KINESIS)), &answers), [5_000, 200, 200]);
    }

    #[test]
    fn throttling_stretches_the_pauses_and_answers_shrink_them_again() {
        let mut pace = pace(None);
        pace.throttled();
        pace.throttled();
        let stretched = pauses(&mut pace, &[SOME; 20]);
        assert_eq!((stretched[0], stretched[1], stretched[19]), (800, 720, 200));
        assert!(stretched.windows(2).all(|pair| pair[1] <= pair[0]), "{stretched:?}");
        for _ in 0..10 {
            pace.throttled();
        }
        assert_eq!(pauses(&mut pace, &[SOME])[0], 1_600, "at most eight times");
        assert!(pauses(&mut pace, &[FULL])[0] > 100, "full speed too");
    }

    #[test]
    fn a_call_that_is_dropped_counts_and_a_clock_set_back_holds_nobody_up() {
        let mut pace = pace(None);
        assert_eq!(pace.left(1_000_000), None);
        pace.call(1_000_000);
        assert_eq!(pace.left(1_050_000), Some(Duration::from_millis(150)));
        assert_eq!(pace.left(1_200_000), None);
        assert_eq!(pace.left(0), Some(Duration::from_millis(200)), "not for the second that the clock lost");
    }

    proptest! {
        #[test]
        fn no_shard_is_asked_more_often_than_its_limits_allow(
            answers in proptest::collection::vec((0..11_000_000u64, any::<bool>(), any::<bool>()), 1..60)
        ) {
            let mut pace = pace(Some(ReadLimits::KINESIS));
            let (mut now, mut bytes) = (0i64, 0u64);
            for (index, (size, is_behind, is_throttled)) in answers.iter().enumerate() {
                let seconds = now as f64 / 1e6;
                prop_assert!(index as f64 <= seconds * 5.0 + 1e-3, "call {index} at {seconds} s");
                prop_assert!(bytes as f64 <= seconds * 2.0 * 1048576.0 + 100.0, "{bytes} bytes in {seconds} s");
                if *is_throttled {
                    pace.throttled();
                }
                pace.answered(now, Fetched { records: 1, bytes: *size, is_behind: *is_behind });
                bytes += size;
                now += pace.left(now).unwrap_or_default().as_micros() as i64;
            }
        }
    }
}
