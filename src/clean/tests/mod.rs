//! Tests of the whole step, over pipelines and batches made by hand.

mod batching;
mod faults;
mod overflow;
mod panics;
mod refusals;
mod rows;
mod unnest;
mod widths;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, Decimal128Array, Int32Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

use super::*;
use crate::batch::{Counts, Origin, Position, Range, RawBatch, RawRecord, ShardId};
use crate::config::{BatchSettings, Check, LoadSettings, SourceSettings, Table};
use crate::schema::{Field, FieldType, History, TableKind, TableLayout};

pub(super) const SETTINGS: SessionSettings = SessionSettings { memory_bytes: 64 << 20, partitions: 2 };

/// The fields of `events` in these tests: `id` integer, `name` string, `amount` decimal(10,2), `tags` list<integer>.
fn fields() -> Vec<Field> {
    let field = |name: &str, field_type| Field {
        name: name.to_owned(),
        path: vec![name.to_owned()],
        field_type,
        required: false,
    };
    vec![
        field("id", FieldType::Integer),
        field("name", FieldType::String { max_bytes: 65_535 }),
        field("amount", FieldType::Decimal { precision: 10, scale: 2 }),
        field("tags", FieldType::List(Box::new(FieldType::Integer))),
    ]
}

pub(super) fn table(name: &str, key: &[&str], sql: &str) -> Table {
    Table {
        name: name.to_owned(),
        kind: TableKind::Fact,
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        history: History::Overwrite,
        references: BTreeMap::new(),
        widths: BTreeMap::new(),
        layout: TableLayout::default(),
        input: Input::Events,
        sql_path: PathBuf::from(format!("{name}.sql")),
        sql: sql.to_owned(),
        line: 40,
    }
}

/// A table whose SQL reads a file of the same fields: it may look across its rows.
pub(super) fn of_file(name: &str, key: &[&str], sql: &str) -> Table {
    let input = Input::File { path: "dims/a.csv".into(), fields: fields(), allow_outside: false };
    Table { kind: TableKind::Dimension, input, ..table(name, key, sql) }
}

/// What this SQL makes of a file of these rows.
pub(super) async fn clean_file(key: &[&str], sql: &str, rows: &[Event]) -> Result<Cleaned> {
    cleaner(Vec::new(), vec![of_file("t", key, sql)]).await.clean_file("t", events(rows), dimension_file()).await
}

pub(super) fn dimension_file() -> DimensionFile {
    DimensionFile { path: "dims/a.csv".to_owned(), fingerprint: "f".to_owned(), replaces: None, effective_at: 5 }
}

pub(super) fn check(name: &str, expr: &str) -> Check {
    Check { name: name.to_owned(), expr: expr.to_owned(), line: 20 }
}

pub(super) fn pipeline(checks: Vec<Check>, tables: Vec<Table>) -> Pipeline {
    Pipeline {
        folder: PathBuf::from("p"),
        name: "p".to_owned(),
        source: SourceSettings { stream: "s".to_owned(), ..SourceSettings::default() },
        batch: BatchSettings { max_rows: 1000, max_bytes: 1 << 20, max_age: Duration::from_secs(1) },
        load: LoadSettings { freshness: Duration::from_secs(1), max_entries: 10, ..LoadSettings::default() },
        fields: fields(),
        checks,
        tables,
        reports: Vec::new(),
        targets: BTreeMap::new(),
    }
}

pub(super) async fn cleaner(checks: Vec<Check>, tables: Vec<Table>) -> Cleaner {
    Cleaner::plan(&pipeline(checks, tables), SETTINGS).await.expect("no fault")
}

/// One event: (id, name, amount in cents, tags).
pub(super) type Event = (Option<i32>, Option<String>, Option<i128>, Vec<i32>);

pub(super) fn event(id: i32, name: &str, cents: i128) -> Event {
    (Some(id), Some(name.to_owned()), Some(cents), Vec::new())
}

/// Records of one shard with these events each; record r stands at position r + 1 and arrived at r * 1000 µs.
pub(super) fn records(records: &[Vec<Event>]) -> Decoded {
    let shard = ShardId::new("shardId-0");
    let (mut raw, mut origins, mut events) = (RawBatch::default(), Vec::new(), Vec::new());
    for (number, group) in (0u32..).zip(records) {
        let mut payload = Vec::new();
        for (index, event) in (0u32..).zip(group) {
            let start = u32::try_from(payload.len()).expect("small");
            payload.extend_from_slice(format!("<{number}.{index}>").as_bytes());
            origins.push(Origin { record: number, index, start, end: u32::try_from(payload.len()).expect("small") });
            payload.push(b'\n');
            events.push((number, index, event.clone()));
        }
        let position = Position::new(u64::from(number + 1).into(), 0);
        let arrived_at = i64::from(number) * 1000;
        raw.records.push(RawRecord {
            shard: shard.clone(),
            position,
            arrived_at,
            payload: Bytes::from(payload),
            damage: None,
        });
    }
    if let Some(last) = raw.records.last() {
        raw.ranges.extend(&shard, Range::new(None, last.position.clone())).expect("a range");
    }
    Decoded { events: batch(&events), origins, rejects: Vec::new(), raw: Arc::new(raw) }
}

fn batch(events: &[(u32, u32, Event)]) -> RecordBatch {
    let position = |(record, index, _): &(u32, u32, Event)| {
        let mut text = String::new();
        Position::new(u64::from(record + 1).into(), 0).write_sortable(*index, &mut text);
        text
    };
    let amounts: Decimal128Array = events.iter().map(|event| event.2.2).collect();
    let tags = events.iter().map(|event| Some(event.2.3.iter().map(|tag| Some(*tag)).collect::<Vec<_>>()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(events.iter().map(|event| event.2.0).collect::<Int32Array>()),
        Arc::new(events.iter().map(|event| event.2.1.clone()).collect::<StringArray>()),
        Arc::new(amounts.with_precision_and_scale(10, 2).expect("fits")),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(tags)),
        Arc::new(StringArray::from(vec!["shardId-0"; events.len()])),
        Arc::new(events.iter().map(|event| Some((event.0 + 1).to_string())).collect::<StringArray>()),
        Arc::new(Int64Array::from(vec![0; events.len()])),
        Arc::new(events.iter().map(|event| i32::try_from(event.1).expect("small")).collect::<Int32Array>()),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| i64::from(event.0) * 1000))
                .with_timezone("UTC"),
        ),
        Arc::new(events.iter().map(|event| Some(position(event))).collect::<StringArray>()),
    ];
    RecordBatch::try_new(input_schema(&fields()), columns).expect("the declared schema")
}

/// One event a record.
pub(super) fn events(events: &[Event]) -> Decoded {
    records(&events.iter().map(|event| vec![event.clone()]).collect::<Vec<_>>())
}

/// The table's rows as texts, without the version columns.
pub(super) fn shown(cleaned: &Cleaned, table: &str) -> Vec<String> {
    let Some(rows) = cleaned.tables.iter().find(|rows| rows.table == table) else { return Vec::new() };
    let own = rows.rows.num_columns() - 2;
    let options = FormatOptions::default().with_null("-");
    let cell = |column: usize, row: usize| {
        let formatter = ArrayFormatter::try_new(rows.rows.column(column).as_ref(), &options).expect("printable");
        formatter.value(row).to_string()
    };
    (0..rows.rows.num_rows())
        .map(|row| (0..own).map(|column| cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect()
}

/// (reason, message, payload) of each reject.
pub(super) fn told(cleaned: &Cleaned) -> Vec<(&str, &str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).expect("text");
    let rejects = cleaned.rejects.iter();
    rejects.map(|reject| (reject.reason.as_str(), reject.message.as_str(), text(&reject.payload[..]))).collect()
}

/// The audit identity.
pub(super) fn adds_up(counts: &Counts) {
    assert_eq!(counts.events, counts.rejected() + counts.passed, "{counts:?}");
    for table in counts.tables.values() {
        if let Some(filtered) = table.filtered {
            assert_eq!(counts.passed, filtered + table.superseded + table.staged, "{counts:?}");
        }
    }
}
