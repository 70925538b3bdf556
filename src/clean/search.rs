//! The order in which a search looks for the rows that something fails on, by halving, in a bounded number of tries.
//!
//! Owns which stretch of rows is tried next and when a failing one is given up on. It tries nothing itself.

use std::ops::Range;

/// Rows that may be found failing alone, after which the rest is no longer halved.
pub(super) const MAX_ALONE: usize = 64;

/// Pieces of that rest, each tried once.
const PIECES: usize = 64;

/// The stretches of so many rows that are still to be tried.
pub(super) struct Search {
    rows: usize,
    /// The next one last. Together they are what is left from some row to the end.
    left: Vec<Range<usize>>,
    alone: usize,
}

impl Search {
    /// A search over rows that fail as a whole, or may.
    pub(super) fn new(rows: usize) -> Self {
        Self { rows, left: std::iter::once(0..rows).collect(), alone: 0 }
    }

    /// The stretch to be tried next; none at the end.
    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        self.left.pop()
    }

    /// Takes in that the stretch given last fails: true where its rows are to be refused, all of them; false where
    /// its halves come next.
    pub(super) fn gives_up(&mut self, failed: &Range<usize>) -> bool {
        if self.alone >= MAX_ALONE {
            return true;
        }
        if failed.len() > 1 {
            let middle = failed.start + failed.len() / 2;
            self.left.extend([middle..failed.end, failed.start..middle]);
            return false;
        }
        self.alone += 1;
        if self.alone >= MAX_ALONE {
            let piece = (self.rows - failed.end).div_ceil(PIECES).max(1);
            let pieces = (failed.end..self.rows).step_by(piece).rev();
            self.left = pieces.map(|start| start..(start + piece).min(self.rows)).collect();
        }
        true
    }
}

/// What the refusal of a row says beyond why its stretch fails.
pub(super) fn company(stretch: &Range<usize>) -> String {
    match stretch.len() {
        0 | 1 => String::new(),
        rows => format!(" (refused with others: {MAX_ALONE} events failed alone, then these {rows} together)"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rows refused and the tries it took, where exactly `bad` rows make a stretch fail.
    fn refused(rows: usize, bad: impl Fn(usize) -> bool) -> (Vec<usize>, usize) {
        let (mut search, mut refused, mut tries) = (Search::new(rows), Vec::new(), 0);
        while let Some(stretch) = search.next() {
            tries += 1;
            if stretch.clone().any(&bad) && search.gives_up(&stretch) {
                refused.extend(stretch);
            }
        }
        (refused, tries)
    }

    #[test]
    fn few_bad_rows_are_found_exactly() {
        let (found, tries) = refused(200_000, |row| row % 4000 == 17);
        assert_eq!(found, (0..50).map(|nth| nth * 4000 + 17).collect::<Vec<_>>());
        assert!(tries < 50 * 2 * 18, "{tries}");
    }

    #[test]
    fn where_every_row_is_bad_the_tries_are_few() {
        for rows in [1, 63, 64, 65, 20_000, 200_000] {
            let (found, tries) = refused(rows, |_| true);
            assert_eq!(found, (0..rows).collect::<Vec<_>>());
            assert!(tries <= 2 * MAX_ALONE + 18 + PIECES, "{rows}: {tries}");
        }
    }

    proptest! {
        #[test]
        fn every_bad_row_is_refused_once_and_the_tries_are_bounded(
            bad in prop::collection::btree_set(0usize..5000, 0..400),
        ) {
            let (found, tries) = refused(5000, |row| bad.contains(&row));
            prop_assert!(found.is_sorted_by(|left, right| left < right));
            prop_assert!(bad.iter().all(|row| found.binary_search(row).is_ok()));
            prop_assert!(tries <= MAX_ALONE * 2 * 13 + PIECES);
            if bad.len() <= MAX_ALONE {
                prop_assert_eq!(found, bad.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
