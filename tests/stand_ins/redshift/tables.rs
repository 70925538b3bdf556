//! CREATE TABLE and ALTER TABLE: Redshift's types, keys that are declared and not enforced, widths in bytes.

use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, CharacterLength, ColumnDef, ColumnOption, CreateTable,
    CreateTableLikeDefaults, CreateTableLikeKind, CreateTableOptions, DataType, ExactNumberInfo, Ident,
    TableConstraint, TimezoneInfo,
};

use super::expressions;
use super::refusal::Refusal;

/// How the checks of a VARCHAR's bytes are called behind.
pub(super) const BYTES: &str = "bytes_";

/// The widest VARCHAR, in bytes.
const WIDEST: u64 = 65_535;

/// A VARCHAR without a width has this one.
const DEFAULT_WIDTH: u64 = 256;

/// What an ALTER TABLE becomes.
pub(super) enum Altered {
    /// Runs anywhere.
    Anywhere(String),
    /// Runs outside a transaction only.
    Alone(String),
    /// Says something that is declared and not enforced.
    Nothing,
}

/// A type as PostgreSQL calls it, and the bytes of a character type.
fn type_of(wanted: &DataType) -> Result<(String, Option<u64>), Refusal> {
    use DataType::*;
    let character = |length: &Option<CharacterLength>, default: u64, widest: u64, name: &str| {
        let width = match length {
            None => default,
            Some(CharacterLength::Max) => widest,
            Some(CharacterLength::IntegerLength { length, .. }) => *length,
        };
        if width > widest || width == 0 {
            return Err(Refusal::new("22023", format!("length for type {name} cannot exceed {widest}")));
        }
        Ok((format!("{name}({width})"), Some(width)))
    };
    match wanted {
        Varchar(length) | CharacterVarying(length) | CharVarying(length) | Nvarchar(length) => {
            character(length, DEFAULT_WIDTH, WIDEST, "varchar")
        }
        Text => character(&None, DEFAULT_WIDTH, WIDEST, "varchar"),
        Char(length) | Character(length) => character(length, 1, 4_096, "char"),
        other => Ok((plain_type(other)?, None)),
    }
}

fn plain_type(wanted: &DataType) -> Result<String, Refusal> {
    use DataType::*;
    match wanted {
        SmallInt(None)
        | Int2(None)
        | Int(None)
        | Integer(None)
        | Int4(None)
        | BigInt(None)
        | Int8(None)
        | Real
        | Float4
        | Float8
        | DoublePrecision
        | Double(ExactNumberInfo::None)
        | Float(ExactNumberInfo::None)
        | Boolean
        | Bool
        | Date
        | Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
        | Time(None, TimezoneInfo::None) => Ok(wanted.to_string()),
        Timestamp(None, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => Ok("timestamptz".to_owned()),
        Decimal(digits) | Numeric(digits) | Dec(digits) => {
            let (precision, scale) = match digits {
                ExactNumberInfo::None => (18, 0),
                ExactNumberInfo::Precision(precision) => (*precision, 0),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
            };
            if !(1..=38).contains(&precision) || !(0..=37).contains(&scale) {
                return Err(Refusal::new("22023", format!("NUMERIC precision {precision} must be between 1 and 38")));
            }
            Ok(format!("numeric({precision},{scale})"))
        }
        Custom(name, modifiers) if modifiers.is_empty() && name.to_string().eq_ignore_ascii_case("super") => {
            Ok("jsonb".to_owned())
        }
        other => Err(Refusal::new("0A000", format!("unsupported type \"{}\"", other.to_string().to_lowercase()))),
    }
}

/// A type in a cast: a character type without a width is as wide as its input.
pub(super) fn cast_type(wanted: &DataType) -> Result<DataType, Refusal> {
    use DataType::*;
    if matches!(wanted, Varchar(None) | CharacterVarying(None) | Text) {
        return Ok(Varchar(None));
    }
    if matches!(wanted, Decimal(ExactNumberInfo::None) | Numeric(ExactNumberInfo::None)) {
        return Ok(Numeric(ExactNumberInfo::PrecisionAndScale(18, 0)));
    }
    match type_of(wanted)?.0.as_str() {
        "jsonb" => Ok(JSONB),
        _ => Ok(wanted.clone()),
    }
}

/// A column as PostgreSQL takes it.
fn column(definition: &mut ColumnDef, key: &[String]) -> Result<String, Refusal> {
    let (kind, bytes) = type_of(&definition.data_type)?;
    let name = definition.name.clone();
    let mut text = format!("{name} {kind}");
    let mut required = key.contains(&name.value);
    for option in &mut definition.options {
        match &mut option.option {
            ColumnOption::Null | ColumnOption::Unique(_) | ColumnOption::ForeignKey(_) => {}
            ColumnOption::NotNull | ColumnOption::PrimaryKey(_) => required = true,
            ColumnOption::Default(value) => {
                expressions::check(value)?;
                text.push_str(&format!(" DEFAULT {value}"));
            }
            ColumnOption::Identity(_) => return Err(Refusal::stand_in_cannot("IDENTITY columns")),
            other => return Err(Refusal::unsupported(&format!("the column attribute {other}"))),
        }
    }
    if required {
        text.push_str(" NOT NULL");
    }
    if let Some(width) = bytes {
        text.push_str(&format!(" CONSTRAINT {} CHECK (octet_length({name}) <= {width})", check_name(&name)));
    }
    Ok(text)
}

fn check_name(column: &Ident) -> String {
    format!("\"{BYTES}{}\"", column.value.replace('"', "\"\""))
}

/// CREATE TABLE as PostgreSQL takes it.
pub(super) fn create(table: &mut CreateTable) -> Result<String, Refusal> {
    if table.on_commit.is_some() {
        return Err(Refusal::unsupported("ON COMMIT"));
    }
    let strange = table.or_replace || table.external || table.transient || table.global.is_some();
    let strange = strange || table.inherits.is_some() || table.partition_by.is_some() || table.partition_of.is_some();
    let strange = strange || table.clone.is_some() || table.table_options != CreateTableOptions::None;
    if strange {
        return Err(Refusal::unsupported("this form of CREATE TABLE"));
    }
    let temporary = if table.temporary { "TEMP " } else { "" };
    let unless = if table.if_not_exists { "IF NOT EXISTS " } else { "" };
    let head = format!("CREATE {temporary}TABLE {unless}{}", table.name);
    if let Some(query) = &mut table.query {
        expressions::check(query.as_mut())?;
        let names: Vec<_> = table.columns.iter().map(|column| column.name.to_string()).collect();
        let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        return Ok(format!("{head}{names} AS {query}"));
    }
    match &table.like {
        Some(CreateTableLikeKind::Parenthesized(like)) => {
            let defaults = matches!(like.defaults, Some(CreateTableLikeDefaults::Including));
            let defaults = if defaults { " INCLUDING DEFAULTS" } else { "" };
            Ok(format!("{head} (LIKE {} INCLUDING CONSTRAINTS{defaults})", like.name))
        }
        Some(CreateTableLikeKind::Plain(_)) => Err(Refusal::syntax("LIKE")),
        None => columns(table, &head),
    }
}

fn columns(table: &mut CreateTable, head: &str) -> Result<String, Refusal> {
    let mut key = Vec::new();
    for constraint in &table.constraints {
        match constraint {
            TableConstraint::PrimaryKey(primary) => {
                key.extend(primary.columns.iter().map(|column| column.column.expr.to_string().replace('"', "")));
            }
            TableConstraint::Unique(_) | TableConstraint::ForeignKey(_) => {}
            other => return Err(Refusal::unsupported(&format!("the constraint {other}"))),
        }
    }
    let columns: Result<Vec<_>, _> = table.columns.iter_mut().map(|definition| column(definition, &key)).collect();
    Ok(format!("{head} ({})", columns?.join(", ")))
}

/// ALTER TABLE as PostgreSQL takes it; Redshift does one thing at a time.
pub(super) fn alter(table: &mut AlterTable) -> Result<Altered, Refusal> {
    let [operation] = table.operations.as_mut_slice() else { return Err(Refusal::syntax(",")) };
    let head = format!("ALTER TABLE {}", table.name);
    match operation {
        AlterTableOperation::AddColumn { if_not_exists: false, column_def, column_position: None, .. } => {
            let text = column(column_def, &[])?;
            let defaulted = column_def.options.iter().any(|option| matches!(option.option, ColumnOption::Default(_)));
            if text.contains(" NOT NULL") && !defaulted {
                let words = "ALTER TABLE ADD COLUMN defined as NOT NULL must have a non-null default expression";
                return Err(Refusal::new("0A000", words));
            }
            Ok(Altered::Anywhere(format!("{head} ADD COLUMN {text}")))
        }
        AlterTableOperation::AlterColumn {
            column_name,
            op: AlterColumnOperation::SetDataType { data_type, using, had_set },
        } => {
            let (kind, bytes) = type_of(data_type)?;
            let Some(width) = bytes.filter(|_| kind.starts_with("varchar") && using.is_none() && !*had_set) else {
                return Err(Refusal::new("0A000", format!("target data type \"{kind}\" is not supported")));
            };
            let check = check_name(column_name);
            Ok(Altered::Alone(format!(
                "{head} DROP CONSTRAINT IF EXISTS {check}, ALTER COLUMN {column_name} TYPE {kind},
                 ADD CONSTRAINT {check} CHECK (octet_length({column_name}) <= {width})"
            )))
        }
        AlterTableOperation::DropColumn { column_names, if_exists: false, .. } if column_names.len() == 1 => {
            Ok(Altered::Anywhere(table.to_string()))
        }
        AlterTableOperation::RenameColumn { .. } | AlterTableOperation::RenameTable { .. } => {
            Ok(Altered::Anywhere(table.to_string()))
        }
        AlterTableOperation::AddConstraint { constraint: TableConstraint::Check(_), .. } => {
            Err(Refusal::unsupported("CHECK"))
        }
        AlterTableOperation::AddConstraint { .. } => Ok(Altered::Nothing),
        other => Err(Refusal::syntax(&other.to_string())),
    }
}
