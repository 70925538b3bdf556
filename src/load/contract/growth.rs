//! What guards a Delta log costs as much in an old warehouse as in a young one: bytes read and objects listed, at a start and
//! per load.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::CommitProperties;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

use super::*;
use crate::batch::Entry;
use crate::store::Store;

/// A store that counts what is asked of the ledger and of the tables' logs.
#[derive(Debug, Clone, Default)]
struct Counting {
    objects: Arc<InMemory>,
    bytes: Arc<AtomicU64>,
    listed: Arc<AtomicU64>,
}

/// Bytes read, and objects listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cost {
    bytes: u64,
    listed: u64,
}

fn guards(path: &Path) -> bool {
    path.as_ref().contains("/_ledger/") || path.as_ref().contains("/_delta_log/")
}

impl Counting {
    /// What was asked for since it was asked last.
    fn cost(&self) -> Cost {
        Cost { bytes: self.bytes.swap(0, Ordering::SeqCst), listed: self.listed.swap(0, Ordering::SeqCst) }
    }

    fn counted(
        &self,
        listing: BoxStream<'static, object_store::Result<ObjectMeta>>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let listed = Arc::clone(&self.listed);
        let count = move |object: &object_store::Result<ObjectMeta>| {
            if object.as_ref().is_ok_and(|object| guards(&object.location)) {
                listed.fetch_add(1, Ordering::SeqCst);
            }
        };
        listing.inspect(count).boxed()
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.objects.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let found = self.objects.get_opts(path, options).await?;
        if guards(path) {
            self.bytes.fetch_add(found.range.end - found.range.start, Ordering::SeqCst);
        }
        Ok(found)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.counted(self.objects.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.counted(self.objects.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// A warehouse of one table, whose ledger has so many receipts more than there were loads.
struct Aged {
    counting: Counting,
    lake: Lake,
    home: Home,
    receipts: u64,
}

impl Aged {
    async fn new(receipts: u64, loads: u64) -> Self {
        let (counting, mut lake) = (Counting::default(), Lake::new());
        for second in 0..loads + 40 {
            lake.stage(&[Rows::Clicks(&[("a", second as i64)])]).await;
        }
        let home = Home::over(Store::new(Arc::new(counting.clone()), "aged").expect("a store"));
        let aged = Self { counting, lake, home, receipts };
        let warehouse = aged.warehouse();
        warehouse.prepare().await.expect("prepared");
        warehouse.load(&aged.lake.entries[..1]).await.expect("loaded");
        aged.write_receipts().await;
        let warehouse = aged.warehouse();
        for load in 1..loads {
            warehouse.load(&[aged.entry(load)]).await.expect("loaded");
        }
        aged
    }

    fn warehouse(&self) -> DeltaWarehouse {
        let clicks = specs().into_iter().filter(|spec| spec.name == "fact_clicks").collect::<Vec<_>>();
        self.home.warehouse(&self.lake, &clicks)
    }

    fn entry(&self, load: u64) -> Arc<Entry> {
        self.lake.altered(load as usize + 1, |entry| entry.number += self.receipts).swap_remove(0)
    }

    /// What so many loads would have left.
    async fn write_receipts(&self) {
        let written = self.home.rows("_ledger").await;
        let rows = self.receipts as usize;
        let schema = written.schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            let numbers = |first: i64| Arc::new(Int64Array::from_iter_values(first..first + rows as i64)) as ArrayRef;
            match field.name().as_str() {
                "loaded_after" => numbers(1),
                "loaded_through" => numbers(2),
                "copied" => Arc::new(StringArray::from(vec![r#"{"fact_clicks":1}"#; rows])),
                "attempt" => Arc::new(StringArray::from(vec!["a"; rows])),
                "loaded_at" => {
                    let times = (0..rows as i64).map(|second| 1_795_176_000_000_000 + second * 10_000_000);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
                }
                _ => arrow::array::new_null_array(field.data_type(), rows),
            }
        });
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("receipts");
        let through = Transaction::new("millstream/p/_ledger", self.receipts as i64 + 1);
        let properties = CommitProperties::default().with_application_transaction(through);
        // As a ledger keeps them: in files of some thousand.
        let parts = (0..rows).step_by(1_000).map(|start| batch.slice(start, 1_000.min(rows - start)));
        for part in parts {
            let table = self.home.table("_ledger").await;
            table.write([part]).with_commit_properties(properties.clone()).await.expect("written");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_loads_more_cost_no_more_at_a_start_or_per_load() {
    let mut costs = Vec::new();
    // The ledger's log is as far behind its last checkpoint in both; the table's log is longer in the second, too.
    for (receipts, loads) in [(1_000, 39), (4_000, 100)] {
        let aged = Aged::new(receipts, loads).await;
        aged.counting.cost();
        let warehouse = aged.warehouse();
        warehouse.prepare().await.expect("prepared");
        assert_eq!(warehouse.ledger().await.expect("a ledger").loaded_through, receipts + loads);
        let start = aged.counting.cost();
        let mut worst = Cost::default();
        for load in loads..loads + 16 {
            warehouse.load(&[aged.entry(load)]).await.expect("loaded");
            let cost = aged.counting.cost();
            worst = Cost { bytes: worst.bytes.max(cost.bytes), listed: worst.listed.max(cost.listed) };
        }
        println!("{receipts} receipts, {loads} loads: {start:?} at a start, {worst:?} a load at most");
        costs.push((start, worst));
    }
    let [(young_start, young_load), (old_start, old_load)] = costs[..] else { panic!("two") };
    for (young, old) in [(young_start, old_start), (young_load, old_load)] {
        assert!(old.bytes < young.bytes * 3 / 2 && old.listed < young.listed * 3 / 2, "{young:?}, then {old:?}");
    }
    // Delta's own reader lists a log from its newest checkpoint on, some times a load.
    assert!(old_start.bytes < 1 << 20 && old_start.listed < 300, "{old_start:?}");
    assert!(old_load.bytes < 1 << 20 && old_load.listed < 300, "{old_load:?}");
}
