//! Retries with backoff and jitter, for errors of the kind Transient and no others.

use std::future::Future;
use std::time::Duration;

use super::Context;
use crate::error::{ErrorKind, Result};

/// How often, and how long between.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first pause; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// Tries in all, at least 1.
    pub attempts: u32,
}

impl Backoff {
    /// The pause before try `attempt` (1 is the first repeat), between half and all of its full length.
    pub fn pause(&self, attempt: u32, context: &Context) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(0.5 + context.random.fraction() / 2.0)
    }
}

/// Does `operation` until it succeeds, fails for good, or the tries are used up.
///
/// # Errors
/// The last try's.
pub async fn retry<T, F>(context: &Context, backoff: Backoff, mut operation: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut attempt = 1;
    loop {
        match operation().await {
            Err(error) if error.kind() == ErrorKind::Transient && attempt < backoff.attempts => {
                let pause = backoff.pause(attempt, context);
                tracing::debug!(%error, attempt, ?pause, "trying again");
                context.clock.sleep(pause).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::runtime::{ManualClock, Random};

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1), attempts: 4 };

    fn context() -> Context {
        Context { clock: Arc::new(ManualClock::at(0)), random: Random::seeded(1) }
    }

    async fn tries(fail_with: fn(String) -> Error, successes_from: u32) -> (u32, Result<()>) {
        let count = AtomicU32::new(0);
        let outcome = retry(&context(), BACKOFF, || async {
            let attempt = count.fetch_add(1, Ordering::SeqCst) + 1;
            if attempt >= successes_from { Ok(()) } else { Err(fail_with(format!("try {attempt}"))) }
        })
        .await;
        (count.into_inner(), outcome)
    }

    #[tokio::test]
    async fn only_transient_errors_are_tried_again() {
        let transient: fn(String) -> Error = |message| Error::transient(message);
        let corrupt: fn(String) -> Error = |message| Error::corrupt(message);
        assert!(matches!(tries(transient, 3).await, (3, Ok(()))));
        assert!(matches!(tries(transient, 9).await, (4, Err(_))));
        assert!(matches!(tries(corrupt, 3).await, (1, Err(_))));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let context = context();
        for (attempt, full) in [(1, 100), (2, 200), (3, 400), (5, 1000), (40, 1000)] {
            let pause = BACKOFF.pause(attempt, &context);
            let full = Duration::from_millis(full);
            assert!(pause >= full / 2 && pause <= full, "{attempt}: {pause:?}");
        }
    }
}
