//! Which files of a table a change rewrites, and which of its new rows go into which.
//!
//! Pure. Files are about [`Layout::aim`] large, sorted by key, so that a change touches few of them and their number
//! stays small. A file from which rows go is rewritten; new rows join the rewritten file whose range they continue.
//! The rest becomes a file of its own, together with the files that are still small: so at most a few small files are
//! ever there, and no compaction is needed.

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::row::{RowConverter, SortField};

use super::super::arrow_bug;
use crate::error::Result;

/// What the rows of a file aim to take in memory: a load holds those of several files.
pub(super) const AIM_BYTES: usize = 16 << 20;

/// How large so many rows are that take so many bytes, where a file is full by [`AIM_BYTES`] or by its rows.
pub(super) fn size(rows: usize, bytes: usize, rows_per_file: usize) -> usize {
    bytes.max(rows.saturating_mul(AIM_BYTES / rows_per_file.max(1)))
}

/// A set of files that becomes one or several new ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// The files, by index.
    pub(super) files: Vec<usize>,
    /// The new rows that join them, ascending.
    pub(super) added: Vec<u32>,
}

/// What is known before a change.
pub(super) struct Layout<'a> {
    /// How large a file aims to be, in the unit of all sizes here.
    pub(super) aim: usize,
    /// How large each file is.
    pub(super) sizes: &'a [usize],
    /// How large a new row is.
    pub(super) row: usize,
    /// Whether rows of the file go.
    pub(super) touched: &'a [bool],
    /// For each new row the file whose range it lies in or continues.
    pub(super) near: &'a [Option<usize>],
}

impl Layout<'_> {
    /// The rewrites that a change needs.
    pub(super) fn rewrites(&self) -> Vec<Rewrite> {
        let mut large: Vec<Option<Rewrite>> = self.touched.iter().map(|_| None).collect();
        for file in (0..self.sizes.len()).filter(|&file| self.touched[file] && !self.is_small(file)) {
            large[file] = Some(Rewrite { files: vec![file], added: Vec::new() });
        }
        let mut rest = Vec::new();
        for (row, near) in self.near.iter().enumerate() {
            match near.and_then(|file| large[file].as_mut()) {
                Some(rewrite) => rewrite.added.push(row as u32),
                None => rest.push(row as u32),
            }
        }
        let mut rewrites: Vec<Rewrite> = large.into_iter().flatten().collect();
        rewrites.extend(self.small(rest));
        rewrites
    }

    fn is_small(&self, file: usize) -> bool {
        self.sizes[file] < self.aim / 2
    }

    /// The small files and the remaining new rows, in portions of about two full files.
    fn small(&self, rest: Vec<u32>) -> Vec<Rewrite> {
        let small = |file: &usize| self.is_small(*file);
        let (touched, others): (Vec<usize>, Vec<usize>) =
            (0..self.sizes.len()).filter(small).partition(|&file| self.touched[file]);
        if touched.is_empty() && rest.is_empty() {
            return Vec::new();
        }
        let room = 2 * self.aim;
        let mut held = rest.len() * self.row;
        let mut rewrites = vec![Rewrite { files: Vec::new(), added: rest }];
        for file in touched {
            if held > room {
                rewrites.push(Rewrite::default());
                held = 0;
            }
            held += self.sizes[file];
            if let Some(last) = rewrites.last_mut() {
                last.files.push(file);
            }
        }
        for file in others {
            if held + self.sizes[file] > room {
                break;
            }
            held += self.sizes[file];
            if let Some(last) = rewrites.last_mut() {
                last.files.push(file);
            }
        }
        rewrites
    }
}

/// For each value the index of the lowest bound's file that it lies at or above, as near as possible; none where it
/// lies below all. An unknown bound is none.
pub(super) fn near(values: &ArrayRef, lowest: &ArrayRef) -> Result<Vec<Option<usize>>> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())]).map_err(arrow_bug)?;
    let bounds = cast(lowest, values.data_type()).map_err(arrow_bug)?;
    let known: Vec<usize> = (0..bounds.len()).filter(|&file| bounds.is_valid(file)).collect();
    let bounds = converter.convert_columns(&[bounds]).map_err(arrow_bug)?;
    let mut order = known;
    order.sort_by(|&left, &right| bounds.row(left).cmp(&bounds.row(right)));
    let values = converter.convert_columns(&[std::sync::Arc::clone(values)]).map_err(arrow_bug)?;
    let file = |value: arrow::row::Row<'_>| {
        let above = order.partition_point(|&file| bounds.row(file) <= value);
        above.checked_sub(1).map(|index| order[index])
    };
    Ok(values.iter().map(file).collect())
}

/// How many rows each of the files gets that so many rows become.
pub(super) fn portions(rows: usize, aim: usize) -> Vec<usize> {
    let files = if rows == 0 {
        0
    } else if rows <= aim + aim / 2 {
        1
    } else {
        rows.div_ceil(aim)
    };
    (0..files).map(|file| rows * (file + 1) / files - rows * file / files).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;
    use proptest::prelude::*;

    use super::*;

    fn rewrites(sizes: &[usize], touched: &[bool], near: &[Option<usize>]) -> Vec<(Vec<usize>, Vec<u32>)> {
        let rewrites = Layout { aim: 100, sizes, row: 1, touched, near }.rewrites();
        rewrites.into_iter().map(|rewrite| (rewrite.files, rewrite.added)).collect()
    }

    #[test]
    fn a_file_is_full_by_its_rows_or_by_its_bytes() {
        let rows = 131_072;
        assert_eq!(
            [size(rows, 0, rows), size(1, AIM_BYTES, rows), size(rows, 3 * AIM_BYTES, rows)],
            [AIM_BYTES, AIM_BYTES, 3 * AIM_BYTES]
        );
        // Wide rows: a few of them are no small file, and new ones fill files of their own.
        let wide = Layout { aim: 100, sizes: &[60, 10], row: 50, touched: &[false, false], near: &[None; 3] };
        assert_eq!(wide.rewrites(), [Rewrite { files: vec![1], added: vec![0, 1, 2] }]);
        let wider = Layout { row: 70, ..wide };
        assert_eq!(wider.rewrites(), [Rewrite { files: vec![], added: vec![0, 1, 2] }]);
    }

    #[test]
    fn the_table_of_cases() {
        // Nothing goes and nothing comes.
        assert_eq!(rewrites(&[100, 10], &[false, false], &[]), []);
        // Into an empty table.
        assert_eq!(rewrites(&[], &[], &[None, None]), [(vec![], vec![0, 1])]);
        // A large file that is touched takes the rows that continue it; the other large one is left alone.
        assert_eq!(rewrites(&[100, 100], &[false, true], &[Some(1), Some(1)]), [(vec![1], vec![0, 1])]);
        // Rows near an untouched file make a new one, which takes the small ones in.
        assert_eq!(rewrites(&[100, 10], &[false, false], &[Some(0)]), [(vec![1], vec![0])]);
        // Small files that are touched go together with the others.
        assert_eq!(rewrites(&[10, 100, 20], &[true, false, false], &[]), [(vec![0, 2], vec![])]);
        // Both at once.
        let both = rewrites(&[100, 100, 30], &[true, false, false], &[Some(1), Some(0)]);
        assert_eq!(both, [(vec![0], vec![1]), (vec![2], vec![0])]);
    }

    proptest! {
        #[test]
        fn every_touched_file_and_every_new_row_stands_in_exactly_one_rewrite(
            files in prop::collection::vec((1usize..200, any::<bool>()), 0..12),
            near in prop::collection::vec(prop::option::of(0usize..12), 0..40),
        ) {
            let (rows, touched): (Vec<usize>, Vec<bool>) = files.into_iter().unzip();
            let near: Vec<_> = near.into_iter().map(|file| file.filter(|&file| file < rows.len())).collect();
            let rewrites = rewrites(&rows, &touched, &near);
            let mut rewritten: Vec<usize> = rewrites.iter().flat_map(|(files, _)| files.clone()).collect();
            rewritten.sort_unstable();
            let distinct: Vec<usize> = (0..rows.len()).filter(|file| rewritten.contains(file)).collect();
            prop_assert_eq!(&rewritten, &distinct);
            prop_assert!((0..rows.len()).all(|file| !touched[file] || rewritten.contains(&file)));
            let mut added: Vec<u32> = rewrites.iter().flat_map(|(_, added)| added.clone()).collect();
            added.sort_unstable();
            prop_assert_eq!(added, (0..near.len() as u32).collect::<Vec<_>>());
        }

        #[test]
        fn portions_add_up_and_are_neither_small_nor_large(rows in 0usize..5_000) {
            let portions = portions(rows, 100);
            prop_assert_eq!(portions.iter().sum::<usize>(), rows);
            prop_assert!(portions.iter().all(|&portion| portion <= 150 && (portion > 50 || rows <= 150)));
        }
    }

    #[test]
    fn a_value_is_near_the_file_that_starts_closest_below_it() {
        let values: ArrayRef = Arc::new(Int32Array::from(vec![5, 10, 25, 99]));
        let lowest: ArrayRef = Arc::new(Int32Array::from(vec![Some(20), None, Some(10)]));
        assert_eq!(near(&values, &lowest).expect("near"), [None, Some(2), Some(0), Some(0)]);
    }
}
