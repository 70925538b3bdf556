//! The words for shapes: declared types and fields, and what a table of the star schema is.
//!
//! Owns the declared types of pipeline.toml with their Arrow form, and `TableSpec`, the one description of a table
//! that clean makes and stage, load and query read. It parses type texts and nothing else of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema, SchemaRef, TimeUnit};
use chrono_tz::Tz;

/// A declared type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    /// true or false.
    Boolean,
    /// 16 bits, signed.
    Smallint,
    /// 32 bits, signed.
    Integer,
    /// 64 bits, signed.
    Bigint,
    /// 32-bit floating point.
    Real,
    /// 64-bit floating point.
    Double,
    /// Exact: `precision` digits in all (1 to 38), `scale` of them after the point (0 to precision).
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// UTF-8 of at most this many bytes (1 to 65,535).
    String {
        /// The bytes that fit.
        max_bytes: u32,
    },
    /// A day, 0001-01-01 to 9999-12-31.
    Date,
    /// Microseconds of a wall clock that nobody names.
    Timestamp,
    /// Microseconds of UTC.
    Timestamptz {
        /// The zone of a text that names none; such a text is refused where this is none.
        assume_zone: Option<Tz>,
    },
    /// Named fields.
    Struct(Vec<Field>),
    /// Any number of one type.
    List(Box<FieldType>),
}

/// A declared field: of the event, of a dimension file, or of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// Where its value stands: the keys from the event's root, or the one heading of a file's column.
    pub path: Vec<String>,
    /// Its type.
    pub field_type: FieldType,
    /// Whether null and missing are refused.
    pub required: bool,
}

/// The longest string a warehouse column takes, in bytes (Redshift's VARCHAR limit).
pub const MAX_STRING_BYTES: u32 = 65_535;

impl FieldType {
    /// The type as Arrow holds it: Utf8 for strings, Decimal128, Date32, Timestamp(µs).
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Smallint => DataType::Int16,
            Self::Integer => DataType::Int32,
            Self::Bigint => DataType::Int64,
            Self::Real => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::String { .. } => DataType::Utf8,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz { .. } => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Struct(fields) => DataType::Struct(fields.iter().map(Field::to_arrow).collect::<Fields>()),
            Self::List(item) => DataType::List(Arc::new(ArrowField::new("item", item.to_arrow(), true))),
        }
    }
}

impl Field {
    /// The field as Arrow names it; nullable unless required.
    pub fn to_arrow(&self) -> ArrowField {
        ArrowField::new(&self.name, self.field_type.to_arrow(), !self.required)
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => formatter.write_str("boolean"),
            Self::Smallint => formatter.write_str("smallint"),
            Self::Integer => formatter.write_str("integer"),
            Self::Bigint => formatter.write_str("bigint"),
            Self::Real => formatter.write_str("real"),
            Self::Double => formatter.write_str("double"),
            Self::Decimal { precision, scale } => write!(formatter, "decimal({precision},{scale})"),
            Self::String { max_bytes } => write!(formatter, "string({max_bytes})"),
            Self::Date => formatter.write_str("date"),
            Self::Timestamp => formatter.write_str("timestamp"),
            Self::Timestamptz { assume_zone: None } => formatter.write_str("timestamptz"),
            Self::Timestamptz { assume_zone: Some(zone) } => write!(formatter, "timestamptz with assume_zone {zone}"),
            Self::Struct(_) => formatter.write_str("struct"),
            Self::List(item) => write!(formatter, "list<{item}>"),
        }
    }
}

/// A text that names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidType {
    /// No such word.
    #[error(
        "{0:?} is not a type; known are boolean, smallint, integer, bigint, real, double, decimal(p,s), string(n), \
         date, timestamp, timestamptz, struct and list<type>"
    )]
    Unknown(String),
    /// A decimal out of bounds.
    #[error("{0:?}: a decimal has 1 to 38 digits in all and 0 to as many after the point: decimal(10,2)")]
    Decimal(String),
    /// A string out of bounds.
    #[error("{0:?}: a string holds 1 to 65535 bytes: string(64)")]
    String(String),
}

impl FromStr for FieldType {
    type Err = InvalidType;

    /// Parses the text of a type. `struct` gives one without fields, `timestamptz` one without a zone to assume: whoever
    /// reads the file adds them.
    fn from_str(text: &str) -> Result<Self, InvalidType> {
        let text = text.trim();
        if let Some(item) = text.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')) {
            return Ok(Self::List(Box::new(item.parse()?)));
        }
        let (word, arguments) = match text.split_once('(') {
            Some((word, rest)) => (word.trim(), rest.strip_suffix(')').map(str::trim)),
            None => (text, None),
        };
        match (word, arguments) {
            ("boolean", None) => Ok(Self::Boolean),
            ("smallint", None) => Ok(Self::Smallint),
            ("integer", None) => Ok(Self::Integer),
            ("bigint", None) => Ok(Self::Bigint),
            ("real", None) => Ok(Self::Real),
            ("double", None) => Ok(Self::Double),
            ("date", None) => Ok(Self::Date),
            ("timestamp", None) => Ok(Self::Timestamp),
            ("timestamptz", None) => Ok(Self::Timestamptz { assume_zone: None }),
            ("struct", None) => Ok(Self::Struct(Vec::new())),
            ("decimal", arguments) => parse_decimal(arguments).ok_or_else(|| InvalidType::Decimal(text.to_owned())),
            ("string", arguments) => parse_string(arguments).ok_or_else(|| InvalidType::String(text.to_owned())),
            _ => Err(InvalidType::Unknown(text.to_owned())),
        }
    }
}

fn parse_decimal(arguments: Option<&str>) -> Option<FieldType> {
    let (precision, scale) = arguments?.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: i8 = scale.trim().parse().ok()?;
    let valid = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    valid.then_some(FieldType::Decimal { precision, scale })
}

fn parse_string(arguments: Option<&str>) -> Option<FieldType> {
    let max_bytes: u32 = arguments?.parse().ok()?;
    (1..=MAX_STRING_BYTES).contains(&max_bytes).then_some(FieldType::String { max_bytes })
}

/// The columns that stand beside the declared fields in the relations `events` and `file`, in this order, after
/// them: `_shard` Utf8 (for a file its path), `_sequence` Utf8 (decimal digits; for a file when it was staged, µs since
/// 1970 UTC), `_subsequence` Int64 (for a file the line), `_index` Int32 (the event's place in its record, from 0), and
/// the two [`VERSION_COLUMNS`]. None is ever null.
pub const SYSTEM_COLUMNS: [&str; 6] = ["_shard", "_sequence", "_subsequence", "_index", "_arrived_at", "_position"];

/// The columns that say which of two rows of a key is newer, carried by every staged row: `_arrived_at`
/// Timestamp(µs, UTC), then `_position` Utf8 (`batch::Position::write_sortable`). Greater is newer.
pub const VERSION_COLUMNS: [&str; 2] = ["_arrived_at", "_position"];

/// The relation that a table's SQL reads: the declared fields, then [`SYSTEM_COLUMNS`].
pub fn input_schema(fields: &[Field]) -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [DataType::Utf8, DataType::Utf8, DataType::Int64, DataType::Int32, instant, DataType::Utf8];
    let system = SYSTEM_COLUMNS.iter().zip(types).map(|(name, data_type)| ArrowField::new(*name, data_type, false));
    Arc::new(Schema::new(fields.iter().map(Field::to_arrow).chain(system).collect::<Vec<_>>()))
}

/// What a quarantine file holds of each reject: `reason`, `message`, `shard`, `sequence` (all Utf8), `subsequence`
/// Int64, `event_index` Int32, `arrived_at` Timestamp(µs, UTC), `payload` Binary. None is ever null.
pub fn reject_schema() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [
        ("reason", DataType::Utf8),
        ("message", DataType::Utf8),
        ("shard", DataType::Utf8),
        ("sequence", DataType::Utf8),
        ("subsequence", DataType::Int64),
        ("event_index", DataType::Int32),
        ("arrived_at", instant),
        ("payload", DataType::Binary),
    ];
    let fields = fields.map(|(name, data_type)| ArrowField::new(name, data_type, false));
    Arc::new(Schema::new(fields.to_vec()))
}

/// What a table of the star schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// Measures with keys into dimensions.
    Fact,
    /// What facts point at; carries a surrogate key.
    Dimension,
}

impl TableKind {
    /// Its name, in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::Dimension => "dimension",
        }
    }
}

/// What a dimension does with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Type 1: the row holds the newest values.
    Overwrite,
    /// Type 2: each version is a row, with `valid_from`, `valid_to` and `is_current`.
    Keep,
}

impl History {
    /// Its name, in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overwrite => "overwrite",
            Self::Keep => "keep",
        }
    }
}

/// A fact's column that names a row of a dimension. The dimension has exactly one key column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The fact's column.
    pub column: String,
    /// The dimension's table.
    pub dimension: String,
}

/// A table as the warehouse sees it: made by clean from the planned SQL, read by stage, load and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// The table's name.
    pub name: String,
    /// What it is for.
    pub kind: TableKind,
    /// The columns that name a row; empty for a table that only grows.
    pub key: Vec<String>,
    /// What a dimension does with a change; `Overwrite` for facts.
    pub history: History,
    /// The dimensions that a fact points at; an absent row is inferred.
    pub references: Vec<Reference>,
    /// What the SQL yields, in its order, without the version columns; key columns are not nullable.
    pub columns: SchemaRef,
    /// Whether each event (or file row) yields at most one row, so that filtered rows can be counted.
    pub one_to_one: bool,
    /// The most bytes that a string column holds; where a column is not here, [`MAX_STRING_BYTES`]. Longer texts are
    /// refused before they are staged.
    pub max_bytes: BTreeMap<String, u32>,
    /// How a warehouse that is told lays the table out.
    pub layout: TableLayout,
}

/// How Redshift lays a table out, as far as the pipeline says; the rest has defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableLayout {
    /// How rows are spread over the nodes.
    pub distribution: Option<Distribution>,
    /// The columns that rows are sorted by, at most 400.
    pub sort_key: Vec<String>,
    /// How a column is compressed, by its name: `az64`, `zstd`, …
    pub encodings: BTreeMap<String, String>,
}

impl TableLayout {
    /// The columns that it names, some of them perhaps twice.
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        let by_key = match &self.distribution {
            Some(Distribution::Key(column)) => Some(column),
            _ => None,
        };
        by_key.into_iter().chain(&self.sort_key).chain(self.encodings.keys())
    }
}

/// How Redshift spreads a table's rows over its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distribution {
    /// By this column's value.
    Key(String),
    /// Every node has all rows.
    All,
    /// In turn.
    Even,
    /// Redshift chooses.
    Auto,
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_as_it_is_written() {
        let texts = [
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double",
            "decimal(10,2)",
            "decimal(38,38)",
            "string(1)",
            "string(65535)",
            "date",
            "timestamp",
            "timestamptz",
            "struct",
            "list<decimal(5,0)>",
            "list<list<string(9)>>",
        ];
        for text in texts {
            let parsed: FieldType = text.parse().expect(text);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_type_is_refused_with_what_is_one() {
        for text in ["decimal", "decimal(39,2)", "decimal(5,6)", "decimal(0,0)", "decimal(5,-1)"] {
            assert_eq!(text.parse::<FieldType>(), Err(InvalidType::Decimal(text.to_owned())));
        }
        for text in ["string", "string(0)", "string(65536)", "string(x)"] {
            assert_eq!(text.parse::<FieldType>(), Err(InvalidType::String(text.to_owned())));
        }
        for text in ["int", "list<int>", "boolean(1)", "", "list<"] {
            let error = text.parse::<FieldType>().expect_err(text).to_string();
            assert!(error.contains("known are boolean"), "{error}");
        }
    }
}
