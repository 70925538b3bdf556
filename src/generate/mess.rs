//! The mess: which kinds there are, how often each comes, and the words that say so.

use std::fmt;

/// How many of 1,000 records come with each kind of mess; a record has one kind at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mess {
    /// JSON that is cut off: cannot be decoded.
    pub broken_json: u32,
    /// One of OrderID, CustomerID, RestaurantID, OrderDate, OrderValue, OrderStatus is not there.
    pub missing_field: u32,
    /// One of the same is null.
    pub null_field: u32,
    /// One number is given as a string; its value is right.
    pub number_as_string: u32,
    /// OrderValue is below zero.
    pub negative_value: u32,
    /// RiderID is none of the dimension file's.
    pub unknown_rider: u32,
    /// OrderStatus is padded or in mixed case.
    pub untidy_status: u32,
    /// The same bytes once more, 1 to 20 records after their first time.
    pub duplicate: u32,
    /// The only event, Delivered, of an order placed 2 to 48 hours before its neighbours.
    pub late: u32,
}

/// A kind of mess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    BrokenJson,
    MissingField,
    NullField,
    NumberAsString,
    NegativeValue,
    UnknownRider,
    UntidyStatus,
    Duplicate,
    Late,
}

impl Mess {
    /// No mess at all.
    pub const NONE: Self = Self {
        broken_json: 0,
        missing_field: 0,
        null_field: 0,
        number_as_string: 0,
        negative_value: 0,
        unknown_rider: 0,
        untidy_status: 0,
        duplicate: 0,
        late: 0,
    };

    /// Records of 1,000 with any mess.
    pub fn total(&self) -> u32 {
        self.shares().iter().map(|(_, share, _)| share).sum()
    }

    /// The kind for a draw in `[0, 1000)`; none for a tidy record.
    pub(super) fn kind(&self, draw: u32) -> Option<Kind> {
        if draw >= self.total() {
            return None;
        }
        let mut below = 0;
        self.shares().into_iter().find_map(|(kind, share, _)| {
            below += share;
            (draw < below).then_some(kind)
        })
    }

    fn shares(&self) -> [(Kind, u32, &'static str); 9] {
        [
            (Kind::BrokenJson, self.broken_json, "broken JSON"),
            (Kind::MissingField, self.missing_field, "a required field missing"),
            (Kind::NullField, self.null_field, "a required field null"),
            (Kind::NumberAsString, self.number_as_string, "a number as a string"),
            (Kind::NegativeValue, self.negative_value, "a negative value"),
            (Kind::UnknownRider, self.unknown_rider, "an unknown rider"),
            (Kind::UntidyStatus, self.untidy_status, "a padded or mixed-case status"),
            (Kind::Duplicate, self.duplicate, "an exact duplicate"),
            (Kind::Late, self.late, "a late event"),
        ]
    }
}

/// The default mix: 50 of 1,000.
impl Default for Mess {
    fn default() -> Self {
        Self {
            broken_json: 4,
            missing_field: 4,
            null_field: 4,
            number_as_string: 8,
            negative_value: 4,
            unknown_rider: 4,
            untidy_status: 12,
            duplicate: 5,
            late: 5,
        }
    }
}

/// For `--help`: `5.0 % of the records are messy: broken JSON 0.4 %, …`.
impl fmt::Display for Mess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: u32| format!("{}.{} %", share / 10, share % 10);
        write!(formatter, "{} of the records are messy", percent(self.total()))?;
        let kinds = self.shares().into_iter().filter(|(_, share, _)| *share > 0);
        for (place, (_, share, words)) in kinds.enumerate() {
            let lead = if place == 0 { ": " } else { ", " };
            write!(formatter, "{lead}{words} {}", percent(share))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_state_the_default_shares() {
        assert_eq!(
            Mess::default().to_string(),
            "5.0 % of the records are messy: broken JSON 0.4 %, a required field missing 0.4 %, a required field null \
             0.4 %, a number as a string 0.8 %, a negative value 0.4 %, an unknown rider 0.4 %, a padded or mixed-case \
             status 1.2 %, an exact duplicate 0.5 %, a late event 0.5 %"
        );
        assert_eq!(Mess::NONE.to_string(), "0.0 % of the records are messy");
    }

    #[test]
    fn each_kind_has_as_many_draws_as_its_share() {
        let mess = Mess::default();
        for (kind, share, words) in mess.shares() {
            let draws = (0..1000).filter(|draw| mess.kind(*draw) == Some(kind)).count();
            assert_eq!(draws, share as usize, "{words}");
        }
        assert_eq!((0..1000).filter(|draw| mess.kind(*draw).is_none()).count(), 950);
    }
}
