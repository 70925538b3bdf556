//! A table's rows twice, in the order of its key: as its staged files hold them, and as the warehouse does.
//!
//! Owns the two sorts that an audit walks along. They spill to disk beyond the session's memory, so a table may be of
//! any size: sorted here and merged, rather than hashed into parts that fit, since a sort is bounded whatever the keys
//! are like; and sorted here rather than by `ORDER BY` in the warehouse, so that both sides have one order, that of the
//! bytes, whatever collation the warehouse has. It compares nothing, and shares nothing with how rows are loaded.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions::string::expr_fn::rtrim;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{Expr, cast, ident, lit, when};
use datafusion::prelude::SessionContext;

use super::checked::CheckedStores;
use super::files::{ENTRY, Files};
use super::names::Names;
use super::{Loaded, QueryResult, QuerySettings, failure, staged_schema, warehouse};
use crate::batch::{DataFile, Entry};
use crate::error::{Error, Result};
use crate::schema::{History, TableSpec, VERSION_COLUMNS};
use crate::sql::{Spill, spilling_session};
use crate::store::Store;

/// From when a key's first version holds, and what stands for an arrival that is not known: 1900-01-01T00:00:00Z, in
/// µs since 1970 UTC.
pub const BEGINNING: i64 = -2_208_988_800_000_000;

/// Which table is compared, and how.
#[derive(Clone, Copy)]
pub struct Compared<'a> {
    /// The table.
    pub spec: &'a TableSpec,
    /// All tables of the pipeline: of a dimension's rows some are there because a fact points at them.
    pub specs: &'a [TableSpec],
    /// The entries that are loaded.
    pub entries: &'a [Arc<Entry>],
    /// Whether the warehouse takes texts that differ in trailing blanks alone for equal.
    pub pads_texts: bool,
}

/// Both sides of a table. Each sorts by the columns `_millstream_key_0`, …, which hold the key (of a table without one:
/// the version columns), and has the table's declared columns and the version columns beside them.
pub struct Sides {
    /// Every staged row, of a key from the oldest to the newest, with `_millstream_entry`, the number of its entry; 0 in a
    /// row that stands for the facts that point at this key, which comes first.
    pub staged: QueryResult,
    /// The rows of the warehouse, with the columns that a load adds; of a key in the order of `valid_from`. Nested
    /// values may be JSON texts.
    pub loaded: QueryResult,
}

/// The name of the n-th column of the key.
fn key_name(index: usize) -> String {
    format!("_millstream_key_{index}")
}

/// Opens both sides of a table; the staged side is that of the entries alone. The bounds are those of each side; both spill
/// into one folder.
///
/// # Errors
/// As [`super::Query::open`], and those of reading the tables.
pub async fn sides(
    store: &Store,
    loaded: Loaded<'_>,
    compared: Compared<'_>,
    (settings, spill): (QuerySettings, &Spill),
) -> Result<Sides> {
    // Each sort has a session of its own, or the one would take the memory without which the other cannot begin.
    let session = || spilling_session(settings.session(), spill);
    let (own, theirs) = (session()?, session()?);
    // The audit before has checked the files; what fails all the same is told.
    let failed = CheckedStores::of(store, &[]).register(&own);
    let table = warehouse::table(loaded, &compared.spec.name, warehouse::columns(compared.spec), &theirs).await?;
    let loaded = theirs.read_table(table.provider).and_then(|frame| compared.loaded(frame)).map_err(planning)?;
    let staged = compared.staged(&own, store)?;
    let staged = QueryResult { failed, ..started(staged).await? };
    Ok(Sides { staged, loaded: started(loaded).await? })
}

impl Compared<'_> {
    /// The columns that are read of the warehouse's table.
    pub fn columns(&self) -> Vec<String> {
        warehouse::columns(self.spec).fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The key's columns; those of the version for a table without one.
    fn key(&self) -> Vec<&str> {
        match self.spec.key.as_slice() {
            [] => VERSION_COLUMNS.to_vec(),
            key => key.iter().map(String::as_str).collect(),
        }
    }

    fn loaded(&self, frame: DataFrame) -> Result<DataFrame, DataFusionError> {
        let columns = warehouse::columns(self.spec);
        let all = columns.fields().iter().map(|field| match field.data_type().is_nested() {
            true => ident(field.name()),
            false => cast(ident(field.name()), field.data_type().clone()).alias(field.name()),
        });
        let keep = self.spec.history == History::Keep;
        let order = self.key_order().chain(keep.then(|| ident("valid_from").sort(true, true)));
        frame.select(all.chain(self.key_columns(&columns)).collect::<Vec<_>>())?.sort(order.collect())
    }

    fn staged(&self, context: &SessionContext, store: &Store) -> Result<DataFrame> {
        let own = frame(context, self.files(store, self.spec)?)?;
        let mut rows = self.rows(own).map_err(planning)?;
        for fact in self.specs {
            let points = fact.references.iter().filter(|reference| reference.dimension == self.spec.name);
            for reference in points {
                let facts = frame(context, self.files(store, fact)?)?;
                rows =
                    self.members(facts, &reference.column).and_then(|members| rows.union(members)).map_err(planning)?;
            }
        }
        // Behind the union: of columns that are one in each of its parts it does not know that they are.
        let schema = staged_schema(self.spec);
        let names = schema.fields().iter().map(|field| field.name().as_str()).chain([ENTRY]);
        let all = names.map(ident).chain(self.key_columns(&schema)).collect::<Vec<_>>();
        let rows = rows.select(all).map_err(planning)?;
        let [arrived_at, position] = VERSION_COLUMNS;
        let version = [arrived_at, position, ENTRY].map(|column| ident(column).sort(true, true));
        let order = self.key_order().chain(version);
        rows.sort(order.collect()).map_err(planning)
    }

    fn files(&self, store: &Store, spec: &TableSpec) -> Result<Files> {
        let files = self.entries.iter().flat_map(|entry| {
            let files = entry.tables.get(&spec.name).into_iter().flatten();
            files.map(|file: &DataFile| (entry.number, file.clone()))
        });
        Files::numbered(store, staged_schema(spec), files)
    }

    /// The table's own staged rows.
    fn rows(&self, frame: DataFrame) -> Result<DataFrame, DataFusionError> {
        let schema = staged_schema(self.spec);
        let columns = schema.fields().iter().map(|field| match field.name().as_str() {
            // No version begins before all of them do.
            name if name == VERSION_COLUMNS[0] && self.spec.history == History::Keep => {
                let early = ident(name).lt(lit(beginning()));
                when(early, lit(beginning())).otherwise(ident(name)).map(|arrived_at| arrived_at.alias(name))
            }
            name => Ok(ident(name)),
        });
        let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
        columns.push(ident(ENTRY));
        frame.select(columns)
    }

    /// A row for each key at which these facts point: nothing but the key is known of it.
    fn members(&self, facts: DataFrame, column: &str) -> Result<DataFrame, DataFusionError> {
        let schema = staged_schema(self.spec);
        let key = self.key()[0];
        let key_type = schema.field_with_name(key)?.data_type().clone();
        let [arrived_at, position] = VERSION_COLUMNS;
        // What they sort by comes out of an aggregate: DataFusion 55 forgets that a union's constants sort.
        let constants =
            vec![max(lit(beginning())).alias(arrived_at), max(lit("")).alias(position), max(lit(0u64)).alias(ENTRY)];
        let members = facts
            .filter(ident(column).is_not_null())?
            .select(vec![cast(ident(column), key_type).alias(key)])?
            .aggregate(vec![ident(key)], constants)?;
        let known = [key, arrived_at, position];
        let columns = schema.fields().iter().map(|field| match known.contains(&field.name().as_str()) {
            true => Ok(ident(field.name())),
            false => Ok(lit(ScalarValue::try_new_null(field.data_type())?).alias(field.name())),
        });
        let mut columns = columns.collect::<Result<Vec<Expr>, DataFusionError>>()?;
        columns.push(ident(ENTRY));
        members.select(columns)
    }

    fn key_columns(&self, schema: &SchemaRef) -> Vec<Expr> {
        let column = |(index, name): (usize, &str)| {
            let data_type = schema.field_with_name(name).map_or(DataType::Utf8, |field| field.data_type().clone());
            let value = cast(ident(name), data_type.clone());
            let padded = self.pads_texts && data_type == DataType::Utf8;
            let value = if padded { rtrim(vec![value]) } else { value };
            value.alias(key_name(index))
        };
        self.key().into_iter().enumerate().map(column).collect()
    }

    fn key_order(&self) -> impl Iterator<Item = datafusion::logical_expr::SortExpr> {
        (0..self.key().len()).map(|index| ident(key_name(index)).sort(true, true))
    }
}

fn beginning() -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(BEGINNING), Some("UTC".into()))
}

fn frame(context: &SessionContext, files: Files) -> Result<DataFrame> {
    context.read_table(Arc::new(files)).map_err(planning)
}

fn planning(error: DataFusionError) -> Error {
    failure::planning(&error, &Names::default())
}

async fn started(frame: DataFrame) -> Result<QueryResult> {
    let stream = frame.execute_stream().await.map_err(|error| failure::running(&error, &Names::default()))?;
    Ok(QueryResult::of(stream))
}
