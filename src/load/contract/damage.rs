//! What becomes of a Delta warehouse whose files somebody altered or lost: nothing is read of them, and nothing is loaded
//! on top of what is left.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::Array;
use arrow::datatypes::Int64Type;

use super::*;
use crate::batch::Checksum;

/// A warehouse on the disk with a load for each entry, and what its tables hold.
struct Disk {
    lake: Lake,
    home: Home,
}

impl Disk {
    async fn loaded(entries: i32) -> Self {
        let mut lake = Lake::new();
        for number in 0..entries {
            let at = i64::from(number) * 10 + 10;
            lake.stage(&[
                Rows::Orders(&[
                    (number, Some(7), Some(number), "Placed", at),
                    (number / 2, None, None, "Delivered", at + 1),
                ]),
                Rows::Clicks(&[("a", at)]),
                Rows::Customers(&[(7, "Ada", Some(["Rome", "Oslo"][number as usize % 2]), at)]),
            ])
            .await;
        }
        let [home, _] = Home::both();
        let disk = Self { lake, home };
        let warehouse = disk.warehouse();
        warehouse.prepare().await.expect("prepared");
        for entry in &disk.lake.entries {
            warehouse.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        disk
    }

    /// As another process opens it.
    fn warehouse(&self) -> DeltaWarehouse {
        self.home.warehouse(&self.lake, &specs())
    }

    fn folder(&self, table: &str) -> PathBuf {
        match self.home.folder.join(table) {
            Folder::Local(path) => path,
            Folder::Store(..) => panic!("it is on the disk"),
        }
    }

    /// The commits of a table, in their order.
    fn log(&self, table: &str) -> Vec<PathBuf> {
        files(&self.folder(table).join("_delta_log"), "json")
    }

    async fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for spec in specs() {
            let batch = self.home.rows(&spec.name).await;
            rows.push(arrow::util::pretty::pretty_format_batches(&[batch]).expect("text").to_string());
        }
        rows
    }
}

/// The files of a folder with this ending, in the order of their names.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    files.sort();
    files
}

/// Flips a bit of a file, and gives back what it was.
fn flip(path: &Path, at: usize) -> Vec<u8> {
    let whole = fs::read(path).expect("a file");
    let mut altered = whole.clone();
    altered[at % whole.len()] ^= 1 << (at % 8);
    fs::write(path, altered).expect("written");
    whole
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

#[tokio::test]
async fn every_flipped_bit_of_a_data_file_is_found_when_it_is_read() {
    let disk = Disk::loaded(3).await;
    let mut flips = 0;
    for table in ["fact_orders", "fact_clicks", "dim_customers", "dim_riders", "_ledger"] {
        for view in data_files(&disk.home.table(table).await) {
            let path = disk.folder(table).join(view.as_ref());
            for at in (0..12).map(|seed| seed * 3_571 + 5) {
                let whole = flip(&path, at);
                let found = match disk.warehouse().damages(false).await {
                    Ok(damages) => damages.join("\n"),
                    Err(error) => error.to_string(),
                };
                assert!(found.contains(name(&path)), "{table}, bit {at}: {found}");
                fs::write(&path, whole).expect("as it was");
                flips += 1;
            }
        }
    }
    assert!(flips >= 60, "{flips}");
    assert_eq!(disk.warehouse().damages(false).await.expect("looked at"), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_loaded_on_top_of_a_file_that_was_altered() {
    let mut disk = Disk::loaded(2).await;
    disk.lake.stage(&[Rows::Orders(&[(0, Some(7), None, "Lost", 99)])]).await;
    let before = disk.rows().await;
    let path = data_files(&disk.home.table("fact_orders").await).swap_remove(0);
    let file = disk.folder("fact_orders").join(path.as_ref());
    // Wherever it is, also where decoding or the merge would not notice.
    for at in (0..12).map(|seed| seed * 397 + 5) {
        let whole = flip(&file, at);
        let error = disk.warehouse().load(&disk.lake.entries[2..]).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let told = error.to_string();
        assert!(told.contains(path.as_ref()) && told.contains("fact_orders"), "bit {at}: {told}");
        assert!(told.contains("SHA-256"), "bit {at}: it was its checksum that told: {told}");
        fs::write(&file, whole).expect("as it was");
        assert_eq!(disk.warehouse().ledger().await.expect("a ledger").loaded_through, 2, "bit {at}");
        assert_eq!(disk.rows().await, before, "bit {at}: nothing was loaded");
    }
    disk.warehouse().load(&disk.lake.entries[2..]).await.expect("as it was, it is loaded on top");
    assert_ne!(disk.rows().await, before);
}

#[tokio::test]
async fn an_altered_log_is_found_and_its_file_named() {
    // Beyond the 32nd commit there is a checkpoint, and the tags that files have stand in it.
    let disk = Disk::loaded(34).await;
    for table in ["fact_orders", "dim_customers", "fact_clicks"] {
        let folder = disk.folder(table).join("_delta_log");
        let checkpoint = files(&folder, "parquet").pop().expect("a checkpoint");
        let last = disk.log(table).pop().expect("a commit");
        for path in [checkpoint, last] {
            for at in (0..8).map(|seed| seed * 7_919 + 11) {
                let whole = flip(&path, at);
                let error = disk.warehouse().prepare().await.expect_err("an altered log");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains(name(&path)) && error.to_string().contains(table), "{error}");
                assert!(disk.warehouse().damages(false).await.expect("looked at")[0].contains(name(&path)));
                fs::write(&path, whole).expect("as it was");
            }
        }
        let path = data_files(&disk.home.table(table).await).swap_remove(0);
        let path = disk.folder(table).join(path.as_ref());
        let whole = flip(&path, 123);
        assert!(disk.warehouse().damages(false).await.expect("looked at")[0].contains(name(&path)), "{table}");
        fs::write(&path, whole).expect("as it was");
    }
    disk.warehouse().prepare().await.expect("as it was");
}

#[tokio::test]
async fn nothing_is_loaded_on_top_of_a_log_whose_last_commit_is_gone() {
    for table in ["fact_orders", "fact_clicks", "dim_customers", "dim_riders"] {
        let mut disk = Disk::loaded(3).await;
        let warehouse = disk.warehouse();
        disk.lake.stage(&[Rows::Orders(&[(9, Some(7), Some(9), "Placed", 99)]), Rows::Clicks(&[("z", 99)])]).await;
        fs::remove_file(disk.log(table).pop().expect("a commit")).expect("removed");
        let before = disk.rows().await;
        for warehouse in [warehouse, disk.warehouse()] {
            let error = warehouse.load(&disk.lake.entries[3..]).await.expect_err("a commit is gone");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let told = error.to_string();
            assert!(told.contains(&format!("commits of the warehouse's table {table} are gone")), "{told}");
            assert!(warehouse.damages(false).await.expect("looked at")[0].contains("are gone"));
            assert_eq!(warehouse.ledger().await.expect("a ledger").loaded_through, 3);
        }
        assert_eq!(disk.rows().await, before, "nothing was loaded");
    }
}

#[tokio::test]
async fn without_the_ledgers_last_commit_the_last_load_is_done_again_and_changes_nothing() {
    let disk = Disk::loaded(3).await;
    let before = disk.rows().await;
    fs::remove_file(disk.log("_ledger").pop().expect("a commit")).expect("removed");
    let warehouse = disk.warehouse();
    warehouse.prepare().await.expect("prepared");
    assert_eq!(warehouse.ledger().await.expect("a ledger").loaded_through, 2);
    warehouse.load(&disk.lake.entries[2..]).await.expect("loaded once more");
    assert_eq!(warehouse.ledger().await.expect("a ledger").loaded_through, 3);
    assert_eq!(disk.rows().await, before);
    assert_eq!(disk.warehouse().damages(false).await.expect("looked at"), Vec::<String>::new());
}

/// Each table remembers by itself how far it is loaded.
#[tokio::test]
async fn without_its_ledger_everything_is_loaded_again_and_changes_nothing() {
    let disk = Disk::loaded(3).await;
    let before = disk.rows().await;
    fs::remove_dir_all(disk.folder("_ledger")).expect("removed");
    let warehouse = disk.warehouse();
    warehouse.prepare().await.expect("prepared");
    assert_eq!(warehouse.ledger().await.expect("a ledger").loaded_through, 0);
    warehouse.load(&disk.lake.entries).await.expect("loaded once more");
    assert_eq!(disk.rows().await, before);
}

#[tokio::test]
async fn what_others_commit_is_no_damage() {
    let mut disk = Disk::loaded(3).await;
    let (table, _) =
        disk.home.table("fact_orders").await.delete().with_predicate("order_id = 0").await.expect("deleted");
    assert!(table.version().is_some());
    assert_eq!(disk.warehouse().damages(false).await.expect("looked at"), Vec::<String>::new());
    disk.lake.stage(&[Rows::Orders(&[(9, Some(7), Some(9), "Placed", 99)])]).await;
    let warehouse = disk.warehouse();
    warehouse.prepare().await.expect("prepared");
    warehouse.load(&disk.lake.entries[3..]).await.expect("loaded");
    assert_eq!(disk.warehouse().damages(false).await.expect("looked at"), Vec::<String>::new());
}

#[tokio::test]
async fn a_checkpoint_that_another_writer_made_ends_nothing_and_is_remembered_from_then_on() {
    let mut disk = Disk::loaded(3).await;
    let folder = disk.folder("fact_orders").join("_delta_log");
    let table = disk.home.table("fact_orders").await;
    deltalake::protocol::checkpoints::create_checkpoint(&table, None).await.expect("a checkpoint");
    assert_eq!(files(&folder, "parquet").len(), 1);
    disk.warehouse().prepare().await.expect("what others make is no damage");
    assert_eq!(disk.warehouse().damages(false).await.expect("looked at"), Vec::<String>::new());
    // No reader needs the commits before it any more, but they are what is remembered.
    for path in disk.log("fact_orders") {
        let whole = flip(&path, 77);
        assert!(disk.warehouse().damages(false).await.expect("looked at")[0].contains(name(&path)), "{path:?}");
        fs::write(&path, whole).expect("as it was");
    }
    disk.lake.stage(&[Rows::Orders(&[(9, Some(7), Some(9), "Placed", 99)])]).await;
    let warehouse = disk.warehouse();
    warehouse.prepare().await.expect("prepared");
    warehouse.load(&disk.lake.entries[3..]).await.expect("loading goes on");
    let path = files(&folder, "parquet").pop().expect("the checkpoint");
    let whole = flip(&path, 77);
    let error = disk.warehouse().prepare().await.expect_err("it is remembered");
    assert!(error.to_string().contains(name(&path)), "{error}");
    fs::write(&path, whole).expect("as it was");
    disk.warehouse().prepare().await.expect("as it was");
}

/// Puts the ledger's receipts back into the form of the release before: without attempts, and each with the files of the logs
/// that had come since the one before it.
async fn as_an_earlier_release_wrote_it(disk: &Disk) {
    let receipts = disk.home.rows("_ledger").await;
    let names: Vec<String> = specs().into_iter().map(|spec| spec.name).collect();
    let count = receipts.num_rows();
    let through = receipts.column_by_name("loaded_through").expect("a column").as_primitive::<Int64Type>().clone();
    // A load made one commit of each table, or none: as many as there are, the newest with the newest receipts.
    let logs = (0..count).map(|row| {
        let rank = (0..count).filter(|other| through.value(*other) < through.value(row)).count();
        let state = |name: &String| {
            let log = disk.log(name);
            let last = log.len().saturating_sub(count - rank);
            let new = if rank == 0 { &log[..=last] } else { &log[last..=last] };
            let files = new.iter().map(|path| (name_of(path), Checksum::of(&fs::read(path).expect("a commit"))));
            let files: BTreeMap<String, Checksum> = files.collect();
            (name.clone(), serde_json::json!({ "version": last, "files": files }))
        };
        serde_json::Value::Object(names.iter().map(state).collect()).to_string()
    });
    let logs = StringArray::from_iter_values(logs);
    let columns = ["loaded_after", "loaded_through", "copied", "loaded_at"];
    let columns = columns.map(|column| (column, Arc::clone(receipts.column_by_name(column).expect("a column")), false));
    let logs: ArrayRef = Arc::new(logs);
    let old = RecordBatch::try_from_iter_with_nullable(columns.into_iter().chain([("logs", logs, true)]));
    fs::remove_dir_all(disk.folder("_ledger")).expect("removed");
    fs::create_dir_all(disk.folder("_ledger")).expect("a folder");
    let url = url::Url::from_directory_path(disk.folder("_ledger")).expect("a folder");
    let table = deltalake::DeltaTable::try_from_url(url).await.expect("a place");
    let loaded = deltalake::kernel::Transaction::new("millstream/p/_ledger", count as i64);
    let properties = deltalake::kernel::transaction::CommitProperties::default().with_application_transaction(loaded);
    table.write([old.expect("receipts")]).with_commit_properties(properties).await.expect("written");
}

fn name_of(path: &Path) -> String {
    name(path).to_owned()
}

#[tokio::test]
async fn receipts_of_the_release_before_still_guard_the_logs_and_the_next_one_takes_over() {
    let mut disk = Disk::loaded(3).await;
    as_an_earlier_release_wrote_it(&disk).await;
    let ledger = disk.warehouse().ledger().await.expect("a ledger");
    assert_eq!((ledger.loaded_through, ledger.loads), (3, 3));
    assert_eq!(ledger.last.expect("a receipt").attempt, None);
    disk.lake.stage(&[Rows::Orders(&[(9, Some(7), Some(9), "Placed", 99)])]).await;
    for round in 0..2 {
        // The first commits stand in the oldest receipt alone, or in the newest.
        for table in ["fact_orders", "fact_clicks"] {
            for path in disk.log(table) {
                let whole = flip(&path, 77);
                let error = disk.warehouse().prepare().await.expect_err("an altered log");
                assert!(error.to_string().contains(name(&path)), "round {round}: {error}");
                fs::write(&path, whole).expect("as it was");
            }
        }
        let warehouse = disk.warehouse();
        warehouse.prepare().await.expect("as it was");
        if round == 0 {
            warehouse.load(&disk.lake.entries[3..]).await.expect("loaded");
        }
    }
    let kept = disk.home.rows("_ledger").await;
    let logs = kept.column_by_name("logs").expect("a column");
    assert_eq!(logs.len() - logs.null_count(), 1, "the newest receipt alone keeps them");
    let gone = disk.folder("dim_riders");
    fs::remove_dir_all(&gone).expect("removed");
    let error = disk.warehouse().prepare().await.expect_err("a table is gone");
    assert!(error.to_string().contains("dim_riders is gone"), "{error}");
}
