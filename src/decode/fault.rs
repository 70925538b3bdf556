//! Why an event or a row is refused: the closed list of reasons, and the sentence for each.
//!
//! Owns the reasons' stable names and the wording. It decides nothing: the other files do, and say so with a `Fault`.
//! A fault is built without allocation; its sentence is written once, when the reject is.

use std::fmt;
use std::ops::Range;

use super::event::MAX_EVENT_BYTES;
use super::json::{Stop, Syntax};
use super::plan::Label;

/// Why an event or a row was refused: `Reject::reason` holds its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bytes are no JSON by RFC 8259.
    NotJson,
    /// The bytes are no UTF-8.
    InvalidUtf8,
    /// More than 64 objects and arrays are open at once.
    TooDeep,
    /// The payload holds no event.
    EmptyPayload,
    /// JSON, but no object.
    NotAnObject,
    /// The record holds more events than one may.
    TooManyEvents,
    /// The record holds more refused events than are told one by one.
    TooManyRejects,
    /// A declared key stands twice in one object.
    DuplicateKey,
    /// A required field is missing, null or blank.
    MissingField,
    /// The value is of another type.
    WrongType,
    /// The number is beyond the type.
    Overflow,
    /// The number has more fraction digits than the type.
    Fraction,
    /// The string holds a NUL byte.
    NulByte,
    /// The string holds half a surrogate pair, which is no character.
    LoneSurrogate,
    /// The string has more bytes than declared.
    TooLong,
    /// No such day or time in the years 0001 to 9999.
    OutOfRange,
    /// A time without a zone that the clocks of the zone to assume passed over.
    SkippedTime,
    /// The batch or file holds more than an Arrow column takes: 2 GiB of text, 2^31 list items.
    BatchFull,
    /// The record's payload is compressed, and larger than one may be.
    TooLargeUnwrapped,
    /// The event becomes more than one may in memory.
    TooLargeDecoded,
    /// The payload is compressed over and over.
    WrappedTooOften,
    /// The payload begins like gzip and is none.
    DamagedGzip,
    /// The payload begins like zstd and is none, or none that can be decompressed here.
    DamagedZstd,
    /// A log event of an envelope holds no message.
    NoMessage,
    /// The row's quotes are broken.
    NotCsv,
    /// The row has more or fewer cells than the heading.
    WrongCellCount,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::NotJson,
        Self::InvalidUtf8,
        Self::TooDeep,
        Self::EmptyPayload,
        Self::NotAnObject,
        Self::TooManyEvents,
        Self::TooManyRejects,
        Self::DuplicateKey,
        Self::MissingField,
        Self::WrongType,
        Self::Overflow,
        Self::Fraction,
        Self::NulByte,
        Self::LoneSurrogate,
        Self::TooLong,
        Self::OutOfRange,
        Self::SkippedTime,
        Self::BatchFull,
        Self::TooLargeUnwrapped,
        Self::TooLargeDecoded,
        Self::WrappedTooOften,
        Self::DamagedGzip,
        Self::DamagedZstd,
        Self::NoMessage,
        Self::NotCsv,
        Self::WrongCellCount,
    ];

    /// The stable name that rejects are counted by: `not_json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooDeep => "too_deep",
            Self::EmptyPayload => "empty_payload",
            Self::NotAnObject => "not_an_object",
            Self::TooManyEvents => "too_many_events",
            Self::TooManyRejects => "too_many_rejects",
            Self::DuplicateKey => "duplicate_key",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::Overflow => "overflow",
            Self::Fraction => "fraction",
            Self::NulByte => "nul_byte",
            Self::LoneSurrogate => "lone_surrogate",
            Self::TooLong => "too_long",
            Self::OutOfRange => "out_of_range",
            Self::SkippedTime => "skipped_time",
            Self::BatchFull => "batch_full",
            Self::TooLargeUnwrapped => "too_large_unwrapped",
            Self::TooLargeDecoded => "too_large_decoded",
            Self::WrappedTooOften => "wrapped_too_often",
            Self::DamagedGzip => "damaged_gzip",
            Self::DamagedZstd => "damaged_zstd",
            Self::NoMessage => "no_message",
            Self::NotCsv => "not_csv",
            Self::WrongCellCount => "wrong_cell_count",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How a required field comes to have no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    Missing,
    Null,
    Blank,
}

/// What is wrong with an event; places are offsets into the payload.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault<'p> {
    /// The JSON breaks off: where the event ends is a guess.
    Syntax(Syntax),
    /// Too many containers are open at `at`.
    TooDeep { at: usize },
    /// The event is beyond its bound in memory at `at`.
    TooLarge { at: usize },
    /// The reason says it all.
    Plain(Reason),
    /// A second value for `key`.
    Duplicate { key: &'p str },
    /// A required field has no value.
    Absent { label: &'p Label, absence: Absence },
    /// The value at `at` does not fit.
    Value { label: &'p Label, reason: Reason, at: usize },
    /// Declared fields stand beneath `key`, whose value at `at` is no object.
    Parent { key: &'p str, at: usize },
}

impl From<Stop> for Fault<'_> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Syntax(syntax) => Self::Syntax(syntax),
            Stop::TooDeep { at } => Self::TooDeep { at },
        }
    }
}

impl Fault<'_> {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Syntax(_) => Reason::NotJson,
            Self::TooDeep { .. } => Reason::TooDeep,
            Self::TooLarge { .. } => Reason::TooLargeDecoded,
            Self::Plain(reason) => *reason,
            Self::Duplicate { .. } => Reason::DuplicateKey,
            Self::Absent { .. } => Reason::MissingField,
            Self::Value { reason, .. } => *reason,
            Self::Parent { .. } => Reason::WrongType,
        }
    }

    /// The sentence; `value` gives the bytes of the JSON value at an offset, `event` is where the event stands.
    pub(super) fn message<'b>(&self, event: &Range<usize>, value: impl Fn(usize) -> &'b [u8]) -> String {
        let start = event.start;
        match self {
            Self::Syntax(syntax) => {
                format!(
                    "not JSON at byte {} of the event: expected {}",
                    syntax.at.saturating_sub(start),
                    syntax.expected
                )
            }
            Self::TooDeep { at } => {
                format!("more than 64 objects and arrays are open at byte {} of the event", at.saturating_sub(start))
            }
            Self::TooLarge { at } => {
                let (bytes, at, most) = (event.len(), at.saturating_sub(start), MAX_EVENT_BYTES >> 20);
                format!(
                    "the event of {bytes} bytes becomes more than {most} MiB of texts and list items, at its byte {at}: \
                     put its lists in parts, or leave fields out"
                )
            }
            Self::Plain(reason) => plain_sentence(*reason).to_owned(),
            Self::Duplicate { key } => format!("the key {} stands twice in one object", shortened(key.as_bytes())),
            Self::Absent { label, absence } => absent_sentence(label, *absence),
            Self::Value { label, reason, at } => value_sentence(label, *reason, value(*at)),
            Self::Parent { key, at } => {
                let value = shortened(value(*at));
                format!("the key {} is {value} where an object was expected", shortened(key.as_bytes()))
            }
        }
    }
}

/// The sentence for a required field without a value.
pub(super) fn absent_sentence(label: &Label, absence: Absence) -> String {
    let how = match absence {
        Absence::Missing => "missing",
        Absence::Null => "null",
        Absence::Blank => "blank",
    };
    format!("field {} (at {}) is required and {how}: expected {}", label.name, label.path, label.field_type)
}

/// The sentence for a value that does not fit its field.
pub(super) fn value_sentence(label: &Label, reason: Reason, value: &[u8]) -> String {
    let Label { name, field_type, .. } = label;
    let shown = shortened(value);
    match reason {
        Reason::Overflow => format!("field {name} is {shown}, which is beyond {field_type}"),
        Reason::Fraction => format!("field {name} is {shown}, which has more fraction digits than {field_type} keeps"),
        Reason::NulByte => {
            format!("field {name} is {shown}, which holds a NUL byte: expected {field_type} without one")
        }
        Reason::LoneSurrogate => {
            format!(
                "field {name} is {shown}, which holds half a surrogate pair: expected {field_type} of whole characters"
            )
        }
        Reason::TooLong => format!("field {name} is {shown}, which has more bytes than {field_type} takes"),
        Reason::OutOfRange => {
            format!("field {name} is {shown}, which is no {field_type} that exists in the years 0001 to 9999")
        }
        Reason::SkippedTime => {
            format!(
                "field {name} is {shown}, which is no {field_type}: the clocks there were put forward over that time"
            )
        }
        Reason::BatchFull => format!("field {name} is {shown}, and {}", plain_sentence(reason)),
        _ => format!("field {name} is {shown} where {field_type} was expected"),
    }
}

fn plain_sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidUtf8 => "the bytes are not UTF-8: expected JSON in UTF-8",
        Reason::EmptyPayload => "the payload holds no event: expected an object",
        Reason::NotAnObject => "the event is JSON but no object",
        Reason::TooManyEvents => {
            "the record holds more than 100000 events, or more than 24 MiB of rows: this is the rest, undecoded"
        }
        Reason::TooManyRejects => "too many events of the record are refused: these are the further ones, a line each",
        Reason::BatchFull => {
            "its column is full, at 2 GiB of text or 2^31 list items: lower [batch] max_bytes, or put a file in parts"
        }
        Reason::TooLargeUnwrapped => {
            "the payload is compressed and more than 32 MiB without it, or more than 1024 times its size: put it in parts"
        }
        Reason::WrappedTooOften => "the payload is compressed more than twice over",
        Reason::DamagedGzip => "the payload begins like gzip, but it is cut off or damaged",
        Reason::DamagedZstd => {
            "the payload begins like zstd, but it is cut off or damaged, or needs a dictionary or a window over 128 MiB"
        }
        Reason::NoMessage => "the log event holds no message: expected an object with a string of that name",
        Reason::LoneSurrogate => "the message holds half a surrogate pair, which is no character",
        _ => reason.as_str(),
    }
}

/// The longest rendering of a value in a sentence, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// A value's bytes as a sentence shows them: one line, at most 60 characters.
pub(super) fn shortened(value: &[u8]) -> String {
    // A character has at most four bytes, so the rest cannot be shown anyway.
    let head = value.get(..SHOWN_CHARACTERS * 4 + 4).unwrap_or(value);
    let text = String::from_utf8_lossy(head);
    let visible = |character: char| if character.is_control() { ' ' } else { character };
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.chars().map(visible).collect();
    }
    text.chars().take(SHOWN_CHARACTERS - 1).map(visible).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_in_snake_case() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_8".contains(&byte))));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn a_value_is_shown_on_one_line_of_60_characters() {
        assert_eq!(shortened(b"{\"a\":\n\t1}"), "{\"a\":  1}");
        assert_eq!(shortened("é".repeat(60).as_bytes()), "é".repeat(60));
        let long = shortened("€".repeat(5000).as_bytes());
        assert_eq!(long.chars().count(), 60);
        assert!(long.ends_with('…'), "{long}");
        assert_eq!(shortened(b"a\xffb\0c"), "a\u{fffd}b c");
    }
}
