//! Whether the stream has dropped what a reader would read next: pure, of its answers and its clock.
//!
//! Kinesis does not say so: asked for a record past retention it goes on at the oldest that it has. So a reader whose
//! place may be past retention asks for the very record that it read last. What comes first then tells:
//!
//! | the first record that comes                     | then                                                  |
//! |-------------------------------------------------|-------------------------------------------------------|
//! | the one asked for                               | nothing is lost                                       |
//! | a later one                                     | a gap before it                                       |
//! | none yet, but the stream says there is more     | the next answer tells                                 |
//! | none, at the shard's tip or end                 | asked once more; the same again: a gap, nothing left  |
//!
//! A place is sure for as long as what the reader covered last is younger than retention: so one that was at the tip
//! an hour ago need not look, though the record it read last be gone for long.

use std::time::Duration;

use crate::batch::{Position, SequenceNumber};
use crate::source::Gap;

/// Clocks differ, and arrival times are approximate.
const MARGIN: Duration = Duration::from_secs(600);
/// After a look that found nothing lost and nothing new, iterators go on for so long: an answer may bring no more than
/// the record asked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// No stream keeps records for less than a day: what is younger than this is not past retention.
const SURELY_KEPT: Duration = Duration::from_secs(12 * 3600);

/// What a reader knows of the record at its place.
#[derive(Debug, Default)]
pub(super) struct GapWatch {
    /// The position whose record was asked for and has not come yet.
    anchor: Option<Position>,
    /// Whether the tip or the end came once instead of it.
    is_doubtful: bool,
    /// Nothing that arrived before this time is unread, µs since 1970 UTC.
    covered_at: Option<i64>,
    /// The place that was found to be there, and when.
    found: Option<(SequenceNumber, i64)>,
}

/// What an answer says of the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Go on.
    GoOn,
    /// Ask for the same record once more, before anything is believed.
    AskAgain,
    /// What stood between is lost.
    Lost(Gap),
}

impl GapWatch {
    /// Whether the retention matters for what is to be asked now.
    pub(super) fn needs_retention(&self, now: i64) -> bool {
        self.covered_at.is_some_and(|covered_at| now.saturating_sub(covered_at) > micros(SURELY_KEPT))
    }

    /// Whether the place may be past this retention; without one it is where the reader has just been opened.
    pub(super) fn is_unsure(&self, now: i64, retention: Option<Duration>) -> bool {
        let Some(covered_at) = self.covered_at else { return true };
        let kept = retention.map(|retention| micros(retention.saturating_sub(MARGIN)));
        self.needs_retention(now) && kept.is_some_and(|kept| now.saturating_sub(covered_at) > kept)
    }

    /// Whether a reader that has an iterator should ask for the record at its position instead.
    pub(super) fn is_due(&self, now: i64, retention: Option<Duration>, position: &Position) -> bool {
        let is_found = self
            .found
            .as_ref()
            .is_some_and(|(found, at)| *found == position.sequence && now.saturating_sub(*at) < micros(LOOK_INTERVAL));
        self.anchor.is_none() && self.covered_at.is_some() && !is_found && self.is_unsure(now, retention)
    }

    /// The record at this position is asked for.
    pub(super) fn ask_for(&mut self, position: &Position) {
        self.anchor = Some(position.clone());
    }

    /// Reads an answer: its first record at the position or after it, and whether it is at the shard's tip or end.
    pub(super) fn find(&mut self, first: Option<&(Position, i64)>, is_last: bool, now: i64) -> Finding {
        let Some(anchor) = self.anchor.take() else { return Finding::GoOn };
        let is_doubtful = std::mem::take(&mut self.is_doubtful);
        match first {
            Some((position, _)) if position.sequence == anchor.sequence => {
                self.found = Some((anchor.sequence, now));
                Finding::GoOn
            }
            None if !is_last => {
                (self.anchor, self.is_doubtful) = (Some(anchor), is_doubtful);
                Finding::GoOn
            }
            None if !is_doubtful => {
                self.is_doubtful = true;
                Finding::AskAgain
            }
            next => Finding::Lost(Gap { after: anchor, next: next.cloned() }),
        }
    }

    /// Everything that arrived before this time is read, µs since 1970 UTC.
    pub(super) fn cover(&mut self, time: i64) {
        self.covered_at = self.covered_at.max(Some(time));
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const DAY: Option<Duration> = Some(Duration::from_secs(24 * 3600));

    fn at(sequence: u64) -> Position {
        Position::new(sequence.into(), 3)
    }

    fn first(sequence: u64) -> Option<(Position, i64)> {
        Some((Position::new(sequence.into(), 0), 9))
    }

    #[test]
    fn the_table_holds() {
        let gap = |next| Finding::Lost(Gap { after: at(5), next });
        let cases = [
            ("the record itself", vec![(first(5), false, Finding::GoOn), (first(9), true, Finding::GoOn)]),
            ("the record itself at the tip", vec![(first(5), true, Finding::GoOn), (None, true, Finding::GoOn)]),
            ("a later one", vec![(first(8), true, gap(first(8))), (first(9), true, Finding::GoOn)]),
            (
                "none yet, then a later one",
                vec![(None, false, Finding::GoOn), (None, false, Finding::GoOn), (first(6), false, gap(first(6)))],
            ),
            ("none yet, then itself", vec![(None, false, Finding::GoOn), (first(5), true, Finding::GoOn)]),
        ];
        for (name, answers) in cases {
            let mut watch = GapWatch::default();
            watch.ask_for(&at(5));
            for (first, is_last, expected) in answers {
                assert_eq!(watch.find(first.as_ref(), is_last, 0), expected, "{name}");
            }
        }
    }

    #[test]
    fn the_tip_is_believed_only_when_it_is_said_twice() {
        let mut watch = GapWatch::default();
        watch.ask_for(&at(5));
        assert_eq!(watch.find(None, true, 0), Finding::AskAgain);
        watch.ask_for(&at(5));
        assert_eq!(watch.find(None, false, 0), Finding::GoOn, "on the way");
        assert_eq!(watch.find(None, true, 0), Finding::Lost(Gap { after: at(5), next: None }));
        watch.ask_for(&at(5));
        assert_eq!(watch.find(None, true, 0), Finding::AskAgain, "told once, the next look begins anew");
        watch.ask_for(&at(5));
        assert_eq!(watch.find(first(5).as_ref(), true, 0), Finding::GoOn);
        watch.ask_for(&at(5));
        assert_eq!(watch.find(None, true, 0), Finding::AskAgain, "doubts end with the record");
    }

    #[test]
    fn a_place_is_sure_while_what_was_covered_last_is_younger_than_retention() {
        let mut watch = GapWatch::default();
        assert!(watch.is_unsure(0, None) && watch.is_unsure(0, DAY), "opened at a position");
        assert!(!watch.is_due(0, DAY, &at(5)), "asked for by the first iterator already");
        watch.cover(100 * HOUR);
        watch.cover(90 * HOUR);
        let cases = [
            (100, DAY, false, false),
            (112, DAY, false, false),
            (113, DAY, true, false),
            (123, DAY, true, false),
            (124, DAY, true, true),
            (124, None, true, false),
            (124, Some(Duration::from_secs(48 * 3600)), true, false),
            (148, Some(Duration::from_secs(48 * 3600)), true, true),
        ];
        for (hours, retention, needs, unsure) in cases {
            let now = hours * HOUR;
            assert_eq!(watch.needs_retention(now), needs, "{hours} {retention:?}");
            assert_eq!(watch.is_unsure(now, retention), unsure, "{hours} {retention:?}");
            assert_eq!(watch.is_due(now, retention, &at(5)), unsure, "{hours} {retention:?}");
        }
    }

    #[test]
    fn a_reader_far_behind_looks_at_each_new_place_and_not_for_ever_at_the_same() {
        let mut watch = GapWatch::default();
        watch.cover(0);
        let now = 24 * HOUR;
        watch.ask_for(&at(5));
        assert!(!watch.is_due(now, DAY, &at(5)), "the answer is awaited");
        watch.find(first(5).as_ref(), false, now);
        assert!(!watch.is_due(now + 1, DAY, &at(5)), "found, and nothing new came");
        assert!(watch.is_due(now + 1, DAY, &at(6)), "a new place");
        assert!(watch.is_due(now + HOUR, DAY, &at(5)), "found long ago");
    }
}
