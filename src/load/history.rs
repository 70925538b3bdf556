//! The algebra of a type 2 dimension: what one more observation of a key does to the versions of that key.
//!
//! Pure and total. A key's history is its versions by `valid_from`; they touch without gap or overlap, the first
//! starts at [`BEGINNING`], and only the last one is open. History is the left fold of the observations in journal
//! order, so how they are cut into loads leaves no trace. `A[1900,5)` is a version with the attributes A; `B@5` an
//! observation of B at 5. "Opened" is the observation that a version was made from, "confirmed" the newest one that
//! agreed with it.
//!
//! | history                                | observation | becomes                               | why                     |
//! |----------------------------------------|-------------|---------------------------------------|-------------------------|
//! | nothing                                | A@5         | A[1900,∞)                             | older facts find it     |
//! | inferred[1900,∞)                       | A@5         | A[1900,∞)                             | filled in place         |
//! | A[1900,∞) opened 5                     | A@7         | the same, confirmed 7                 | nothing changed         |
//! | A[1900,∞) opened 5                     | B@7         | A[1900,7) B[7,∞)                      | a change                |
//! | A[1900,∞) opened 5                     | B@3         | B[1900,5) A[5,∞)                      | late, before the first  |
//! | A[1900,7) B[7,∞) opened 7              | C@6         | A[1900,6) C[6,7) B[7,∞)               | late, between two       |
//! | A[1900,7) B[7,∞) opened 7              | B@6         | A[1900,6) B[6,∞)                      | the change was earlier  |
//! | A[1900,∞) opened 1, confirmed 9        | B@5         | A[1900,5) B[5,9) A[9,∞)               | A was seen again at 9   |
//! | A[1900,7) confirmed 5, B[7,∞) opened 7 | C@3         | A[1900,3) C[3,5) A[5,7) B[7,∞)        | A was seen again at 5   |
//! | A[1900,7) B[7,∞) opened 7              | C@7 newer   | A[1900,7) C[7,∞)                      | same instant, newer row |
//! | A[1900,7) B[7,∞) opened 7              | C@7 older   | the same                              | same instant, older row |
//! | any                                    | repeated    | the same                              | idempotent              |
//!
//! Of the observations that agree with a version only the first and the newest are kept, and of the newest only the
//! instant. What that leaves promised of the order in which observations come, which is the journal's and not time's:
//!
//! - Always: the open version is the newest row.
//! - Where instants are distinct and no attributes came more than twice: the versions are those of the rows in the order
//!   of time, whatever the order in which they came.
//! - Where more agree, a late row that falls between two of them counts until the newest one that is still known.
//! - Of one instant the row with the greatest position counts; only against a confirmation, whose position is not kept,
//!   it is the row that comes last.
//!
//! An instant before [`BEGINNING`] counts as it.
//!
//! A warehouse that speaks SQL works on all rows of a load at once (`script::history`), so its versions may differ from
//! these only where more than two rows agree and a late one falls between them, and where a confirmation opens a version
//! or shares its instant with a row: `_position` is then that of the row itself.

use std::cmp::Ordering;

/// When a key's first version starts: 1900-01-01T00:00:00Z, in µs since 1970 UTC.
pub(super) const BEGINNING: i64 = -2_208_988_800_000_000;

/// A row of a dimension as it was seen at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observation<A> {
    /// When it arrived, µs since 1970 UTC.
    pub(super) arrived_at: i64,
    /// Its position: greater is newer where the instants are equal.
    pub(super) position: String,
    /// Every column that is not key.
    pub(super) attributes: A,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version<A> {
    /// The attributes; none for an inferred member, of which only the key is known.
    pub(super) attributes: Option<A>,
    /// From when it holds, inclusive.
    pub(super) valid_from: i64,
    /// Until when, exclusive; open where none.
    pub(super) valid_to: Option<i64>,
    /// The observation that opened it.
    pub(super) arrived_at: i64,
    /// That observation's position; empty where a confirmation opened it.
    pub(super) position: String,
    /// The newest observation that agreed with it.
    pub(super) confirmed_at: i64,
}

impl<A> Version<A> {
    /// A member of which only the key is known.
    pub(super) fn inferred() -> Self {
        Self {
            attributes: None,
            valid_from: BEGINNING,
            valid_to: None,
            arrived_at: BEGINNING,
            position: String::new(),
            confirmed_at: BEGINNING,
        }
    }

    fn opened(seen: Observation<A>, valid_from: i64, valid_to: Option<i64>) -> Self {
        Self {
            attributes: Some(seen.attributes),
            valid_from,
            valid_to,
            arrived_at: seen.arrived_at,
            position: seen.position,
            confirmed_at: seen.arrived_at,
        }
    }
}

/// Folds one more observation of a key into its versions, which stand in the order of `valid_from`.
pub(super) fn observe<A: Clone + PartialEq>(versions: &mut Vec<Version<A>>, seen: Observation<A>) {
    let seen = Observation { arrived_at: seen.arrived_at.max(BEGINNING), ..seen };
    let known = versions.iter().any(|version| version.attributes.is_some());
    if !known {
        *versions = vec![Version::opened(seen, BEGINNING, None)];
        return;
    }
    let at = versions.partition_point(|version| version.valid_from <= seen.arrived_at).saturating_sub(1);
    let held = versions[at].clone();
    if held.attributes.as_ref() == Some(&seen.attributes) {
        confirm(&mut versions[at], seen);
        return;
    }
    let before = (seen.arrived_at, seen.position.as_str()) < (held.arrived_at, held.position.as_str());
    let replacement = match (before, seen.arrived_at < held.arrived_at) {
        (true, true) => lead(held, seen),
        (true, false) => return,
        (false, _) => split(held, seen),
    };
    versions.splice(at..=at, replacement);
    join_equal(versions);
}

/// The same attributes seen again: later, or (for a first version) earlier than ever.
fn confirm<A>(version: &mut Version<A>, seen: Observation<A>) {
    version.confirmed_at = version.confirmed_at.max(seen.arrived_at);
    match seen.arrived_at.cmp(&version.arrived_at) {
        Ordering::Less => (version.arrived_at, version.position) = (seen.arrived_at, seen.position),
        Ordering::Equal if version.position < seen.position => version.position = seen.position,
        _ => {}
    }
}

/// A row older than the first known one becomes the first; the other holds from when it was seen.
fn lead<A>(held: Version<A>, seen: Observation<A>) -> Vec<Version<A>> {
    let first = Version::opened(seen, held.valid_from, Some(held.arrived_at));
    let second = Version { valid_from: held.arrived_at, ..held };
    vec![first, second]
}

/// A change inside a version: what held before, what was seen, and what was confirmed after it.
fn split<A: Clone>(held: Version<A>, seen: Observation<A>) -> Vec<Version<A>> {
    let at = seen.arrived_at;
    let confirmed_after = held.confirmed_at > at;
    let until = if confirmed_after { Some(held.confirmed_at) } else { held.valid_to };
    // Nothing is left of a version that was opened at this very instant.
    let replaces = held.arrived_at == at;
    let mut pieces = Vec::with_capacity(3);
    let valid_from = if replaces { held.valid_from } else { at };
    if !replaces {
        // A confirmation after the cut goes with the third piece, one at the cut is what was replaced.
        let confirmed_at = if held.confirmed_at < at { held.confirmed_at } else { held.arrived_at };
        pieces.push(Version { valid_to: Some(at), confirmed_at, ..held.clone() });
    }
    pieces.push(Version::opened(seen, valid_from, until));
    if confirmed_after {
        let (valid_from, arrived_at) = (held.confirmed_at, held.confirmed_at);
        pieces.push(Version { valid_from, arrived_at, position: String::new(), ..held });
    }
    pieces
}

/// Neighbours with equal attributes are one version: opened as the earlier, lasting as the later.
fn join_equal<A: PartialEq>(versions: &mut Vec<Version<A>>) {
    versions.dedup_by(|later, earlier| {
        let equal = later.attributes == earlier.attributes;
        if equal {
            earlier.valid_to = later.valid_to;
            earlier.confirmed_at = earlier.confirmed_at.max(later.confirmed_at);
        }
        equal
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `B7` is an observation of B at 7; a third letter is its position: `C7z`.
    fn seen(text: &str) -> Observation<char> {
        let mut letters = text.chars();
        let attributes = letters.next().expect("a letter");
        let digit = letters.next().and_then(|letter| letter.to_digit(10)).expect("a digit");
        let position = letters.next().unwrap_or('m').to_string();
        Observation { arrived_at: i64::from(digit), position, attributes }
    }

    fn fold(observations: &[&str]) -> Vec<Version<char>> {
        let mut versions = Vec::new();
        for text in observations {
            observe(&mut versions, seen(text));
        }
        versions
    }

    fn drawn(versions: &[Version<char>]) -> String {
        let bound = |instant: i64| if instant == BEGINNING { "1900".to_owned() } else { instant.to_string() };
        let texts = versions.iter().map(|version| {
            let name = version.attributes.map_or("inferred".to_owned(), String::from);
            let until = version.valid_to.map_or("∞".to_owned(), bound);
            format!("{name}[{},{until})", bound(version.valid_from))
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_table_of_cases() {
        let cases: &[(&[&str], &str)] = &[
            (&["A5"], "A[1900,∞)"),
            (&["A5", "A7"], "A[1900,∞)"),
            (&["A5", "B7"], "A[1900,7) B[7,∞)"),
            (&["A5", "B3"], "B[1900,5) A[5,∞)"),
            (&["A5", "B7", "C6"], "A[1900,6) C[6,7) B[7,∞)"),
            (&["A5", "B7", "B6"], "A[1900,6) B[6,∞)"),
            (&["A1", "A9", "B5"], "A[1900,5) B[5,9) A[9,∞)"),
            (&["A1", "B5", "A9"], "A[1900,5) B[5,9) A[9,∞)"),
            (&["A5", "B7", "C7z"], "A[1900,7) C[7,∞)"),
            (&["A5", "B7", "C7a"], "A[1900,7) B[7,∞)"),
            (&["A5", "B5z"], "B[1900,∞)"),
            (&["A5", "B5a"], "A[1900,∞)"),
            (&["A1", "A9", "B1z"], "B[1900,9) A[9,∞)"),
            (&["A5", "B7", "A7z"], "A[1900,∞)"),
            (&["A5", "A3", "B4"], "A[1900,4) B[4,5) A[5,∞)"),
            (&["A5", "B7", "A5", "B7"], "A[1900,7) B[7,∞)"),
            (&["A1", "A5", "B7", "C3"], "A[1900,3) C[3,5) A[5,7) B[7,∞)"),
            (&["A1", "A5", "C3", "B7"], "A[1900,3) C[3,5) A[5,7) B[7,∞)"),
            (&["B7", "C3", "A5", "A1"], "A[1900,3) C[3,5) A[5,7) B[7,∞)"),
            // Of one instant: the position counts, also that of a row which changed nothing.
            (&["A5a", "A5z", "B5m"], "A[1900,∞)"),
            (&["A1", "B5m", "A5z", "A5a"], "A[1900,∞)"),
            // Against a confirmation the last to come counts, whatever its opener's position.
            (&["A1z", "A5", "B5a"], "A[1900,5) B[5,∞)"),
            (&["A1z", "A9", "B5", "C9a"], "A[1900,5) B[5,9) C[9,∞)"),
            (&["A1", "A5", "B5", "C3"], "A[1900,3) C[3,5) B[5,∞)"),
        ];
        for (observations, expected) in cases {
            assert_eq!(drawn(&fold(observations)), *expected, "{observations:?}");
        }
    }

    #[test]
    fn an_inferred_member_is_filled_in_place() {
        let mut versions = vec![Version::inferred()];
        assert_eq!(drawn(&versions), "inferred[1900,∞)");
        observe(&mut versions, seen("A5"));
        assert_eq!(versions, fold(&["A5"]));
    }

    fn observations() -> impl Strategy<Value = Vec<Observation<u8>>> {
        let one = (0i64..12, 0u8..3, 0u8..4);
        prop::collection::vec(one, 1..24).prop_map(|drawn| {
            let observation = |(arrived_at, position, attributes): (i64, u8, u8)| Observation {
                arrived_at,
                position: position.to_string(),
                attributes,
            };
            drawn.into_iter().map(observation).collect()
        })
    }

    proptest! {
        #[test]
        fn intervals_touch_one_is_open_and_neighbours_differ(observations in observations()) {
            let mut versions = Vec::new();
            for observation in observations {
                observe(&mut versions, observation.clone());
                prop_assert_eq!(versions[0].valid_from, BEGINNING);
                prop_assert_eq!(versions.iter().filter(|version| version.valid_to.is_none()).count(), 1);
                for pair in versions.windows(2) {
                    prop_assert_eq!(pair[0].valid_to, Some(pair[1].valid_from));
                    prop_assert!(pair[0].valid_from < pair[1].valid_from);
                    prop_assert!(pair[0].attributes != pair[1].attributes);
                    prop_assert_eq!(pair[1].valid_from, pair[1].arrived_at);
                }
            }
        }

        #[test]
        fn what_was_just_seen_twice_changes_nothing_more(observations in observations()) {
            let mut versions = Vec::new();
            for observation in observations {
                observe(&mut versions, observation.clone());
                let once = versions.clone();
                observe(&mut versions, observation);
                prop_assert_eq!(&versions, &once);
            }
        }

        #[test]
        fn in_whatever_order_distinct_rows_come_time_sorts_them(order in Just((1i64..12).collect::<Vec<_>>()).prop_shuffle()) {
            let mut versions = Vec::new();
            for &instant in &order {
                observe(&mut versions, Observation { arrived_at: instant, position: String::new(), attributes: instant });
            }
            let attributes: Vec<_> = versions.iter().filter_map(|version| version.attributes).collect();
            prop_assert_eq!(attributes, (1i64..12).collect::<Vec<_>>());
        }

        #[test]
        fn attributes_that_came_no_more_than_twice_come_in_any_order(
            attributes in Just((0u8..12).map(|instant| instant / 2).collect::<Vec<_>>()).prop_shuffle(),
            order in Just((1i64..=12).collect::<Vec<_>>()).prop_shuffle(),
            rows in 1usize..=12,
        ) {
            // The attributes are drawn from few, so that runs, returns and confirmations all occur.
            let fold = |order: &[i64]| {
                let mut versions = Vec::new();
                for &instant in order.iter().filter(|instant| **instant <= rows as i64) {
                    let seen = Observation {
                        arrived_at: instant,
                        position: String::new(),
                        attributes: attributes[instant as usize - 1],
                    };
                    observe(&mut versions, seen);
                }
                versions
            };
            let mut sorted = order.clone();
            sorted.sort_unstable();
            let versions = fold(&order);
            prop_assert_eq!(&versions, &fold(&sorted), "{:?} of {:?}", order, attributes);
            // And that of the rows in the order of time is what they say, run by run.
            let mut runs = attributes[..rows].to_vec();
            runs.dedup();
            prop_assert_eq!(versions.iter().filter_map(|version| version.attributes).collect::<Vec<_>>(), runs);
        }

        #[test]
        fn the_open_version_is_the_newest_row(attributes in prop::collection::vec(0u8..3, 1..12), seed in any::<u64>()) {
            let mut order: Vec<usize> = (0..attributes.len()).collect();
            order.sort_by_key(|&instant| (instant as u64 + 1).wrapping_mul(seed | 1));
            let mut versions = Vec::new();
            for instant in order {
                let attributes = attributes[instant];
                observe(&mut versions, Observation { arrived_at: instant as i64, position: String::new(), attributes });
            }
            prop_assert_eq!(versions.last().and_then(|version| version.attributes), attributes.last().copied());
        }
    }
}
