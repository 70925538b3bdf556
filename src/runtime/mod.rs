//! Time, randomness, tasks and retries: the only door to the clock, the dice and the scheduler. And what the process asks
//! of the system for itself.
//!
//! Everything above takes a [`Context`] and asks it; so a test or a simulation can turn the clock and fix the dice.
//! Tasks are owned by a [`Tasks`] set that joins them all; nothing is spawned and forgotten.

mod clock;
mod panics;
mod private;
mod random;
mod retry;
mod tasks;

use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use panics::{caught, caught_in};
pub use private::keep_private;
pub use random::{Dice, Random};
pub use retry::{Backoff, retry};
pub use tasks::{STACK, Tasks, blocking, on_deep_stack, on_own_threads};

/// What every step is given instead of reaching for globals.
#[derive(Clone)]
pub struct Context {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The dice.
    pub random: Random,
}

impl Context {
    /// The machine's clock and dice.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), random: Random::system() }
    }
}
