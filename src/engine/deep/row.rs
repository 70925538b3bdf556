//! The rows of both sides, in a form in which they are compared.
//!
//! Owns the columns' declared types, into which either side's values are brought, and the encoding of key, values and
//! attributes as bytes that are equal where the values are. What a database holds as JSON is read as the declared type. What
//! a warehouse cannot tell apart is one value here, on both sides alike ([`Form::told`]).

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, ListArray, RecordBatch, StringArray, StructArray,
    new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int64Type, Schema, TimestampMicrosecondType, UInt64Type,
};
use arrow::json::ReaderBuilder;
use arrow::row::{RowConverter, Rows, SortField};

use super::arrow_bug;
use crate::error::{Error, Result};
use crate::load::{SqlWarehouse, surrogates};
use crate::query::QueryResult;
use crate::schema::{History, TableKind, TableSpec, VERSION_COLUMNS};

/// How a table's rows are compared.
pub(super) struct Form {
    pub(super) spec: TableSpec,
    pub(super) tells: Tells,
    /// The columns that both sides have: the declared ones, then the version columns.
    pub(super) shared: Vec<Field>,
    /// Which of them are attributes.
    attributes: Vec<usize>,
    /// Which of them are key.
    key: Vec<usize>,
}

/// What a warehouse tells of its values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tells {
    /// Texts that differ in trailing blanks alone are equal to it.
    pub(super) pads_texts: bool,
    /// The digits that it writes of a REAL; none where it writes what it takes to tell any two of them apart.
    pub(super) real_digits: Option<usize>,
    /// Nested values are JSON, which has no number that is none and none that is infinite: they are null.
    pub(super) nested_is_json: bool,
}

impl Tells {
    /// Of Delta tables none, else the database.
    pub(super) fn of(warehouse: Option<&dyn SqlWarehouse>) -> Self {
        warehouse.map_or_else(Self::default, |warehouse| Self {
            pads_texts: warehouse.pads_texts(),
            real_digits: warehouse.real_digits(),
            nested_is_json: true,
        })
    }
}

impl Form {
    pub(super) fn of(spec: &TableSpec, tells: Tells) -> Result<Self> {
        let instant = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let versions = VERSION_COLUMNS.into_iter().zip([instant, DataType::Utf8]);
        let declared = spec.columns.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let shared: Vec<Field> =
            declared.chain(versions.map(|(name, data_type)| Field::new(name, data_type, true))).collect();
        let place = |name: &String| shared.iter().position(|field| field.name() == name);
        let key: Option<Vec<usize>> = spec.key.iter().map(place).collect();
        let key = key.ok_or_else(|| Error::internal(format!("the table {} lacks its key", spec.name)))?;
        let attributes = (0..spec.columns.fields().len()).filter(|index| !key.contains(index)).collect();
        Ok(Self { spec: spec.clone(), tells, shared, attributes, key })
    }

    /// Whether all staged rows of a key tell what should be there, or the newest alone.
    pub(super) fn needs_all(&self) -> bool {
        self.spec.key.is_empty() || (self.spec.kind == TableKind::Dimension && self.spec.history == History::Keep)
    }

    /// The key under which facts find this row.
    pub(super) fn surrogate_key(&self, row: &Row, valid_from: i64) -> Result<i64> {
        let key: Vec<ArrayRef> = self.key.iter().map(|&column| row.value(column)).collect();
        Ok(surrogates(&self.spec.name, &key, &[valid_from])?.value(0))
    }

    /// The columns that name a row to a person.
    pub(super) fn naming(&self) -> Vec<usize> {
        match self.key.is_empty() {
            true => vec![self.shared.len() - 2, self.shared.len() - 1],
            false => self.key.clone(),
        }
    }
}

/// Some rows of a side.
struct Block {
    rows: RecordBatch,
    /// The shared columns in their declared types.
    shared: Vec<ArrayRef>,
    /// What is a JSON text in the warehouse, and of no such type: column and row.
    odd: Vec<(usize, usize)>,
    keys: Rows,
    values: Rows,
    attributes: Option<Rows>,
    /// The attributes as the warehouse tells them.
    told_attributes: Option<Rows>,
}

/// A row of a side. It keeps the rows that came with it.
#[derive(Clone)]
pub(super) struct Row {
    block: Arc<Block>,
    index: usize,
}

impl fmt::Debug for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Row({})", self.index)
    }
}

impl Row {
    fn key(&self) -> &[u8] {
        self.block.keys.row(self.index).data()
    }

    /// As [`Row::attributes`], of values as the warehouse tells them.
    pub(super) fn told_attributes(&self) -> &[u8] {
        self.block.told_attributes.as_ref().map_or(&[], |attributes| attributes.row(self.index).data())
    }

    /// Equal to another's where all shared columns are, as the warehouse tells them.
    pub(super) fn values(&self) -> &[u8] {
        self.block.values.row(self.index).data()
    }

    /// Of a dimension that keeps its history: equal to another's where that is no change.
    pub(super) fn attributes(&self) -> &[u8] {
        self.block.attributes.as_ref().map_or(&[], |attributes| attributes.row(self.index).data())
    }

    /// The value of a shared column, as an array of one.
    pub(super) fn value(&self, column: usize) -> ArrayRef {
        self.block.shared[column].slice(self.index, 1)
    }

    /// Whether the warehouse holds something there that is no value of the column's type.
    pub(super) fn is_odd(&self, column: usize) -> bool {
        self.block.odd.contains(&(column, self.index))
    }

    /// A column's value as the side itself has it.
    pub(super) fn own(&self, name: &str) -> Option<ArrayRef> {
        self.block.rows.column_by_name(name).map(|column| column.slice(self.index, 1))
    }

    pub(super) fn version(&self) -> (i64, Option<String>) {
        let position = self.own(VERSION_COLUMNS[1]).and_then(|column| text(&column));
        (self.arrived_at(), position)
    }

    pub(super) fn arrived_at(&self) -> i64 {
        self.instant(VERSION_COLUMNS[0]).unwrap_or_default()
    }

    pub(super) fn instant(&self, name: &str) -> Option<i64> {
        let column = self.own(name)?;
        let column = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(0).then(|| column.value(0))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let column = self.own(name)?;
        let column = column.as_boolean_opt()?;
        column.is_valid(0).then(|| column.value(0))
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let column = self.own(name)?;
        let column = column.as_primitive_opt::<Int64Type>()?;
        column.is_valid(0).then(|| column.value(0))
    }

    /// Whether a fact put it there: only its key is known.
    pub(super) fn is_inferred(&self) -> bool {
        self.entry() == 0
    }

    /// The number of the entry that staged it, from 1.
    pub(super) fn entry(&self) -> u64 {
        let entry = self.own("_millstream_entry");
        entry.and_then(|column| column.as_primitive_opt::<UInt64Type>().map(|column| column.value(0))).unwrap_or(0)
    }
}

fn text(column: &ArrayRef) -> Option<String> {
    let column = column.as_string_opt::<i32>()?;
    column.is_valid(0).then(|| column.value(0).to_owned())
}

/// A place in one side of a table.
pub(super) struct Cursor {
    rows: QueryResult,
    form: Arc<Form>,
    keys: RowConverter,
    values: RowConverter,
    current: Option<Row>,
}

impl Cursor {
    /// One side, at its first row.
    pub(super) async fn of(rows: QueryResult, form: &Arc<Form>) -> Result<Self> {
        let schema = rows.schema();
        let keys = key_columns(&schema).map(|index| SortField::new(schema.field(index).data_type().clone()));
        let keys = RowConverter::new(keys.collect()).map_err(arrow_bug)?;
        let values = form.shared.iter().map(|field| SortField::new(field.data_type().clone()));
        let values = RowConverter::new(values.collect()).map_err(arrow_bug)?;
        let mut cursor = Self { rows, form: Arc::clone(form), keys, values, current: None };
        cursor.fetch().await?;
        Ok(cursor)
    }

    /// The key at which it stands; none at the end.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.current.as_ref().map(Row::key)
    }

    /// Its rows of this key: all of them, or the last alone; it stands behind them then.
    pub(super) async fn of_key(&mut self, key: &[u8], all: bool) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while let Some(row) = self.current.take_if(|row| row.key() == key) {
            if !all {
                rows.clear();
            }
            let next = row.index + 1;
            match next < row.block.rows.num_rows() {
                true => self.current = Some(Row { block: Arc::clone(&row.block), index: next }),
                false => self.fetch().await?,
            }
            rows.push(row);
        }
        Ok(rows)
    }

    async fn fetch(&mut self) -> Result<()> {
        self.current = match self.rows.next().await? {
            Some(rows) => Some(Row { block: Arc::new(self.block(rows)?), index: 0 }),
            None => None,
        };
        Ok(())
    }

    fn block(&self, rows: RecordBatch) -> Result<Block> {
        let mut odd = Vec::new();
        let mut shared = Vec::with_capacity(self.form.shared.len());
        for (index, field) in self.form.shared.iter().enumerate() {
            let found = rows.column_by_name(field.name());
            let found = found.ok_or_else(|| Error::internal(format!("no column {} was read", field.name())))?;
            let column = canonical(declared(found, field)?, &self.form.tells)?;
            odd.extend(
                (0..rows.num_rows()).filter(|row| column.is_null(*row) != found.is_null(*row)).map(|row| (index, row)),
            );
            shared.push(column);
        }
        let schema = rows.schema();
        let keys: Vec<ArrayRef> = key_columns(&schema).map(|index| Arc::clone(rows.column(index))).collect();
        let keys = self.keys.convert_columns(&keys).map_err(arrow_bug)?;
        let told: Vec<ArrayRef> = (0..shared.len()).map(|index| self.form.told(index, &shared[index], false)).collect();
        let values = self.values.convert_columns(&told).map_err(arrow_bug)?;
        let attributes = |columns: &[ArrayRef]| self.form.needs_all().then(|| self.attributes(columns)).transpose();
        let (attributes, told_attributes) = (attributes(&shared)?, attributes(&told)?);
        Ok(Block { rows, shared, odd, keys, values, attributes, told_attributes })
    }

    fn attributes(&self, shared: &[ArrayRef]) -> Result<Rows> {
        let columns: Vec<ArrayRef> =
            self.form.attributes.iter().map(|&index| self.form.compared(&shared[index])).collect();
        // Rows without a column have no number.
        let columns = if columns.is_empty() { vec![new_null_array(&DataType::Null, shared[0].len())] } else { columns };
        let types = columns.iter().map(|column| SortField::new(column.data_type().clone()));
        RowConverter::new(types.collect()).and_then(|converter| converter.convert_columns(&columns)).map_err(arrow_bug)
    }
}

impl Form {
    /// An attribute as a change of it is seen.
    fn compared(&self, column: &ArrayRef) -> ArrayRef {
        match column.as_string_opt::<i32>() {
            Some(texts) if self.tells.pads_texts => {
                Arc::new(texts.iter().map(|text| text.map(|text| text.trim_end_matches(' '))).collect::<StringArray>())
            }
            _ => Arc::clone(column),
        }
    }

    /// A shared column as the warehouse tells it: of two keys that are one to it, either may stand there. Where rows came
    /// late, so may either of two attributes.
    pub(super) fn told(&self, index: usize, column: &ArrayRef, late: bool) -> ArrayRef {
        match (column.as_primitive_opt::<Float32Type>(), self.tells.real_digits) {
            (Some(reals), Some(digits)) => {
                let rounded = |real: f32| format!("{real:.*e}", digits.saturating_sub(1)).parse().unwrap_or(real);
                Arc::new(reals.unary::<_, Float32Type>(rounded)) as Arc<Float32Array>
            }
            _ if late || self.key.contains(&index) => self.compared(column),
            _ => Arc::clone(column),
        }
    }

    /// Whether a column is the same in both rows.
    pub(super) fn agree(&self, column: usize, (left, right): (&Row, &Row), late: bool) -> bool {
        let told = |row: &Row| self.told(column, &row.value(column), late);
        told(left).as_ref() == told(right).as_ref()
    }
}

/// The columns that hold the key.
fn key_columns(schema: &Schema) -> impl Iterator<Item = usize> + '_ {
    (0..schema.fields().len()).filter(|&index| schema.field(index).name().starts_with("_millstream_key_"))
}

/// A column in its declared type.
fn declared(found: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    match (found.data_type(), field.data_type()) {
        (found_type, wanted) if found_type == wanted => Ok(Arc::clone(found)),
        (DataType::Utf8, wanted) if wanted.is_nested() => from_json(found, wanted),
        (_, wanted) => cast_with_options(found, wanted, &options).map_err(arrow_bug),
    }
}

/// Not-a-number and zero have one form each: databases tell no more of them. Within nested values, too.
fn canonical(column: ArrayRef, tells: &Tells) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Float32 => {
            let plain = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(plain)) as Arc<Float32Array>
        }
        DataType::Float64 => {
            let plain = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(plain)) as Arc<Float64Array>
        }
        DataType::List(field) => {
            let list = column.as_list::<i32>();
            let items = within(list.values(), tells)?;
            let list = ListArray::try_new(Arc::clone(field), list.offsets().clone(), items, list.nulls().cloned());
            Arc::new(list.map_err(arrow_bug)?)
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let rows = column.as_struct();
            let columns = rows.columns().iter().map(|column| within(column, tells)).collect::<Result<_>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, rows.nulls().cloned()).map_err(arrow_bug)?)
        }
        _ => column,
    })
}

/// A column within a nested one.
fn within(column: &ArrayRef, tells: &Tells) -> Result<ArrayRef> {
    let column = canonical(Arc::clone(column), tells)?;
    if !tells.nested_is_json {
        return Ok(column);
    }
    Ok(match column.data_type() {
        DataType::Float32 => {
            let finite = |value: f32| value.is_finite().then_some(value);
            Arc::new(column.as_primitive::<Float32Type>().unary_opt::<_, Float32Type>(finite)) as Arc<Float32Array>
        }
        DataType::Float64 => {
            let finite = |value: f64| value.is_finite().then_some(value);
            Arc::new(column.as_primitive::<Float64Type>().unary_opt::<_, Float64Type>(finite)) as Arc<Float64Array>
        }
        _ => column,
    })
}

/// JSON texts as values of a nested type; null where a text is none.
fn from_json(texts: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    let texts = texts.as_string::<i32>();
    let all = texts.iter().map(|text| text.unwrap_or("null")).collect::<Vec<_>>();
    if let Some(values) = parsed(&all, wanted) {
        return Ok(values);
    }
    let one = |text: &&str| parsed(&[*text], wanted).unwrap_or_else(|| new_null_array(wanted, 1));
    let values: Vec<ArrayRef> = all.iter().map(one).collect();
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    arrow::compute::concat(&values).map_err(arrow_bug)
}

fn parsed(texts: &[&str], wanted: &DataType) -> Option<ArrayRef> {
    let schema = Arc::new(Schema::new(vec![Field::new("v", wanted.clone(), true)]));
    let lines: String = texts.iter().map(|text| format!("{{\"v\":{}}}\n", text.replace('\n', " "))).collect();
    let reader = ReaderBuilder::new(schema).with_batch_size(texts.len().max(1)).with_strict_mode(true);
    let batches = reader.build(lines.as_bytes()).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    match batches.as_slice() {
        [batch] if batch.num_rows() == texts.len() => Some(Arc::clone(batch.column(0))),
        _ => None,
    }
}
