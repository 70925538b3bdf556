//! Which columns take the file's, by position, and whether their types fit; there is no coercion.

use arrow::datatypes::DataType as ArrowType;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::Type as ParquetType;
use tokio_postgres::Client;

use super::super::refusal::Refusal;
use super::CopyCommand;

/// The columns that take a file's.
pub(super) struct Target {
    /// As SQL writes it.
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    /// Whether a DECIMAL must be bytes of a fixed length.
    pub(super) fixed_length_decimals: bool,
}

/// A column of the table.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// A type, as far as COPY tells types apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    SmallInt,
    Integer,
    BigInt,
    Decimal {
        precision: i32,
        scale: i32,
    },
    Real,
    Double,
    Boolean,
    Date,
    Timestamp,
    /// VARCHAR and CHAR, with their bytes.
    Text {
        bytes: usize,
    },
    Bytes,
    Super,
}

impl Target {
    /// The columns of a COPY, in its order or the table's.
    pub(super) async fn find(client: &Client, wanted: &CopyCommand) -> Result<Self, Refusal> {
        let table = &wanted.table;
        let sql = format!(
            "SELECT attname::text, format_type(atttypid, NULL), atttypmod, attnotnull FROM pg_catalog.pg_attribute
             WHERE attrelid = '{}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            table.replace('\'', "''")
        );
        let mut columns = Vec::new();
        for row in client.query(&sql, &[]).await? {
            let (kind, modifier): (String, i32) = (row.get(1), row.get(2));
            let name: String = row.get(0);
            columns.push(Column { kind: Kind::of(&kind, modifier)?, name, required: row.get(3) });
        }
        if let Some(named) = &wanted.columns {
            columns = chosen(columns, named, table)?;
        }
        Ok(Self { table: table.clone(), columns, fixed_length_decimals: false })
    }
}

/// The columns of the list; a column that is left out must do without a value.
fn chosen(mut columns: Vec<Column>, named: &[String], table: &str) -> Result<Vec<Column>, Refusal> {
    let mut chosen = Vec::new();
    for name in named {
        let place = columns.iter().position(|column| column.name == *name);
        let place = place.ok_or_else(|| {
            Refusal::new("42703", format!("column \"{name}\" of relation {table} does not exist, or is named twice"))
        })?;
        chosen.push(columns.remove(place));
    }
    Ok(chosen)
}

impl Kind {
    fn of(name: &str, modifier: i32) -> Result<Self, Refusal> {
        Ok(match name {
            "smallint" => Self::SmallInt,
            "integer" => Self::Integer,
            "bigint" => Self::BigInt,
            "numeric" => Self::Decimal { precision: ((modifier - 4) >> 16) & 0xffff, scale: (modifier - 4) & 0x7ff },
            "real" => Self::Real,
            "double precision" => Self::Double,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp without time zone" | "timestamp with time zone" => Self::Timestamp,
            "character varying" | "character" | "bpchar" => {
                Self::Text { bytes: usize::try_from(modifier - 4).unwrap_or(65_535) }
            }
            "text" => Self::Text { bytes: 65_535 },
            "bytea" => Self::Bytes,
            "jsonb" => Self::Super,
            other => return Err(Refusal::stand_in_cannot(&format!("COPY into the type {other}"))),
        })
    }

    /// As Redshift calls it.
    pub(super) fn name(self) -> String {
        match self {
            Self::SmallInt => "SMALLINT".to_owned(),
            Self::Integer => "INTEGER".to_owned(),
            Self::BigInt => "BIGINT".to_owned(),
            Self::Decimal { precision, scale } => format!("DECIMAL({precision}, {scale})"),
            Self::Real => "REAL".to_owned(),
            Self::Double => "DOUBLE".to_owned(),
            Self::Boolean => "BOOLEAN".to_owned(),
            Self::Date => "DATE".to_owned(),
            Self::Timestamp => "TIMESTAMP".to_owned(),
            Self::Text { bytes } => format!("VARCHAR({bytes})"),
            Self::Bytes => "VARBYTE".to_owned(),
            Self::Super => "SUPER".to_owned(),
        }
    }

    /// Whether a file's column fits, told by its own types and by the types that its writer remembers.
    pub(super) fn takes(
        self,
        file: &ParquetType,
        writer: &ArrowType,
        wanted: &CopyCommand,
        fixed_decimals: bool,
    ) -> bool {
        if matches!(writer, ArrowType::Dictionary(..)) || is_unsigned(writer) {
            return false;
        }
        if !file.is_primitive() {
            return self == Self::Super && wanted.serialize_to_json;
        }
        if file.get_basic_info().repetition() == Repetition::REPEATED {
            return false;
        }
        let physical = file.get_physical_type();
        let logical = file.get_basic_info().logical_type_ref();
        match self {
            Self::SmallInt => physical == Physical::INT32 && is_signed(file, &[8, 16, 32]),
            Self::Integer => physical == Physical::INT32 && is_signed(file, &[8, 16, 32]),
            Self::BigInt => physical == Physical::INT64 && is_signed(file, &[64]),
            Self::Decimal { precision, scale } => decimal(file, (precision, scale), fixed_decimals),
            Self::Real => physical == Physical::FLOAT,
            Self::Double => physical == Physical::DOUBLE,
            Self::Boolean => physical == Physical::BOOLEAN,
            Self::Date => physical == Physical::INT32 && matches!(logical, Some(LogicalType::Date)),
            Self::Timestamp => microseconds(logical),
            Self::Text { .. } => physical == Physical::BYTE_ARRAY && is_text(file),
            Self::Bytes => physical == Physical::BYTE_ARRAY && !is_text(file),
            // A scalar is a scalar of SUPER; a text stays a text and is not parsed.
            Self::Super => wanted.serialize_to_json,
        }
    }
}

fn is_unsigned(writer: &ArrowType) -> bool {
    matches!(writer, ArrowType::UInt8 | ArrowType::UInt16 | ArrowType::UInt32 | ArrowType::UInt64)
}

fn is_signed(file: &ParquetType, widths: &[i8]) -> bool {
    match file.get_basic_info().logical_type_ref() {
        None => file.get_basic_info().converted_type() == ConvertedType::NONE,
        Some(LogicalType::Integer(integer)) => integer.is_signed && widths.contains(&integer.bit_width),
        Some(_) => false,
    }
}

fn is_text(file: &ParquetType) -> bool {
    matches!(file.get_basic_info().logical_type_ref(), Some(LogicalType::String))
        || file.get_basic_info().converted_type() == ConvertedType::UTF8
}

fn microseconds(logical: Option<&LogicalType>) -> bool {
    matches!(logical, Some(LogicalType::Timestamp(stamp)) if stamp.unit == TimeUnit::MICROS)
}

/// The same digits; as bytes of a fixed length, of the length that the precision asks for.
fn decimal(file: &ParquetType, wanted: (i32, i32), fixed_only: bool) -> bool {
    let Some(LogicalType::Decimal(digits)) = file.get_basic_info().logical_type_ref() else { return false };
    if (digits.precision, digits.scale) != wanted {
        return false;
    }
    match file {
        ParquetType::PrimitiveType { physical_type: Physical::FIXED_LEN_BYTE_ARRAY, type_length, .. } => {
            *type_length == bytes_of(wanted.0)
        }
        ParquetType::PrimitiveType { physical_type: Physical::INT32 | Physical::INT64, .. } => !fixed_only,
        _ => false,
    }
}

/// The fewest bytes that hold a signed number of so many digits.
fn bytes_of(precision: i32) -> i32 {
    let bits = f64::from(precision) * 10_f64.log2() + 1.0;
    let bytes = (bits / 8.0).ceil();
    (1..=16).find(|length| f64::from(*length) >= bytes).unwrap_or(16)
}
