//! The dice: ids and jitter, from the system or from a seed.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A shared source of randomness; clones draw from the same stream.
#[derive(Clone)]
pub struct Random(Arc<Mutex<ChaCha8Rng>>);

impl Random {
    /// Seeded by the operating system.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn system() -> Self {
        Self::seeded(rand::rng().next_u64())
    }

    /// The same seed gives the same draws.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))))
    }

    /// A fresh id: a random UUID (version 4) in its usual text form.
    pub fn id(&self) -> String {
        let mut bytes = [0u8; 16];
        self.draw(|rng| rng.fill_bytes(&mut bytes));
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A number in `[0, 1)`.
    pub fn fraction(&self) -> f64 {
        self.draw(|rng| rng.random())
    }

    fn draw<T>(&self, with: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Dice of one owner, without a lock: for work that draws millions of times. The draws of a seed are the same on every
/// machine and in every version.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The same seed gives the same draws.
    pub fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number in `[0, bound)`, each equally likely but for less than one part in 2³² of `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_fall_the_same_way_everywhere() {
        let mut dice = Dice::seeded(7);
        let draws: Vec<u32> = (0..8).map(|_| dice.below(1000)).collect();
        assert_eq!(draws, [140, 157, 182, 167, 270, 704, 36, 726]);
        assert!((0..1000).all(|_| dice.below(3) < 3));
        assert_eq!(dice.below(0), 0);
    }

    #[test]
    fn a_seed_fixes_the_draws() {
        let (left, right) = (Random::seeded(7), Random::seeded(7));
        assert_eq!((left.id(), left.fraction()), (right.id(), right.fraction()));
        assert_ne!(left.id(), left.id());
    }
}
