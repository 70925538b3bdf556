//! What every warehouse promises, checked alike on rows in memory, on Delta tables (on a disk and in an object store) and
//! on databases.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;

use self::houses::{Database, Engine, Home, House, Lake, data_files, deltas, shared};
use super::*;
use crate::batch::DataFile;
use crate::error::ErrorKind;
use crate::runtime::{Clock, Context, ManualClock, SystemClock};
use crate::schema::{History, Reference, TableKind, TableLayout, TableSpec};
use crate::store::Folder;

mod damage;
mod evolution;
mod growth;
mod houses;

const BOUNDS: LoadBounds = LoadBounds { memory_bytes: 64 << 20, partitions: 2 };

fn spec(name: &str, kind: TableKind, history: History, columns: &[(&str, DataType)]) -> TableSpec {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    TableSpec {
        name: name.to_owned(),
        kind,
        key: vec![columns[0].0.to_owned()],
        history,
        references: vec![],
        columns: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        one_to_one: true,
        max_bytes: BTreeMap::new(),
        layout: TableLayout::default(),
    }
}

fn specs() -> Vec<TableSpec> {
    let reference =
        |column: &str, dimension: &str| Reference { column: column.to_owned(), dimension: dimension.to_owned() };
    let orders = [
        ("order_id", DataType::Int32),
        ("customer_id", DataType::Int32),
        ("rider_id", DataType::Int32),
        ("value", DataType::Decimal128(10, 2)),
        ("status", DataType::Utf8),
    ];
    let customers = [("customer_id", DataType::Int32), ("name", DataType::Utf8), ("city", DataType::Utf8)];
    let riders = [("rider_id", DataType::Int64), ("rating", DataType::Float64)];
    vec![
        TableSpec {
            references: vec![reference("customer_id", "dim_customers"), reference("rider_id", "dim_riders")],
            ..spec("fact_orders", TableKind::Fact, History::Overwrite, &orders)
        },
        TableSpec {
            key: vec![],
            ..spec("fact_clicks", TableKind::Fact, History::Overwrite, &[("page", DataType::Utf8)])
        },
        spec("dim_customers", TableKind::Dimension, History::Keep, &customers),
        spec("dim_riders", TableKind::Dimension, History::Overwrite, &riders),
    ]
}

/// (order, customer, rider, status, arrived)
type Order<'a> = (i32, Option<i32>, Option<i32>, &'a str, i64);

/// Rows of one table with the instant (in s since 1970) at which each arrived; the position is the instant's text.
enum Rows<'a> {
    Orders(&'a [Order<'a>]),
    /// (page, arrived)
    Clicks(&'a [(&'a str, i64)]),
    /// (customer, name, city, arrived)
    Customers(&'a [(i32, &'a str, Option<&'a str>, i64)]),
    /// (rider, rating, arrived)
    Riders(&'a [(i64, f64, i64)]),
}

fn batch(rows: &Rows<'_>) -> (&'static str, RecordBatch) {
    let (table, mut columns, arrived): (_, Vec<ArrayRef>, Vec<i64>) = match rows {
        Rows::Orders(rows) => {
            let values = rows.iter().map(|row| Some(i128::from(row.0) * 100 + i128::from(row.4)));
            let values = values.collect::<Decimal128Array>().with_precision_and_scale(10, 2).expect("decimal");
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int32Array>()),
                Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>()),
                Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
                Arc::new(values),
                Arc::new(rows.iter().map(|row| Some(row.3)).collect::<StringArray>()),
            ];
            ("fact_orders", columns, rows.iter().map(|row| row.4).collect())
        }
        Rows::Clicks(rows) => {
            let pages = rows.iter().map(|row| Some(row.0)).collect::<StringArray>();
            ("fact_clicks", vec![Arc::new(pages) as ArrayRef], rows.iter().map(|row| row.1).collect())
        }
        Rows::Customers(rows) => {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int32Array>()),
                Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
            ];
            ("dim_customers", columns, rows.iter().map(|row| row.3).collect())
        }
        Rows::Riders(rows) => {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Float64Array>()),
            ];
            ("dim_riders", columns, rows.iter().map(|row| row.2).collect())
        }
    };
    let schema = specs().into_iter().find(|spec| spec.name == table).expect("a spec").columns;
    columns.extend(versions(&arrived));
    (table, RecordBatch::try_new(staged_schema(&schema), columns).expect("a batch"))
}

fn versions(arrived: &[i64]) -> [ArrayRef; 2] {
    let instants = arrived.iter().map(|second| Some(second * 1_000_000)).collect::<TimestampMicrosecondArray>();
    let positions = arrived.iter().map(|second| Some(format!("{second:09}"))).collect::<StringArray>();
    [Arc::new(instants.with_timezone("UTC")), Arc::new(positions)]
}

fn staged_schema(columns: &SchemaRef) -> SchemaRef {
    let instant = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let versions = [Field::new("_arrived_at", instant, false), Field::new("_position", DataType::Utf8, false)];
    Arc::new(Schema::new(columns.fields().iter().map(|f| f.as_ref().clone()).chain(versions).collect::<Vec<_>>()))
}

fn parquet_bytes(rows: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).expect("a writer");
    writer.write(rows).expect("written");
    writer.close().expect("closed");
    bytes
}

const ORDERS: [&str; 3] = ["order_id", "status", "value"];
const HISTORY: [&str; 6] = ["customer_id", "name", "city", "valid_from", "valid_to", "is_current"];

#[tokio::test]
async fn the_same_entries_again_are_fenced_and_change_nothing() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Orders(&[(1, Some(7), None, "Placed", 10)]), Rows::Clicks(&[("a", 10), ("a", 10)])]).await;
    lake.stage(&[Rows::Clicks(&[("b", 20)])]).await;
    for house in House::all(&lake).await {
        house.load(&lake.entries).await.expect("loaded");
        let before = (house.everything().await, house.get().ledger().await.expect("ledger"));
        for entries in [&lake.entries[..], &lake.entries[1..], &lake.entries[..1]] {
            assert_eq!(house.load(entries).await.expect_err("twice").kind(), ErrorKind::Fenced);
        }
        let after = (house.everything().await, house.get().ledger().await.expect("ledger"));
        assert_eq!(before, after);
        assert_eq!(house.rows("fact_clicks", &["page"]).await, ["a", "a", "b"]);
    }
}

#[tokio::test]
async fn the_newest_row_of_a_key_wins_even_where_an_old_one_comes_later() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Orders(&[(1, None, None, "Preparing", 20), (2, None, None, "Placed", 21)])]).await;
    lake.stage(&[Rows::Orders(&[(1, None, None, "Placed", 10), (2, None, None, "Delivered", 30)])]).await;
    lake.stage(&[Rows::Orders(&[(1, None, None, "Placed", 11), (3, None, None, "Placed", 5)])]).await;
    for house in House::all(&lake).await {
        for entry in &lake.entries {
            house.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        assert_eq!(house.rows("fact_orders", &ORDERS).await, ["1|Preparing|1.20", "2|Delivered|2.30", "3|Placed|3.05"]);
    }
}

#[tokio::test]
async fn a_type_2_dimension_keeps_each_version_in_its_time() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Customers(&[(1, "Ada", Some("Rome"), 600), (2, "Bob", None, 600)])]).await;
    lake.stage(&[Rows::Customers(&[(1, "Ada", Some("Oslo"), 1200), (2, "Bob", None, 1200)])]).await;
    // Late: between the two, and for Bob a change that was undone.
    lake.stage(&[Rows::Customers(&[(1, "Ada", Some("Bonn"), 900), (2, "Bob", Some("Bern"), 900)])]).await;
    // The same again.
    lake.stage(&[Rows::Customers(&[(1, "Ada", Some("Oslo"), 1200), (2, "Bob", None, 1200)])]).await;
    let expected = [
        "1|Ada|Bonn|1970-01-01T00:15|1970-01-01T00:20|false",
        "1|Ada|Oslo|1970-01-01T00:20||true",
        "1|Ada|Rome|1900-01-01T00:00|1970-01-01T00:15|false",
        "2|Bob|Bern|1970-01-01T00:15|1970-01-01T00:20|false",
        "2|Bob||1900-01-01T00:00|1970-01-01T00:15|false",
        "2|Bob||1970-01-01T00:20||true",
    ];
    for house in House::all(&lake).await {
        for entry in &lake.entries {
            house.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        assert_eq!(house.rows("dim_customers", &HISTORY).await, expected);
        let mut keys = house.rows("dim_customers", &["surrogate_key"]).await;
        keys.dedup();
        assert_eq!(keys.len(), expected.len(), "surrogate keys are distinct");
    }
}

/// A dimension file as decode reads it: each row at its line, as of one instant.
fn file(rows: &Rows<'_>, staged_at: u64, lines: &[u64]) -> (&'static str, RecordBatch) {
    let (table, rows) = batch(rows);
    let position = |line: &u64| {
        let mut text = String::new();
        crate::batch::Position::new(staged_at.into(), *line).write_sortable(0, &mut text);
        Some(text)
    };
    let mut columns = rows.columns().to_vec();
    *columns.last_mut().expect("a position") = Arc::new(lines.iter().map(position).collect::<StringArray>());
    (table, RecordBatch::try_new(rows.schema(), columns).expect("a batch"))
}

#[tokio::test]
async fn a_corrected_file_of_the_same_instant_counts_also_for_rows_that_moved_up() {
    let mut lake = Lake::new();
    let customers = [(1, "Ada", Some("Rome"), 600), (2, "Bob", Some("Bern"), 600)];
    let corrected = [(2, "Bob", Some("Bonn"), 600), (1, "Ada", Some("Rome"), 600)];
    let riders = Rows::Riders(&[(5, 1.0, 600), (6, 2.0, 600)]);
    lake.stage_batches(&[file(&Rows::Customers(&customers), 99, &[2, 3]), file(&riders, 99, &[2, 3])]).await;
    let riders = Rows::Riders(&[(6, 2.5, 600), (5, 1.5, 600)]);
    lake.stage_batches(&[file(&Rows::Customers(&corrected), 1000, &[2, 3]), file(&riders, 1000, &[2, 3])]).await;
    for size in [1, 2] {
        for house in House::all(&lake).await {
            for entries in lake.entries.chunks(size) {
                house.load(entries).await.expect("loaded");
            }
            let expected =
                ["1|Ada|Rome|1900-01-01T00:00||true".to_owned(), "2|Bob|Bonn|1900-01-01T00:00||true".to_owned()];
            assert_eq!(house.rows("dim_customers", &HISTORY).await, expected, "{size} at once");
            assert_eq!(house.rows("dim_riders", &["rider_id", "rating"]).await, ["5|1.5", "6|2.5"], "{size} at once");
        }
    }
}

#[tokio::test]
async fn an_absent_member_is_inferred_and_filled_in_place() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Riders(&[(5, 4.5, 1)])]).await;
    lake.stage(&[Rows::Orders(&[(1, Some(7), Some(5), "Placed", 60), (2, Some(7), Some(6), "Placed", 61)])]).await;
    lake.stage(&[Rows::Orders(&[(1, Some(7), Some(6), "Delivered", 70), (3, None, None, "Placed", 71)])]).await;
    lake.stage(&[Rows::Customers(&[(7, "Ada", Some("Rome"), 120)]), Rows::Riders(&[(6, 3.5, 0)])]).await;
    let customers = ["surrogate_key", "customer_id", "name", "is_inferred", "valid_from", "is_current"];
    let riders = ["surrogate_key", "rider_id", "rating", "is_inferred"];
    for house in House::all(&lake).await {
        house.load(&lake.entries[..3]).await.expect("loaded");
        let inferred = house.rows("dim_customers", &customers).await;
        assert_eq!(inferred.len(), 1);
        assert!(inferred[0].ends_with("|7||true|1900-01-01T00:00|true"), "{inferred:?}");
        let known = house.rows("dim_riders", &riders[1..]).await;
        assert_eq!(known, ["5|4.5|false", "6||true"]);
        let before = house.rows("dim_riders", &riders[..2]).await;
        house.load(&lake.entries[3..]).await.expect("loaded");
        assert_eq!(house.rows("dim_customers", &customers).await, [inferred[0].replace("||true|", "|Ada|false|")]);
        assert_eq!(house.rows("dim_riders", &riders[1..]).await, ["5|4.5|false", "6|3.5|false"]);
        assert_eq!(house.rows("dim_riders", &riders[..2]).await, before, "surrogate keys stay");
    }
}

#[tokio::test]
async fn a_load_that_was_cut_off_is_finished_by_the_next() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Customers(&[(7, "Ada", None, 1)]), Rows::Clicks(&[("a", 1)])]).await;
    lake.stage(&[Rows::Orders(&[(1, Some(8), None, "Placed", 60)]), Rows::Clicks(&[("b", 2)])]).await;
    let whole = House::all(&lake).await;
    for house in &whole {
        house.load(&lake.entries).await.expect("loaded");
    }
    // The last table's file is not what its entry says: all tables before it go in or none does, and nothing of the
    // ledger.
    let lying = lake.altered(2, |entry| entry.tables.get_mut("fact_clicks").expect("files")[0].rows = 9);
    let cut = [&lake.entries[..1], &lying].concat();
    for (house, whole) in House::all(&lake).await.into_iter().zip(whole) {
        let error = house.load(&cut).await.expect_err("a file of fewer rows");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("has 1 rows, and entry 2 of the journal says 9"), "{error}");
        assert_eq!(house.get().ledger().await.expect("ledger"), Ledger::default());
        let before: &[&str] = if house.is_atomic() { &[] } else { &["7", "8"] };
        assert_eq!(house.rows("dim_customers", &["customer_id"]).await, before);
        // A further entry may have come meanwhile, and the load may be cut otherwise.
        house.load(&lake.entries[..1]).await.expect("resumed");
        // Also what was in already is counted, in its files and not in the journal.
        let lies = lake.altered(2, |entry| entry.tables.get_mut("fact_orders").expect("files")[0].rows = 5);
        let error = house.load(&lies).await.expect_err("a file of fewer rows");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("has 1 rows, and entry 2 of the journal says 5"), "{error}");
        let receipt = house.load(&lake.entries[1..]).await.expect("resumed");
        assert_eq!((receipt.loaded_after, receipt.loaded_through), (1, 2));
        assert_eq!(receipt.copied, [("fact_orders".to_owned(), 1), ("fact_clicks".to_owned(), 1)].into());
        assert_eq!(house.everything().await, whole.everything().await);
    }
}

/// Not a row of its entry goes in, nor of those that would be loaded with it, wherever the file stands among them.
#[tokio::test]
async fn a_damaged_file_keeps_its_whole_entry_out() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Customers(&[(7, "Ada", None, 1)]), Rows::Clicks(&[("a", 1)])]).await;
    lake.stage(&[Rows::Orders(&[(1, Some(8), None, "Placed", 60)]), Rows::Clicks(&[("b", 2)])]).await;
    let file = lake.entries[1].tables["fact_clicks"][0].clone();
    let bytes = lake.store.get(&file.path).await.expect("read").expect("there");
    for house in House::all(&lake).await {
        // A bit of a page, of the header of the first one, of the footer; the end missing; all of it gone.
        let flips = [40, 9, bytes.len() - 20].map(|place| {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= 4;
            Some(damaged)
        });
        for damage in flips.into_iter().chain([Some(bytes[..bytes.len() - 1].to_vec()), None]) {
            match damage.clone() {
                Some(damaged) => drop(lake.store.put(&file.path, damaged.into()).await.expect("put")),
                None => lake.store.delete(&file.path).await.expect("deleted"),
            }
            let error = house.load(&lake.entries).await.expect_err("damaged");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(&file.path) && error.to_string().contains("entry 2"), "{error}");
            if damage.is_some_and(|damaged| damaged.len() == bytes.len()) {
                assert!(error.to_string().contains(&file.checksum.expect("one").to_string()), "{error}");
            }
            assert_eq!(house.get().ledger().await.expect("ledger"), Ledger::default());
            for (table, column) in
                [("dim_customers", "customer_id"), ("fact_orders", "order_id"), ("fact_clicks", "page")]
            {
                assert_eq!(house.rows(table, &[column]).await, Vec::<String>::new(), "{table}");
            }
        }
        lake.store.put(&file.path, bytes.clone()).await.expect("put back");
        house.load(&lake.entries).await.expect("it goes on as soon as the file is back");
    }
}

#[tokio::test]
async fn the_ledger_tells_each_load() {
    let mut lake = Lake::new();
    for second in 1..=4 {
        lake.stage(&[Rows::Clicks(&[("a", second), ("b", second)])]).await;
    }
    lake.stage(&[]).await;
    for house in House::all(&lake).await {
        let warehouse = house.get();
        assert_eq!(warehouse.ledger().await.expect("ledger"), Ledger::default());
        assert_eq!(warehouse.receipts(9).await.expect("receipts"), []);
        let first = house.load(&lake.entries[..3]).await.expect("loaded");
        assert_eq!((first.loaded_after, first.loaded_through), (0, 3));
        assert_eq!(first.copied, BTreeMap::from([("fact_clicks".to_owned(), 6)]));
        let second = house.load(&lake.entries[3..4]).await.expect("loaded");
        let empty = house.load(&lake.entries[4..]).await.expect("loaded");
        assert_eq!(empty.copied, BTreeMap::new());
        assert_eq!(empty.attempt.as_deref(), Some("a"));
        let expected = Ledger { loaded_through: 5, loads: 3, last: Some(empty.clone()) };
        assert_eq!(warehouse.ledger().await.expect("ledger"), expected);
        assert_eq!(warehouse.receipts(2).await.expect("receipts"), [empty.clone(), second.clone()]);
        assert_eq!(warehouse.receipts(9).await.expect("receipts"), [empty, second, first]);
    }
}

#[tokio::test]
async fn entries_that_do_not_follow_or_fit_are_refused() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Clicks(&[("a", 1)])]).await;
    lake.stage(&[Rows::Clicks(&[("b", 2)])]).await;
    for house in House::all(&lake).await {
        assert_eq!(house.load(&lake.entries[1..]).await.expect_err("a gap").kind(), ErrorKind::Fenced);
        assert_eq!(house.load(&[]).await.expect_err("nothing").kind(), ErrorKind::Internal);
        let twice = [Arc::clone(&lake.entries[0]), Arc::clone(&lake.entries[0])];
        assert_eq!(house.load(&twice).await.expect_err("twice").kind(), ErrorKind::Internal);
        let foreign = lake.altered(1, |entry| entry.pipeline = "q".to_owned());
        assert_eq!(house.load(&foreign).await.expect_err("foreign").kind(), ErrorKind::Corrupt);
        let gone = lake.altered(1, |entry| {
            entry.tables.insert("fact_gone".to_owned(), vec![]);
        });
        let error = house.load(&gone).await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("fact_gone"), "{error}");
        assert_eq!(house.get().ledger().await.expect("ledger"), Ledger::default());
        house.load(&lake.entries).await.expect("the right ones still go in");
    }
}

#[tokio::test]
async fn files_that_lie_are_corrupt_and_named() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Clicks(&[("a", 1), ("b", 2)])]).await;
    let other = RecordBatch::try_new(
        Arc::new(Schema::new(vec![Field::new("other", DataType::Int32, false)])),
        vec![Arc::new(Int32Array::from(vec![1, 2]))],
    );
    lake.stage_batches(&[("fact_clicks", other.expect("a batch"))]).await;
    let other = lake.entries[1].tables["fact_clicks"].clone();
    lake.store.put("staged/text", "no parquet".into()).await.expect("put");
    let text = DataFile::of("staged/text".to_owned(), 1, b"no parquet");
    type Alter<'a> = &'a dyn Fn(&mut Vec<DataFile>);
    let cases: [(Alter<'_>, &str); 5] = [
        (&|files| files[0].rows = 3, "has 2 rows, and entry 1 of the journal says 3"),
        (&|files| files[0].bytes -= 1, "bytes, and entry 1 of the journal says"),
        (&|files| files[0].path.push('x'), "is not in the object store"),
        (&|files| files[0] = other[0].clone(), "does not have the table's columns"),
        (&|files| files[0] = text.clone(), "cannot be read as Parquet"),
    ];
    for house in House::all(&lake).await {
        for (alter, expected) in &cases {
            let entries = lake.altered(1, |entry| alter(entry.tables.get_mut("fact_clicks").expect("files")));
            let error = house.load(&entries).await.expect_err(expected);
            // Redshift copies by position: the columns are looked at before, and a foreign one may be the pipeline's of old.
            let (kind, expected) = match (&house, *expected) {
                (House::Sql(_, Database { engine: Engine::Redshift(_), .. }), "does not have the table's columns") => {
                    (ErrorKind::Invalid, "has a column other INT, which the pipeline does not have")
                }
                (_, expected) => (ErrorKind::Corrupt, expected),
            };
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains("staged/"), "{error}");
        }
        assert_eq!(house.get().ledger().await.expect("ledger"), Ledger::default());
        assert_eq!(house.rows("fact_clicks", &["page"]).await, Vec::<String>::new());
    }
}

/// Numbers that follow from a seed.
fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Rows each with a position that no other row has, in no order of time.
fn placed(rows: &Rows<'_>, mut position: impl FnMut() -> String) -> (&'static str, RecordBatch) {
    let (table, rows) = batch(rows);
    let mut columns = rows.columns().to_vec();
    let positions = (0..rows.num_rows()).map(|_| Some(position())).collect::<StringArray>();
    *columns.last_mut().expect("a position") = Arc::new(positions);
    (table, RecordBatch::try_new(rows.schema(), columns).expect("a batch"))
}

/// Twelve entries of seeded mess: statuses out of order, repeated dimension files, late rows, unknown members.
async fn mess(seed: u64) -> Lake {
    let mut draw = dice(seed);
    let mut places = dice(seed + 1_000);
    let mut count = 0;
    let mut lake = Lake::new();
    for _ in 0..12 {
        let mut orders = BTreeMap::new();
        let mut customers = BTreeMap::new();
        let mut riders = BTreeMap::new();
        for _ in 0..draw(12) {
            let id = draw(20) as i32;
            let status = ["Placed", "On the way", "Delivered"][draw(3) as usize];
            orders.insert(id, (id, Some(draw(6) as i32), Some(draw(6) as i32), status, draw(500) as i64));
        }
        for _ in 0..draw(5) {
            let id = draw(6) as i32;
            let city = [None, Some("Rome"), Some("Oslo")][draw(3) as usize];
            customers.insert(id, (id, "Ada", city, draw(500) as i64));
        }
        for _ in 0..draw(3) {
            let id = draw(6) as i64;
            riders.insert(id, (id, draw(5) as f64, draw(500) as i64));
        }
        let orders: Vec<_> = orders.into_values().collect();
        let customers: Vec<_> = customers.into_values().collect();
        let riders: Vec<_> = riders.into_values().collect();
        let mut tables = vec![Rows::Clicks(&[("a", 1)])];
        tables.extend((!orders.is_empty()).then_some(Rows::Orders(&orders)));
        tables.extend((!customers.is_empty()).then_some(Rows::Customers(&customers)));
        tables.extend((!riders.is_empty()).then_some(Rows::Riders(&riders)));
        let mut position = || {
            count += 1;
            format!("{:03}.{count:06}", places(1_000))
        };
        let batches: Vec<_> = tables.iter().map(|rows| placed(rows, &mut position)).collect();
        lake.stage_batches(&batches).await;
    }
    lake
}

/// The same mess, but what comes of a customer is within what a history promises whatever the order: instants are
/// distinct, and no attributes come more than twice, with nothing between.
async fn promised_mess(seed: u64) -> Lake {
    const CITIES: [Option<&str>; 4] = [Some("Rome"), None, Some("Oslo"), Some("Bern")];
    let mut lake = mess(seed).await;
    let mut draw = dice(seed + 2_000);
    let mut rows: Vec<Vec<_>> = vec![Vec::new(); lake.entries.len()];
    for customer in 0..6 {
        for (step, second) in (0..8).map(|step| (step, 60 * step as i64 + i64::from(customer))) {
            let entry = draw(12) as usize;
            rows[entry].push((customer, "Ada", CITIES[step / 2], second));
            // The same file once more.
            if draw(4) == 0 {
                rows[(entry + 5) % 12].push((customer, "Ada", CITIES[step / 2], second));
            }
        }
    }
    let mut entries = std::mem::take(&mut lake.entries).into_iter();
    for rows in rows {
        let old = entries.next().expect("an entry");
        lake.stage_batches(&[batch(&Rows::Customers(&rows))]).await;
        let new = Arc::make_mut(lake.entries.last_mut().expect("an entry"));
        let kept = old.tables.iter().filter(|(table, _)| *table != "dim_customers");
        new.tables.retain(|_, files| files.iter().any(|file| file.rows > 0));
        new.tables.extend(kept.map(|(table, files)| (table.clone(), files.clone())));
    }
    lake
}

#[tokio::test]
async fn how_entries_are_cut_into_loads_leaves_no_trace_and_all_warehouses_agree() {
    for seed in 0..3 {
        let lake = mess(seed).await;
        let houses = || async { House::all(&lake).await.into_iter().filter(|house| !matches!(house, House::Sql(..))) };
        let memory = houses().await.next().expect("memory");
        memory.load(&lake.entries).await.expect("loaded");
        let expected = memory.everything().await;
        for delta in houses().await.skip(1) {
            delta.load(&lake.entries).await.expect("loaded");
            assert_eq!(delta.everything().await, expected, "seed {seed}");
        }
        let memory = houses().await.next().expect("memory");
        for entry in &lake.entries {
            memory.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        assert_eq!(memory.everything().await, expected, "seed {seed}, 1 at once");
        for house in houses().await {
            for entries in lake.entries.chunks(5) {
                house.load(entries).await.expect("loaded");
            }
            assert_eq!(house.everything().await, expected, "seed {seed}, 5 at once");
        }
    }
}

#[tokio::test]
async fn where_histories_promise_it_databases_agree_as_well_column_for_column() {
    for seed in 0..3 {
        let lake = promised_mess(seed).await;
        let memory = House::all(&lake).await.remove(0);
        memory.load(&lake.entries).await.expect("loaded");
        let expected = memory.everything().await;
        assert!(expected.iter().all(|table| !table.is_empty()), "seed {seed} leaves a table empty");
        for size in [12, 5, 1] {
            for house in House::all(&lake).await {
                for entries in lake.entries.chunks(size) {
                    house.load(entries).await.expect("loaded");
                }
                assert_eq!(house.everything().await, expected, "seed {seed}, {size} at once");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loaders_at_once_double_nothing() {
    let lake = promised_mess(7).await;
    let reference = House::all(&lake).await.remove(0);
    reference.load(&lake.entries).await.expect("loaded");
    let expected = reference.everything().await;
    for house in shared(&lake).await {
        three_at_once(&lake, &house).await;
        assert_eq!(house.everything().await, expected);
    }
}

/// Three loaders at once bring all entries in.
async fn three_at_once(lake: &Lake, house: &House) {
    let first = house.get();
    let [second, third] = [0, 1].map(|_| house.twin(lake).expect("tables that outlive their loader"));
    let (all, half) = (&lake.entries[..], &lake.entries[..6]);
    let outcomes = futures::join!(first.load(all), second.load(half), third.load(all));
    let outcomes = [outcomes.0, outcomes.1, outcomes.2];
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(won >= 1, "{outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert!(matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Transient), "{error}");
    }
    let ledger = second.ledger().await.expect("ledger");
    if ledger.loaded_through < 12 {
        second.load(&lake.entries[ledger.loaded_through as usize..]).await.expect("the rest");
    }
    let receipts = first.receipts(99).await.expect("receipts");
    let mut through = 0;
    for receipt in receipts.iter().rev() {
        assert_eq!(receipt.loaded_after, through);
        through = receipt.loaded_through;
    }
    assert_eq!(through, 12);
}

#[tokio::test]
async fn a_loader_that_slept_through_another_ones_load_is_fenced() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Clicks(&[("a", 1)])]).await;
    lake.stage(&[Rows::Clicks(&[("b", 2)])]).await;
    for house in shared(&lake).await {
        let zombie = house.get();
        assert_eq!(zombie.ledger().await.expect("ledger").loaded_through, 0);
        house.twin(&lake).expect("another").load(&lake.entries).await.expect("loaded");
        assert_eq!(zombie.load(&lake.entries[..1]).await.expect_err("late").kind(), ErrorKind::Fenced);
        assert_eq!(house.rows("fact_clicks", &["page"]).await, ["a", "b"]);
    }
}

#[tokio::test]
async fn a_table_of_other_columns_is_refused_with_the_difference() {
    let lake = Lake::new();
    let mut changed = specs();
    changed[1] = TableSpec {
        key: vec![],
        ..spec(
            "fact_clicks",
            TableKind::Fact,
            History::Overwrite,
            &[("page", DataType::Int32), ("ms", DataType::Int32)],
        )
    };
    for house in deltas(&lake).await {
        let House::Delta(warehouse, home) = &house else { panic!("only Delta") };
        warehouse.prepare().await.expect("preparing twice is no matter");
        let error = home.warehouse(&lake, &changed).prepare().await.expect_err("other columns");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let told = error.to_string();
        assert!(told.contains("fact_clicks") && told.contains("page is STRING and must be INT"), "{told}");
        assert!(!told.contains("ms"), "a column that could be added is no reason: {told}");
        assert!(told.contains(&format!("the whole folder {} away", home.folder)), "{told}");
    }
}

#[tokio::test]
async fn a_warehouse_that_was_not_prepared_holds_nothing_and_takes_nothing() {
    let mut lake = Lake::new();
    lake.stage(&[Rows::Clicks(&[("a", 1)])]).await;
    for home in Home::both() {
        let warehouse = home.warehouse(&lake, &specs());
        // Without a folder, and with one that a preparation left behind half-way.
        for _ in 0..2 {
            assert_eq!(warehouse.ledger().await.expect("a ledger"), Ledger::default());
            assert_eq!(warehouse.receipts(9).await.expect("receipts"), []);
            let error = warehouse.load(&lake.entries).await.expect_err("no table");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("fact_clicks"), "{error}");
            if let Folder::Local(folder) = &home.folder {
                std::fs::create_dir_all(folder.join("_ledger")).expect("a folder");
            }
        }
        warehouse.prepare().await.expect("prepared");
        warehouse.load(&lake.entries).await.expect("loaded");
        assert_eq!(warehouse.ledger().await.expect("a ledger").loaded_through, 1);
        assert_eq!(warehouse.receipts(9).await.expect("receipts").len(), 1);
    }
}

#[tokio::test]
async fn many_small_loads_leave_few_files_and_old_ones_go() {
    let mut lake = Lake::new();
    for load in 0..70 {
        lake.stage(&[Rows::Orders(&[(load, None, None, "Placed", 1)]), Rows::Clicks(&[("a", 1)])]).await;
    }
    for load in 70..140 {
        lake.stage(&[Rows::Orders(&[(load % 70, None, None, "Placed", 2)])]).await;
    }
    for house in deltas(&lake).await {
        for entry in &lake.entries[..70] {
            house.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        let House::Delta(_, home) = &house else { panic!("only Delta") };
        assert!(parquet_files(home).await > 60, "replaced files stay for their readers");
        // Two days later the next commits look for them.
        let later = SystemClock.now_micros() + 48 * 3_600_000_000;
        let context = Context { clock: Arc::new(ManualClock::at(later)), ..Context::system() };
        let warehouse = home.warehouse_at(&lake, &specs(), context);
        for entry in &lake.entries[70..] {
            warehouse.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        assert!(parquet_files(home).await < 30, "{} files", parquet_files(home).await);
        for table in ["fact_orders", "fact_clicks", "_ledger"] {
            assert_eq!(data_files(&home.table(table).await).len(), 1, "{table}");
            let checkpoint = "_delta_log/_last_checkpoint".to_owned();
            assert!(home.files(table).await.contains(&checkpoint), "{table} has a checkpoint");
        }
        assert_eq!(house.rows("fact_orders", &["order_id"]).await.len(), 70);
        assert_eq!(house.get().ledger().await.expect("ledger").loads, 140);
    }
}

/// The Parquet files in the folder of the orders, whether the table still has them or not.
async fn parquet_files(home: &Home) -> usize {
    home.files("fact_orders").await.iter().filter(|file| !file.starts_with("_delta_log")).count()
}

#[tokio::test]
async fn every_type_goes_in_and_comes_back() {
    use arrow::array::{BooleanArray, Date32Array, Float32Array, Int16Array, ListArray, StructArray};
    use arrow::datatypes::{Fields, Int32Type, TimeUnit};
    let inner = Fields::from(vec![Field::new("a", DataType::Int32, true)]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(StringArray::from(vec!["é", "z"]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("small", Arc::new(Int16Array::from(vec![Some(-3), None]))),
        ("real", Arc::new(Float32Array::from(vec![Some(0.5), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(-719_162), None]))),
        ("clock", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]))),
        ("instant", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None]).with_timezone("UTC"))),
        (
            "wide",
            Arc::new(
                Decimal128Array::from(vec![Some(10i128.pow(37)), None]).with_precision_and_scale(38, 2).expect("fits"),
            ),
        ),
        ("list", Arc::new(list)),
        (
            "inside",
            Arc::new(StructArray::new(inner.clone(), vec![Arc::new(Int32Array::from(vec![Some(4), None]))], None)),
        ),
    ];
    let types: Vec<(&str, DataType)> =
        columns.iter().map(|(name, column)| (*name, column.data_type().clone())).collect();
    assert!(matches!(types[5].1, DataType::Timestamp(TimeUnit::Microsecond, None)));
    let facts = spec("fact", TableKind::Fact, History::Overwrite, &types);
    let keep = spec("dim", TableKind::Dimension, History::Keep, &types);
    let mut staged: Vec<ArrayRef> = columns.into_iter().map(|(_, column)| column).collect();
    staged.extend(versions(&[1, 1]));
    let rows = RecordBatch::try_new(staged_schema(&facts.columns), staged).expect("a batch");
    let mut lake = Lake::new();
    lake.stage_batches(&[("fact", rows.clone()), ("dim", rows.clone())]).await;
    lake.stage_batches(&[("fact", rows.clone()), ("dim", rows)]).await;
    let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
    for house in House::of(&lake, &[facts, keep]).await {
        for entry in &lake.entries {
            house.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        for table in ["fact", "dim"] {
            let found = house.rows(table, &names).await;
            assert_eq!(found.len(), 2, "{table}");
            assert_eq!(found[0], "z|||||||||{a: }", "{table}");
            assert!(found[1].starts_with("é|true|-3|0.5|0001-01-01|1970-01-01T00:00:00.000001|"), "{}", found[1]);
            assert!(found[1].ends_with("|[1, ]|{a: 4}"), "{}", found[1]);
        }
        let inferred = house.batch("dim").await;
        assert_eq!(inferred.column_by_name("is_inferred").expect("a column").as_boolean().true_count(), 0);
    }
}
