//! What becomes of a warehouse's tables when the pipeline gets another column.

use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;

use super::*;

/// The specs with a column more in every table, in front of the others: the order is no matter.
fn wider() -> Vec<TableSpec> {
    let added = |table: &str| match table {
        "fact_orders" => ("tip", DataType::Decimal128(6, 2)),
        "fact_clicks" => ("seen_at", DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None)),
        "dim_customers" => ("tier", DataType::Utf8),
        _ => ("tags", DataType::List(Arc::new(Field::new("item", DataType::Int32, true)))),
    };
    let wide = |spec: TableSpec| {
        let (name, data_type) = added(&spec.name);
        let fields = std::iter::once(Arc::new(Field::new(name, data_type, true)));
        let columns = Schema::new(fields.chain(spec.columns.fields().iter().cloned()).collect::<Vec<_>>());
        TableSpec { columns: Arc::new(columns), ..spec }
    };
    specs().into_iter().map(wide).collect()
}

/// Rows as the wider pipeline stages them: the new column holds the row's number, as far as its type can.
fn wide(rows: &Rows<'_>) -> (&'static str, RecordBatch) {
    let (table, batch) = batch(rows);
    let spec = wider().into_iter().find(|spec| spec.name == table).expect("a spec");
    let numbers = Int64Array::from_iter_values(0..batch.num_rows() as i64);
    let column: ArrayRef = match spec.columns.field(0).data_type() {
        DataType::List(item) => {
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(vec![1; batch.num_rows()]);
            let values = Int32Array::from_iter_values(0..batch.num_rows() as i32);
            Arc::new(arrow::array::ListArray::new(Arc::clone(item), offsets, Arc::new(values), None))
        }
        other => arrow::compute::cast(&numbers, other).expect("a cast"),
    };
    let columns = std::iter::once(column).chain(batch.columns().iter().cloned()).collect();
    (table, RecordBatch::try_new(staged_schema(&spec.columns), columns).expect("a batch"))
}

/// An entry of the narrow pipeline, then one of the wider: rows that stay, that are replaced, and new ones.
async fn lake() -> Lake {
    let mut lake = Lake::new();
    lake.stage(&[
        Rows::Orders(&[(1, Some(7), None, "Placed", 10), (2, None, Some(5), "Placed", 11)]),
        Rows::Clicks(&[("a", 10)]),
        Rows::Customers(&[(7, "Ada", Some("Rome"), 600), (8, "Bob", None, 600)]),
        Rows::Riders(&[(5, 1.0, 10), (6, 2.0, 10)]),
    ])
    .await;
    lake.stage_batches(&[
        wide(&Rows::Orders(&[(1, Some(7), None, "Delivered", 20), (3, Some(9), Some(4), "Placed", 21)])),
        wide(&Rows::Clicks(&[("b", 20)])),
        wide(&Rows::Customers(&[(7, "Ada", Some("Rome"), 1200), (9, "Cy", None, 1200)])),
        wide(&Rows::Riders(&[(5, 1.5, 20), (4, 3.0, 20)])),
    ])
    .await;
    lake
}

/// The narrow pipeline's warehouses, each with the first entry loaded.
async fn narrow(lake: &Lake) -> Vec<(DeltaWarehouse, Home)> {
    let mut loaded = Vec::new();
    for home in Home::both() {
        let warehouse = home.warehouse(lake, &specs());
        warehouse.prepare().await.expect("prepared");
        warehouse.load(&lake.entries[..1]).await.expect("loaded");
        loaded.push((warehouse, home));
    }
    loaded
}

async fn version(home: &Home, table: &str) -> u64 {
    home.table(table).await.version().expect("a version")
}

/// All rows of all tables, the columns by name.
async fn all_rows(house: &House) -> Vec<Vec<String>> {
    let mut tables = Vec::new();
    for spec in wider() {
        let schema = house.batch(&spec.name).await.schema();
        let mut columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        columns.sort_unstable();
        tables.push(house.rows(&spec.name, &columns).await);
    }
    tables
}

#[tokio::test]
async fn a_new_column_is_null_in_older_rows_and_filled_from_then_on() {
    let lake = lake().await;
    let memory = MemoryWarehouse::new(lake.store.clone(), &wider(), "p", Context::system()).expect("a warehouse");
    memory.prepare().await.expect("prepared");
    memory.load(&lake.entries).await.expect("loaded");
    let expected = all_rows(&House::Memory(memory)).await;
    for (_, home) in narrow(&lake).await {
        let warehouse = home.warehouse(&lake, &wider());
        warehouse.prepare().await.expect("widened");
        let before = version(&home, "fact_orders").await;
        warehouse.prepare().await.expect("nothing is left to add");
        assert_eq!(version(&home, "fact_orders").await, before);
        warehouse.load(&lake.entries[1..]).await.expect("loaded");
        let house = House::Delta(Box::new(warehouse), home);
        let orders = house.rows("fact_orders", &["order_id", "status", "tip"]).await;
        assert_eq!(orders, ["1|Delivered|0.00", "2|Placed|", "3|Placed|1.00"]);
        let versions = house.rows("dim_customers", &["customer_id", "tier", "is_current", "is_inferred"]).await;
        assert_eq!(versions, ["7|0|true|false", "7||false|false", "8||true|false", "9|1|true|false"]);
        assert_eq!(house.rows("dim_riders", &["rider_id", "tags"]).await, ["4|[1]", "5|[0]", "6|"]);
        assert_eq!(all_rows(&house).await, expected, "as if the column had been there always");
    }
}

#[tokio::test]
async fn a_reader_sees_the_new_column_at_once() {
    let lake = lake().await;
    for (_, home) in narrow(&lake).await {
        let warehouse = home.warehouse(&lake, &wider());
        warehouse.prepare().await.expect("widened");
        assert_eq!(read(&home).await, ["| 1 | Placed | |", "| 2 | Placed | |"]);
        warehouse.load(&lake.entries[1..]).await.expect("loaded");
        assert_eq!(read(&home).await, ["| 1 | Delivered | 0.00 |", "| 2 | Placed | |", "| 3 | Placed | 1.00 |"]);
    }
}

/// Orders with their tips, as a query engine reads them.
async fn read(home: &Home) -> Vec<String> {
    let (session, table) = (SessionContext::new(), home.table("fact_orders").await);
    table.update_datafusion_session(&session.state()).expect("a store");
    let provider = table.table_provider().with_session(Arc::new(session.state())).await.expect("a provider");
    session.register_table("orders", provider).expect("registered");
    let rows = session.sql("SELECT order_id, status, tip FROM orders ORDER BY order_id").await.expect("planned");
    let rows = pretty_format_batches(&rows.collect().await.expect("rows")).expect("a text").to_string();
    let rows = rows.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_prepare_at_once_add_a_column_once() {
    let lake = lake().await;
    for (_, home) in narrow(&lake).await {
        let before = version(&home, "fact_orders").await;
        let prepare = || async { home.warehouse(&lake, &wider()).prepare().await };
        let outcomes = futures::future::join_all((0..4).map(|_| prepare())).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(version(&home, "fact_orders").await, before + 1);
        home.warehouse(&lake, &wider()).load(&lake.entries[1..]).await.expect("loaded");
    }
}

#[tokio::test]
async fn a_loader_of_the_narrower_pipeline_stops_before_it_loses_the_new_column() {
    let mut lake = lake().await;
    for (old, home) in narrow(&lake).await {
        let new = home.warehouse(&lake, &wider());
        new.prepare().await.expect("widened");
        new.load(&lake.entries[1..2]).await.expect("loaded");
        lake.entries.truncate(2);
        lake.stage(&[Rows::Orders(&[(1, None, None, "Returned", 30)])]).await;
        let before = home.rows("fact_orders").await;
        let error = old.load(&lake.entries[2..]).await.expect_err("the table has more columns");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("fact_orders") && error.to_string().contains("tip"), "{error}");
        assert_eq!(home.rows("fact_orders").await, before);
        new.load(&lake.entries[2..]).await.expect("the newer one goes on");
        assert_eq!(home.rows("fact_orders").await.num_rows(), before.num_rows());
    }
}

#[tokio::test]
async fn on_a_database_as_well_neither_a_file_nor_a_version_loses_the_new_column() {
    let mut lake = lake().await;
    let places = Database::all(&lake, &specs());
    lake.stage(&[Rows::Customers(&[(7, "Ada", Some("Oslo"), 1800)])]).await;
    for place in places {
        let old = place.warehouse(&lake);
        old.prepare().await.expect("prepared");
        old.load(&lake.entries[..1]).await.expect("loaded");
        let error = old.load(&lake.entries[1..2]).await.expect_err("a file with another column");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("which the pipeline does not have"), "{error}");
        let place = Database { specs: wider(), ..place };
        let new = place.warehouse(&lake);
        new.prepare().await.expect("widened");
        new.load(&lake.entries[1..2]).await.expect("loaded");
        let error = old.load(&lake.entries[2..]).await.expect_err("the table has more columns");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("tier is not of the pipeline"), "{error}");
        new.load(&lake.entries[2..]).await.expect("the newer one goes on");
        let house = House::Sql(Box::new(new), place);
        let versions = house.rows("dim_customers", &["customer_id", "city", "tier", "is_current"]).await;
        assert_eq!(versions, ["7|Oslo||true", "7|Rome|0|false", "7|Rome||false", "8|||true", "9||1|true"]);
    }
}

#[tokio::test]
async fn one_table_that_does_not_fit_keeps_all_others_as_they_are() {
    let lake = lake().await;
    let mut changed = wider();
    // A key has a value in every row: none is known for those that are there.
    changed[3].key = vec!["phone".to_owned()];
    let columns = changed[3].columns.fields().iter().cloned();
    let columns: Vec<_> = columns.chain([Arc::new(Field::new("phone", DataType::Utf8, false))]).collect();
    changed[3].columns = Arc::new(Schema::new(columns));
    changed[0].references.truncate(1);
    for (_, home) in narrow(&lake).await {
        let before = version(&home, "fact_orders").await;
        let error = home.warehouse(&lake, &changed).prepare().await.expect_err("a new key");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let told = error.to_string();
        assert!(told.contains("dim_riders") && told.contains("phone STRING is missing"), "{told}");
        assert!(!told.contains("tags"), "what can be added is no reason: {told}");
        assert_eq!(version(&home, "fact_orders").await, before);
    }
}
