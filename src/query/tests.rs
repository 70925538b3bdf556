use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, default_logstore};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use tempfile::TempDir;
use url::Url;

use super::*;
use crate::batch::{Counts, Marks, Position, Range, Ranges, ShardId};
use crate::error::ErrorKind;
use crate::schema::{History, TableKind, TableLayout};

/// A store in memory, a warehouse folder, and what the journal says of them.
struct Fixture {
    store: Store,
    warehouse: TempDir,
    folder: Folder,
    specs: Vec<TableSpec>,
    entries: Vec<Arc<Entry>>,
}

const SETTINGS: QuerySettings = QuerySettings { memory_bytes: 64 << 20, partitions: 2 };

fn spec(name: &str, kind: TableKind, history: History) -> TableSpec {
    let columns = Schema::new(vec![
        Field::new("order_id", DataType::Int64, false),
        Field::new("order_value", DataType::Decimal128(10, 2), true),
        Field::new("order_status", DataType::Utf8, true),
    ]);
    TableSpec {
        name: name.to_owned(),
        kind,
        key: vec!["order_id".to_owned()],
        history,
        references: Vec::new(),
        columns: Arc::new(columns),
        one_to_one: true,
        max_bytes: BTreeMap::new(),
        layout: TableLayout::default(),
    }
}

/// Rows as `fact_orders` stages them: ids from `first`, each worth its id and a half.
fn orders(first: i64, count: i64) -> RecordBatch {
    let ids: Vec<i64> = (first..first + count).collect();
    let values: Decimal128Array = ids.iter().map(|id| Some(i128::from(id * 100 + 50))).collect();
    let statuses: StringArray = ids.iter().map(|id| (id % 2 == 0).then_some("Placed, \"paid\"")).collect();
    let arrived = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000; ids.len()]).with_timezone("UTC");
    let positions: StringArray = ids.iter().map(|id| Some(format!("{id:03}"))).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids)),
        Arc::new(values.with_precision_and_scale(10, 2).expect("decimal")),
        Arc::new(statuses),
        Arc::new(arrived),
        Arc::new(positions),
    ];
    let schema = staged_schema(&spec("fact_orders", TableKind::Fact, History::Overwrite));
    RecordBatch::try_new(schema, columns).expect("rows")
}

fn parquet_bytes(rows: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The staged files may come without the Arrow schema: the declared types must do.
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, rows.schema(), options).expect("writer");
    writer.write(rows).expect("rows");
    writer.close().expect("footer");
    bytes
}

fn entry(number: u64, tables: BTreeMap<String, Vec<DataFile>>, quarantine: Vec<DataFile>) -> Arc<Entry> {
    let mut ranges = Ranges::new();
    let range = Range::new(None, Position::new(number.into(), 0));
    ranges.extend(&ShardId::new("shardId-0"), range).expect("range");
    let counts = Counts {
        records: 10,
        events: 10,
        undecodable: BTreeMap::from([("not_json".to_owned(), 2)]),
        failed_checks: BTreeMap::from([("order_value_not_negative".to_owned(), 1)]),
        passed: 7,
        ..Counts::default()
    };
    Arc::new(Entry {
        format: 1,
        number,
        previous: None,
        pipeline: "food_delivery".to_owned(),
        writer: "writer-1".to_owned(),
        attempt: format!("attempt-{number}"),
        written_at: 1_700_000_000_123,
        opening: None,
        ranges,
        marks: Marks::default(),
        tables,
        quarantine,
        counts,
        dimension_files: BTreeMap::new(),
    })
}

impl Fixture {
    fn new() -> Self {
        let specs = vec![
            spec("fact_orders", TableKind::Fact, History::Overwrite),
            spec("dim_orders", TableKind::Dimension, History::Keep),
        ];
        let warehouse = tempfile::Builder::new().prefix("ware house ").tempdir().expect("folder");
        let folder = warehouse.path().into();
        Self { store: Store::memory("lake").expect("store"), warehouse, folder, specs, entries: Vec::new() }
    }

    async fn put(&self, path: &str, rows: &RecordBatch) -> DataFile {
        let bytes = parquet_bytes(rows);
        let file = DataFile::of(path.to_owned(), rows.num_rows() as u64, &bytes);
        self.store.put(path, bytes.into()).await.expect("put");
        file
    }

    /// Two entries of three orders each.
    async fn with_orders() -> Self {
        let mut fixture = Self::new();
        for number in 1..=2u64 {
            let path = format!("staged/fact_orders/date=2026-11-20/{number}.parquet");
            let file = fixture.put(&path, &orders(number as i64 * 10, 3)).await;
            let tables = BTreeMap::from([("fact_orders".to_owned(), vec![file])]);
            fixture.entries.push(entry(number, tables, Vec::new()));
        }
        fixture
    }

    async fn load(&self, table: &str, rows: RecordBatch) {
        let folder = self.warehouse.path().join(table);
        std::fs::create_dir_all(&folder).expect("folder");
        let url = Url::from_directory_path(folder).expect("url");
        DeltaTable::try_from_url(url).await.expect("table").write([rows]).await.expect("write");
    }

    fn holdings(&self) -> Holdings<'_> {
        let (warehouse, specs, entries) = (&self.folder, &self.specs, &self.entries);
        Holdings { store: &self.store, warehouse: Loaded::Delta(warehouse), specs, entries, verify: true }
    }

    async fn open(&self) -> Query {
        self.try_open().await.expect("open")
    }

    async fn try_open(&self) -> Result<Query> {
        Query::open(self.holdings(), SETTINGS).await
    }
}

async fn answer(query: &Query, sql: &str) -> String {
    let batches = query.run(sql).await.expect(sql).collect().await.expect(sql);
    pretty_format_batches(&batches).expect("table").to_string()
}

/// The one value of an answer.
async fn value(query: &Query, sql: &str) -> String {
    let table = answer(query, sql).await;
    let line = table.lines().nth(3).unwrap_or_default();
    line.trim_matches(|char| char == '|' || char == ' ').to_owned()
}

async fn text(query: &Query, sql: &str, format: Format) -> (u64, String) {
    let mut out = Vec::new();
    let rows = write(query.run(sql).await.expect(sql), format, &mut out).await.expect(sql);
    (rows, String::from_utf8(out).expect("text"))
}

async fn refusal(query: &Query, sql: &str) -> Error {
    match query.run(sql).await {
        Ok(result) => result.collect().await.expect_err(sql),
        Err(error) => error,
    }
}

#[tokio::test]
async fn staged_rows_are_those_of_the_files_that_the_journal_names() {
    let fixture = Fixture::with_orders().await;
    fixture.put("staged/fact_orders/date=2026-11-20/nobody_names_it.parquet", &orders(90, 3)).await;
    let query = fixture.open().await;
    assert_eq!(value(&query, "select count(*) from staged.fact_orders").await, "6");
    assert_eq!(value(&query, "select sum(order_value) from staged.fact_orders").await, "99.00");
    assert_eq!(value(&query, "select max(order_id) from staged.fact_orders where order_status is null").await, "21");
    assert_eq!(
        value(&query, "select arrow_typeof(_arrived_at) from staged.fact_orders limit 1").await,
        "Timestamp(µs, \"UTC\")"
    );
}

#[tokio::test]
async fn a_table_without_files_exists_with_its_columns() {
    let fixture = Fixture::new();
    let query = fixture.open().await;
    let expected = [
        ("staged.fact_orders", "order_id order_value order_status _arrived_at _position"),
        ("fact_orders", "order_id order_value order_status _arrived_at _position"),
        (
            "dim_orders",
            "surrogate_key order_id order_value order_status is_inferred valid_from valid_to is_current _arrived_at \
             _position _confirmed_at",
        ),
        ("rejects", "reason message shard sequence subsequence event_index arrived_at payload"),
    ];
    for (table, columns) in expected {
        let result = query.run(&format!("select * from {table}")).await.expect(table);
        let names: Vec<String> = result.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names.join(" "), columns, "{table}");
        assert_eq!(result.collect().await.expect(table).iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    }
    assert_eq!(value(&query, "select count(*) from ledger").await, "0");
    assert_eq!(value(&query, "select count(*) from journal").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_warehouse_is_its_delta_tables() {
    let fixture = Fixture::with_orders().await;
    fixture.load("fact_orders", orders(10, 4)).await;
    fixture.load("fact_orders", orders(20, 1)).await;
    let query = fixture.open().await;
    assert_eq!(value(&query, "select count(*) from fact_orders").await, "5");
    assert_eq!(value(&query, "select sum(order_value) from fact_orders where order_id >= 12").await, "46.50");
    let join = "select count(*) from fact_orders f join staged.fact_orders s on f.order_id = s.order_id";
    assert_eq!(value(&query, join).await, "4");
    assert_eq!(
        value(&query, "select arrow_typeof(order_status) from fact_orders limit 1").await,
        "Utf8",
        "no view types: the same text type as the staged files have"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warehouse_in_an_object_store_is_read_as_one_on_the_disk() {
    let mut fixture = Fixture::with_orders().await;
    // The same store as the staged files', as on S3: both are found under one address.
    fixture.folder = Folder::Store(fixture.store.clone(), "ware/house".to_owned());
    assert_eq!(value(&fixture.open().await, "select count(*) from fact_orders").await, "0");
    let path = "ware/house/fact_orders";
    let url = fixture.store.url_of(path).expect("an address");
    let log = default_logstore(fixture.store.objects_in(path), fixture.store.root(), &url, &StorageConfig::default());
    let table = DeltaTable::new(log).write([orders(10, 4)]).await.expect("written");
    table.write([orders(20, 1)]).await.expect("written");
    let query = fixture.open().await;
    assert_eq!(value(&query, "select count(*) from fact_orders").await, "5");
    let join = "select count(*) from fact_orders f join staged.fact_orders s on f.order_id = s.order_id";
    assert_eq!(value(&query, join).await, "4");
}

#[tokio::test]
async fn a_load_that_never_committed_leaves_an_empty_table() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.warehouse.path().join("fact_orders/_delta_log")).expect("folder");
    let query = fixture.open().await;
    assert_eq!(value(&query, "select count(*) from fact_orders").await, "0");
}

#[tokio::test]
async fn a_broken_delta_log_is_told_as_such() {
    let fixture = Fixture::new();
    let log = fixture.warehouse.path().join("fact_orders/_delta_log");
    std::fs::create_dir_all(&log).expect("folder");
    std::fs::write(log.join("00000000000000000000.json"), "{ no json").expect("file");
    let error = fixture.try_open().await.err().expect("broken");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("cannot open the Delta table") && error.to_string().contains("fact_orders"));
}

#[tokio::test]
async fn the_journal_is_one_row_an_entry() {
    let fixture = Fixture::with_orders().await;
    let query = fixture.open().await;
    let (rows, csv) = text(&query, "select * from journal order by number", Format::Csv).await;
    assert_eq!(rows, 2);
    let size = |index: usize| fixture.entries[index].tables["fact_orders"][0].bytes;
    let mut expected = String::from(
        "number,written_at,writer,shards,records,events,undecodable,failed_checks,rejected,passed,tables,files,rows,\
         bytes,quarantine_files,quarantine_rows,quarantine_bytes\n",
    );
    for number in 1..=2 {
        writeln!(
            expected,
            "{number},2023-11-14T22:13:20.123Z,writer-1,1,10,10,2,1,3,7,1,1,3,{},0,0,0",
            size(number - 1)
        )
        .expect("text");
    }
    assert_eq!(csv, expected);
}

fn one_reject() -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["not_json"])),
        Arc::new(StringArray::from(vec!["line 1, column 2: expected a value"])),
        Arc::new(StringArray::from(vec!["shardId-0"])),
        Arc::new(StringArray::from(vec!["49590338271490256608559692538361571095921575989136588898"])),
        Arc::new(Int64Array::from(vec![0])),
        Arc::new(arrow::array::Int32Array::from(vec![0])),
        Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]).with_timezone("UTC")),
        Arc::new(arrow::array::BinaryArray::from(vec![b"{ no".as_slice()])),
    ];
    RecordBatch::try_new(reject_schema(), columns).expect("rows")
}

#[tokio::test]
async fn rejects_are_the_rows_of_the_quarantine_files() {
    let mut fixture = Fixture::new();
    let file = fixture.put("quarantine/1.parquet", &one_reject()).await;
    fixture.entries.push(entry(1, BTreeMap::new(), vec![file]));
    let query = fixture.open().await;
    let (_, json) = text(&query, "select reason, payload from rejects", Format::Json).await;
    assert_eq!(json, "{\"reason\":\"not_json\",\"payload\":\"7b206e6f\"}\n");
}

#[tokio::test]
async fn a_wrong_name_is_answered_with_the_right_ones() {
    let fixture = Fixture::with_orders().await;
    let query = fixture.open().await;
    let table = [
        (
            "select * from fact_order",
            "there is no table \"fact_order\"; did you mean fact_orders or staged.fact_orders?",
        ),
        ("select * from staged.journal", "there is no table \"staged.journal\"; did you mean journal?"),
        ("select * from weather", "there is no table \"weather\"; there are dim_orders, fact_orders, journal,"),
        ("describe fact_order", "did you mean fact_orders"),
        ("show columns from fact_order", "fact_order"),
        ("select order_valu from fact_orders", "there is no column \"order_valu\"; did you mean order_value?"),
        ("select f.ordr_id from fact_orders f", "there is no column \"ordr_id\"; did you mean order_id?"),
        ("select 1 from fact_orders where weather > 1", "there are order_id, order_value, order_status"),
        ("select frobnicate(order_id) from fact_orders", "frobnicate"),
        ("select 1 from fact_orders, (select ordr_id from fact_orders) b", "did you mean order_id?"),
    ];
    for (sql, words) in table {
        let error = refusal(&query, sql).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        assert!(error.to_string().contains(words), "{sql}: {error}");
        assert!(!error.to_string().contains('\n'), "one line: {error}");
    }
}

#[tokio::test]
async fn nothing_can_be_changed_through_a_query() {
    let fixture = Fixture::with_orders().await;
    let query = fixture.open().await;
    let statements = [
        "insert into fact_orders select * from fact_orders",
        "with a as (select * from fact_orders) insert into fact_orders select * from a",
        "explain analyze insert into fact_orders select * from fact_orders",
        "create table a as select 1",
        "copy fact_orders to '/nowhere/a.csv'",
        "set datafusion.execution.batch_size = 1",
        "select * into a from fact_orders",
        "create external table a stored as csv location '/nowhere'",
    ];
    for sql in statements {
        let error = refusal(&query, sql).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
    }
    assert!(refusal(&query, "select * from '/etc/hostname'").await.to_string().contains("there is no table"));
    assert_eq!(query.tables(), fixture.open().await.tables());
}

#[tokio::test]
async fn what_helps_a_person_find_their_way_is_answered() {
    let fixture = Fixture::with_orders().await;
    let query = fixture.open().await;
    assert!(answer(&query, "show tables").await.contains("fact_orders"));
    assert!(answer(&query, "describe staged.fact_orders").await.contains("order_value"));
    assert!(answer(&query, "show columns from fact_orders").await.contains("order_value"));
    assert!(answer(&query, "explain select * from fact_orders").await.contains("plan"));
    assert!(answer(&query, "select table_name from information_schema.tables").await.contains("rejects"));
    assert_eq!(value(&query, "select count(*) from generate_series(1, 5)").await, "5");
    assert_eq!(value(&query, "with fact as (select 1 as a) select a from fact").await, "1");
}

#[tokio::test]
async fn completion_knows_the_tables_and_the_columns() {
    let query = Fixture::with_orders().await.open().await;
    let tables =
        ["dim_orders", "fact_orders", "journal", "ledger", "rejects", "staged.dim_orders", "staged.fact_orders"];
    assert_eq!(query.tables(), tables);
    let columns = query.columns();
    for column in ["order_value", "surrogate_key", "_position", "writer", "payload"] {
        assert_eq!(columns.iter().filter(|name| *name == column).count(), 1, "{column}");
    }
    assert!(columns.is_sorted());
}

#[tokio::test]
async fn a_table_cannot_take_the_name_of_a_relation_that_is_always_there() {
    for name in OWN_TABLES {
        let mut fixture = Fixture::new();
        fixture.specs = vec![spec(name, TableKind::Fact, History::Overwrite)];
        let error = fixture.try_open().await.err().expect(name);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn each_format_writes_the_same_answer() {
    let fixture = Fixture::with_orders().await;
    let query = fixture.open().await;
    let sql = "select order_id, order_value, order_status, _arrived_at, [order_id, 1] as list, \
               named_struct('a', order_id) as struct from staged.fact_orders where order_id < 12 order by order_id";
    let csv = "order_id,order_value,order_status,_arrived_at,list,struct\n\
               10,10.50,\"Placed, \"\"paid\"\"\",2023-11-14T22:13:20Z,\"[10, 1]\",{a: 10}\n\
               11,11.50,,2023-11-14T22:13:20Z,\"[11, 1]\",{a: 11}\n";
    assert_eq!(text(&query, sql, Format::Csv).await, (2, csv.to_owned()));
    let json = "{\"order_id\":10,\"order_value\":10.50,\"order_status\":\"Placed, \\\"paid\\\"\",\
                \"_arrived_at\":\"2023-11-14T22:13:20Z\",\"list\":[10,1],\"struct\":{\"a\":10}}\n\
                {\"order_id\":11,\"order_value\":11.50,\"order_status\":null,\
                \"_arrived_at\":\"2023-11-14T22:13:20Z\",\"list\":[11,1],\"struct\":{\"a\":11}}\n";
    assert_eq!(text(&query, sql, Format::Json).await, (2, json.to_owned()));
    let (rows, table) = text(&query, sql, Format::Table).await;
    assert_eq!((rows, table.lines().count()), (2, 6), "{table}");
    assert!(table.contains("| 11       | 11.50       |              "), "{table}");
}

#[tokio::test]
async fn an_answer_without_rows_still_has_its_header() {
    let query = Fixture::new().open().await;
    let sql = "select order_id, order_status from fact_orders";
    assert_eq!(text(&query, sql, Format::Csv).await, (0, "order_id,order_status\n".to_owned()));
    assert_eq!(text(&query, sql, Format::Json).await, (0, String::new()));
    let (rows, table) = text(&query, sql, Format::Table).await;
    assert_eq!(rows, 0);
    assert!(table.contains("order_status"), "{table}");
}

#[tokio::test]
async fn a_long_table_ends_and_says_so_and_the_streams_do_not() {
    let query = Fixture::new().open().await;
    let sql = "select value from generate_series(1, 25000)";
    let (rows, table) = text(&query, sql, Format::Table).await;
    assert_eq!(rows, 10_000);
    assert!(table.ends_with("take --format csv or json for all\n"));
    let (rows, exactly) = text(&query, "select value from generate_series(1, 10000)", Format::Table).await;
    assert_eq!(rows, 10_000);
    assert!(!exactly.contains("more rows"), "nothing is left out");
    for (format, header) in [(Format::Csv, 1), (Format::Json, 0)] {
        let (rows, text) = text(&query, sql, format).await;
        assert_eq!((rows, text.lines().count()), (25_000, 25_000 + header));
    }
}

/// Takes this many writes, then fails as told.
struct Reader {
    writes: usize,
    then: std::io::ErrorKind,
}

impl std::io::Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.writes == 0 {
            return Err(self.then.into());
        }
        self.writes -= 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_answer_and_a_full_disk_is_told() {
    let query = Fixture::new().open().await;
    // Without an end, if nobody stopped it.
    let sql = "select a.value from generate_series(1, 1000000000) a";
    let result = query.run(sql).await.expect("query");
    let mut head = Reader { writes: 3, then: std::io::ErrorKind::BrokenPipe };
    let rows = write(result, Format::Csv, &mut head).await.expect("no error");
    assert!(rows < 100_000, "{rows}");
    let mut full = Reader { writes: 1, then: std::io::ErrorKind::StorageFull };
    let error = write(query.run(sql).await.expect("query"), Format::Csv, &mut full).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn json_refuses_two_columns_of_one_name() {
    let query = Fixture::with_orders().await.open().await;
    let sql = "select a.order_id, b.order_id from staged.fact_orders a, staged.fact_orders b";
    let result = query.run(sql).await.expect("query");
    let error = write(result, Format::Json, &mut Vec::new()).await.expect_err("twins");
    assert!(error.to_string().contains("\"order_id\"") && error.to_string().contains("AS"), "{error}");
}

#[tokio::test]
async fn a_named_file_that_is_missing_or_broken_stops_the_answer() {
    let fixture = Fixture::with_orders().await;
    let path = &fixture.entries[1].tables["fact_orders"][0].path;
    let query = fixture.open().await;
    fixture.store.delete(path).await.expect("delete");
    for sql in ["select * from staged.fact_orders", "select count(*) from staged.fact_orders"] {
        let error = refusal(&query, sql).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("2.parquet") && error.to_string().contains("audit"), "{error}");
    }
    let size = fixture.entries[1].tables["fact_orders"][0].bytes;
    fixture.store.put(path, vec![7u8; usize::try_from(size).expect("small")].into()).await.expect("put");
    let error = refusal(&fixture.open().await, "select * from staged.fact_orders").await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_query_that_fails_on_its_way_is_the_users_to_change() {
    let query = Fixture::with_orders().await.open().await;
    for (sql, words) in [
        ("select 1 / (order_id - order_id) from staged.fact_orders", "ivide by zero"),
        ("select cast(order_status as int) from staged.fact_orders", "Cannot cast"),
        ("select arrow_typeof(order_id + 'x') from staged.fact_orders", "x"),
    ] {
        let error = refusal(&query, sql).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        assert!(error.to_string().contains(words), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_says_so() {
    let fixture = Fixture::new();
    let settings = QuerySettings { memory_bytes: 1 << 16, partitions: 1 };
    let query = Query::open(fixture.holdings(), settings).await.expect("open");
    let error = refusal(&query, "select array_agg(value) from generate_series(1, 3000000)").await;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("needs more memory"), "{error}");
}

/// Whatever a query would read of it: a page, the footer, or nothing but the count of its rows.
#[tokio::test]
async fn one_bit_of_a_file_is_told_instead_of_an_answer() {
    let mut fixture = Fixture::with_orders().await;
    let staged = fixture.entries[1].tables["fact_orders"][0].clone();
    let rejects = fixture.put("quarantine/3.parquet", &one_reject()).await;
    fixture.entries.push(entry(3, BTreeMap::new(), vec![rejects.clone()]));
    for (file, statements) in [
        (staged, ["select count(*) from staged.fact_orders", "select sum(order_id) from staged.fact_orders"]),
        (rejects, ["select count(*) from rejects", "select reason, message from rejects"]),
    ] {
        let bytes = fixture.store.get(&file.path).await.expect("read").expect("there");
        for place in [4, bytes.len() / 3, bytes.len() / 2, bytes.len() - 30] {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= 16;
            fixture.store.put(&file.path, damaged.into()).await.expect("put");
            for sql in statements {
                let error = refusal(&fixture.open().await, sql).await;
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}, byte {place}: {error}");
                assert!(error.to_string().contains(&file.path) && error.to_string().contains("SHA-256"), "{error}");
            }
        }
        fixture.store.put(&file.path, bytes).await.expect("put back");
        for sql in statements {
            answer(&fixture.open().await, sql).await;
        }
    }
}

#[tokio::test]
async fn ten_thousand_files_are_planned_without_touching_one() {
    let mut fixture = Fixture::new();
    for number in 1..=1_000u64 {
        let file = |index: u64| DataFile {
            path: format!("staged/fact_orders/date=2026-11-20/{number:06}-{index}.parquet"),
            rows: 3,
            bytes: 1_000,
            checksum: None,
            etag: None,
        };
        let tables = BTreeMap::from([("fact_orders".to_owned(), (0..10).map(file).collect())]);
        fixture.entries.push(entry(number, tables, Vec::new()));
    }
    let query = fixture.open().await;
    let sql = "explain select order_status, sum(order_value) from staged.fact_orders where order_id > 5 group by 1";
    let plan = answer(&query, sql).await;
    assert!(plan.contains("fact_orders") && !plan.contains("Error"), "none of them exists, and nobody asked: {plan}");
    assert_eq!(value(&query, "select sum(files) from journal").await, "10000");
}

#[tokio::test]
async fn files_of_other_writers_are_read_and_it_is_said() {
    let fixture = Fixture::with_orders().await;
    fixture.load("fact_orders", orders(1, 3)).await;
    let query = fixture.open().await;
    let asked = query.run("select max(order_id + 0) from fact_orders").await.expect("planned");
    let [note] = asked.notes() else { panic!("{:?}", asked.notes()) };
    assert!(note.starts_with("files of the table fact_orders that carry no checksum: 1;"), "{note}");
    assert_eq!(asked.collect().await.expect("read")[0].num_rows(), 1);
    let staged = query.run("select * from staged.fact_orders").await.expect("planned");
    assert_eq!(staged.notes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_log_is_told_in_one_sentence_that_names_its_file() {
    let fixture = Fixture::with_orders().await;
    for first in [1, 4, 7] {
        fixture.load("fact_orders", orders(first, 3)).await;
    }
    std::fs::remove_file(fixture.warehouse.path().join("fact_orders/_delta_log/00000000000000000001.json"))
        .expect("there");
    let error = fixture.try_open().await.err().expect("a gap");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let told = error.to_string();
    assert!(told.contains("fact_orders: its log is damaged") && told.contains("00000000000000000002.json"), "{told}");
    assert!(told.len() < 500 && !told.contains("Kernel"), "{told}");
}
