//! Files are read back with another reader's eyes: what stands in the store, not what was handed in.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, Decimal128Array, Int32Array, ListArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field as ArrowField, Int32Type, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, Type as PhysicalType};
use proptest::prelude::*;

use super::decimals::Decimals;
use super::encode::{TABLE_KEY, encode};
use super::*;
use crate::batch::{Arrivals, Counts, DimensionFile, Position, Range, Reject, ShardId, TableRows};
use crate::error::ErrorKind;
use crate::runtime::{ManualClock, Random};

const DAY: i64 = 86_400_000_000;

fn rows(arrivals: &[i64]) -> RecordBatch {
    let numbers = 0..i32::try_from(arrivals.len()).expect("few");
    let amounts = Decimal128Array::from_iter_values(numbers.clone().map(|number| i128::from(number) * 100 - 7));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from_iter_values(numbers.clone()))),
        ("amount", Arc::new(amounts.with_precision_and_scale(10, 2).expect("fits"))),
        ("day", Arc::new(Date32Array::from_iter_values(numbers.clone()))),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(arrivals.iter().copied()))),
        (
            "name",
            Arc::new(
                numbers.clone().map(|number| (number % 3 > 0).then(|| format!("n{number}"))).collect::<StringArray>(),
            ),
        ),
        (
            "_arrived_at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(arrivals.iter().copied()).with_timezone("UTC")),
        ),
        ("_position", Arc::new(StringArray::from_iter_values(numbers.map(|number| format!("{number:09}"))))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns")
}

fn cleaned(table: &str, rows: RecordBatch) -> Cleaned {
    Cleaned { tables: vec![TableRows { table: table.to_owned(), rows }], ..Cleaned::default() }
}

fn reject(arrived_at: i64, payload: &'static [u8]) -> Reject {
    Reject {
        reason: "not_json".to_owned(),
        message: "line 1".to_owned(),
        shard: ShardId::new("shardId-0"),
        position: Position::new(42.into(), 3),
        index: 5,
        arrived_at,
        payload: Bytes::from_static(payload),
    }
}

fn stager(store: &Store, seed: u64) -> Stager {
    Stager::new(store.clone(), Context { clock: Arc::new(ManualClock::at(0)), random: Random::seeded(seed) })
}

fn memory() -> Store {
    Store::memory("lake").expect("a store")
}

async fn read(store: &Store, file: &DataFile) -> RecordBatch {
    let bytes = store.get(&file.path).await.expect("readable").expect("there");
    assert_eq!(bytes.len() as u64, file.bytes);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").with_batch_size(10_000_000);
    let mut batches: Vec<RecordBatch> = reader.build().expect("a reader").map(|batch| batch.expect("rows")).collect();
    let batch = batches.pop().expect("a batch");
    assert!(batches.is_empty());
    assert_eq!(batch.num_rows() as u64, file.rows);
    batch
}

#[tokio::test]
async fn what_is_read_back_is_what_was_staged() {
    let store = memory();
    let given = rows(&[DAY + 1, DAY + 5, DAY + 3]);
    let file = DimensionFile { path: "a.csv".to_owned(), fingerprint: "f".to_owned(), replaces: None, effective_at: 9 };
    let mut cleaned = cleaned("fact_orders", given.clone());
    cleaned.counts = Counts { events: 3, ..Counts::default() };
    cleaned.ranges.extend(&ShardId::new("s"), Range::new(None, Position::new(9.into(), 0))).expect("a range");
    cleaned.arrivals = Arrivals::of([4_000].into_iter());
    cleaned.dimension_files.insert("fact_orders".to_owned(), file.clone());
    let staged = stager(&store, 1).stage(cleaned).await.expect("staged");
    let [file_written] = staged.tables["fact_orders"].as_slice() else { panic!("{staged:?}") };
    assert!(file_written.path.starts_with("staged/fact_orders/date=1970-01-02/"), "{}", file_written.path);
    assert!(file_written.path.ends_with(".parquet"));
    let found = read(&store, file_written).await;
    for (field, expected) in found.schema().fields().iter().zip(given.schema().fields()) {
        assert_eq!((field.name(), field.data_type()), (expected.name(), expected.data_type()));
    }
    assert_eq!(found.columns(), given.columns());
    assert!(staged.quarantine.is_empty());
    assert_eq!((staged.counts.events, staged.ranges.len()), (3, 1));
    assert_eq!(staged.arrivals.waits(4).collect::<Vec<_>>(), [(0, 1)]);
    assert_eq!(staged.dimension_files["fact_orders"], file);
}

#[tokio::test]
async fn the_file_is_one_that_a_copy_takes() {
    let store = memory();
    let staged = stager(&store, 1).stage(cleaned("t", rows(&[0; 5000]))).await.expect("staged");
    let bytes = store.get(&staged.tables["t"][0].path).await.expect("readable").expect("there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    let metadata = reader.metadata();
    let pairs = metadata.file_metadata().key_value_metadata().expect("metadata");
    assert_eq!(
        pairs.iter().map(|pair| (pair.key.as_str(), pair.value.as_deref())).collect::<Vec<_>>(),
        [(TABLE_KEY, Some("t"))]
    );
    assert_eq!(metadata.file_metadata().version(), 1);
    let expected = [
        PhysicalType::INT32,
        PhysicalType::INT64,
        PhysicalType::INT32,
        PhysicalType::INT64,
        PhysicalType::BYTE_ARRAY,
        PhysicalType::INT64,
        PhysicalType::BYTE_ARRAY,
    ];
    for (column, expected) in metadata.row_group(0).columns().iter().zip(expected) {
        assert_eq!(column.column_type(), expected, "{}", column.column_path());
        assert!(matches!(column.compression(), Compression::ZSTD(_)));
        assert!(column.statistics().is_some_and(|statistics| statistics.min_bytes_opt().is_some()));
        let plain = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY, Encoding::PLAIN_DICTIONARY];
        assert!(column.encodings().all(|encoding| plain.contains(&encoding)), "{}", column.column_path());
    }
    let position = metadata.row_group(0).column(6);
    assert!(position.dictionary_page_offset().is_none());
    let zone = |name| reader.schema().field_with_name(name).expect("a column").data_type().clone();
    assert_eq!(zone("_arrived_at"), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    assert_eq!(zone("at"), DataType::Timestamp(TimeUnit::Microsecond, None));
}

/// A column of every precision, the largest and the smallest value of it and a null, then one in a list and one in a
/// struct.
fn decimals() -> RecordBatch {
    let of = |precision: u8| {
        let largest = 10_i128.pow(precision.into()) - 1;
        let values = Decimal128Array::from(vec![Some(largest), None, Some(-largest)]);
        Arc::new(values.with_precision_and_scale(precision, 1).expect("fits")) as ArrayRef
    };
    let item = Arc::new(ArrowField::new("item", DataType::Decimal128(5, 1), true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([2, 0, 1]), of(5), None);
    let member = Arc::new(ArrowField::new("member", DataType::Decimal128(12, 1), true));
    let object = StructArray::new(vec![member].into(), vec![of(12)], None);
    let plain = (1..=38).map(|precision| (format!("d{precision}"), of(precision)));
    let arrived = TimestampMicrosecondArray::from(vec![0; 3]).with_timezone("UTC");
    let nested: [(String, ArrayRef); 3] = [
        ("list".to_owned(), Arc::new(list)),
        ("struct".to_owned(), Arc::new(object)),
        ("_arrived_at".to_owned(), Arc::new(arrived)),
    ];
    RecordBatch::try_from_iter(plain.chain(nested)).expect("columns")
}

/// Physical type and length of each column of a file, by path.
async fn physical(store: &Store, file: &DataFile) -> Vec<(String, PhysicalType, i32)> {
    let bytes = store.get(&file.path).await.expect("readable").expect("there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    let columns = reader.parquet_schema().columns().iter();
    columns.map(|column| (column.path().string(), column.physical_type(), column.type_length())).collect()
}

#[tokio::test]
async fn decimals_are_fixed_length_bytes_where_that_is_wished() {
    let (store, given) = (memory(), decimals());
    let bytes = |digits: f64| ((digits * 10_f64.log2() + 1.0) / 8.0).ceil() as i32;
    let paths = (1..=38).map(|digits| (format!("d{digits}"), f64::from(digits)));
    let nested = [("list.list.item".to_owned(), 5.0), ("struct.member".to_owned(), 12.0)];
    let fixed = paths.chain(nested).map(|(path, digits)| (path, PhysicalType::FIXED_LEN_BYTE_ARRAY, bytes(digits)));
    for wished in [true, false] {
        let wishing = stager(&store, 1).with_fixed_length_decimals(true).with_fixed_length_decimals(wished);
        let staged = wishing.stage(cleaned("t", given.clone())).await.expect("staged");
        let file = &staged.tables["t"][0];
        let found = physical(&store, file).await;
        if wished {
            assert_eq!(found[..40], fixed.clone().collect::<Vec<_>>());
        } else {
            let by_precision = [PhysicalType::INT32, PhysicalType::INT64, PhysicalType::FIXED_LEN_BYTE_ARRAY];
            assert_eq!([found[8].1, found[17].1, found[18].1], by_precision);
        }
        assert_eq!(read(&store, file).await.columns(), given.columns(), "{wished}");
    }
}

#[tokio::test]
async fn a_batch_across_midnight_makes_a_file_a_day() {
    let store = memory();
    let arrivals = [DAY, DAY - 1, 2 * DAY, 0, DAY + 7, -1];
    let staged = stager(&store, 1).stage(cleaned("t", rows(&arrivals))).await.expect("staged");
    let mut found = Vec::new();
    for file in &staged.tables["t"] {
        let ids = read(&store, file).await.column(0).as_primitive::<Int32Type>().values().to_vec();
        found.push((file.path.split('/').nth(2).expect("a day").to_owned(), ids));
    }
    let expected =
        [("1969-12-31", vec![5]), ("1970-01-01", vec![1, 3]), ("1970-01-02", vec![0, 4]), ("1970-01-03", vec![2])];
    assert_eq!(found, expected.map(|(day, ids)| (format!("date={day}"), ids)));
}

#[tokio::test]
async fn rejects_go_to_quarantine_by_day() {
    let store = memory();
    let rejects = vec![reject(0, b"{\xff"), reject(DAY, b""), reject(1, b"x")];
    let staged = stager(&store, 1).stage(Cleaned { rejects, ..Cleaned::default() }).await.expect("staged");
    assert!(staged.tables.is_empty());
    let [first, second] = staged.quarantine.as_slice() else { panic!("{staged:?}") };
    assert!(
        first.path.starts_with("quarantine/date=1970-01-01/") && second.path.starts_with("quarantine/date=1970-01-02/")
    );
    let found = read(&store, first).await;
    let names: Vec<_> = found.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names,
        ["reason", "message", "shard", "sequence", "subsequence", "event_index", "arrived_at", "payload"]
    );
    let payloads: Vec<_> = found.column(7).as_binary::<i32>().iter().flatten().collect();
    assert_eq!(payloads, [&b"{\xff"[..], b"x"]);
    let row: Vec<String> = (0..7)
        .map(|column| arrow::util::display::array_value_to_string(found.column(column), 0).expect("printable"))
        .collect();
    assert_eq!(row.join("|"), "not_json|line 1|shardId-0|42|3|5|1970-01-01T00:00:00Z");
}

#[tokio::test]
async fn nothing_writes_nothing() {
    let store = memory();
    let staged = stager(&store, 1).stage(cleaned("t", rows(&[]))).await.expect("staged");
    assert!(staged.tables.is_empty() && staged.quarantine.is_empty());
    assert!(store.list("", None).await.expect("a listing").is_empty());
}

#[tokio::test]
async fn workers_never_meet_and_many_tables_keep_apart() {
    let store = memory();
    let tables = || (0..9).map(|table| TableRows { table: format!("t{table}"), rows: rows(&[0, 1]) }).collect();
    for seed in 0..3 {
        let staged =
            stager(&store, seed).stage(Cleaned { tables: tables(), ..Cleaned::default() }).await.expect("staged");
        assert_eq!(staged.tables.len(), 9);
        for (table, files) in &staged.tables {
            assert!(files.len() == 1 && files[0].path.starts_with(&format!("staged/{table}/")), "{files:?}");
        }
    }
    assert_eq!(store.list("staged", None).await.expect("a listing").len(), 27);
}

#[tokio::test]
async fn a_store_that_refuses_fails_the_batch_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::local(folder.path()).expect("a store");
    // A file stands where the table's folder must be.
    std::fs::create_dir(folder.path().join("staged")).expect("a folder");
    std::fs::write(folder.path().join("staged/t"), "in the way").expect("a file");
    let mut cleaned = cleaned("t", rows(&[0]));
    cleaned.rejects.push(reject(0, b"x"));
    let error = stager(&store, 1).stage(cleaned).await.expect_err("in the way");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().starts_with("cannot write staged/t/date=1970-01-01/"), "{error}");
}

#[test]
fn a_file_ends_where_it_is_large_enough() {
    let given = rows(&vec![0; 200_000]);
    let (mut rest, mut found) = (Some(given.clone()), Vec::new());
    while let Some(rows) = rest.take() {
        let encoded = encode("t", rows, Decimals::ByPrecision, 200_000).expect("encoded");
        let reader = ParquetRecordBatchReaderBuilder::try_new(encoded.bytes).expect("Parquet");
        assert_eq!(reader.metadata().file_metadata().num_rows() as u64, encoded.rows);
        let ids = reader.with_batch_size(1_000_000).build().expect("a reader").map(|batch| batch.expect("rows"));
        found.extend(ids.map(|batch| batch.column(0).clone()));
        rest = encoded.left;
    }
    assert!(found.len() > 1, "{} files", found.len());
    let parts: Vec<_> = found.iter().map(AsRef::as_ref).collect();
    assert_eq!(&arrow::compute::concat(&parts).expect("one column"), given.column(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_row_is_staged_once_on_its_day(arrivals in proptest::collection::vec(-3 * DAY..3 * DAY, 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut found = runtime.block_on(async {
            let store = memory();
            let staged = stager(&store, 1).stage(cleaned("t", rows(&arrivals))).await.expect("staged");
            let mut found = Vec::new();
            for file in staged.tables.get("t").into_iter().flatten() {
                let rows = read(&store, file).await;
                let instants = rows.column(3).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
                for micros in instants.values() {
                    let day = chrono::DateTime::from_timestamp_micros(*micros).expect("a time").date_naive();
                    assert!(file.path.contains(&format!("/date={day}/")), "{} {day}", file.path);
                }
                found.extend_from_slice(rows.column(0).as_primitive::<Int32Type>().values());
            }
            found
        });
        found.sort_unstable();
        prop_assert_eq!(found, (0..i32::try_from(arrivals.len()).expect("few")).collect::<Vec<_>>());
    }
}
