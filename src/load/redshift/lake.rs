//! The bucket as COPY reads it.
//!
//! Owns where manifests are written and for how long they stand, and by which role Redshift reads. It runs no
//! statement: whoever runs a script writes its manifests before, and deletes them when it can read them no more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{copy, manifest};
use crate::error::{Error, Result};
use crate::load::plan::{Copy, StagedFile};
use crate::load::script::Statement;
use crate::runtime::Clock;
use crate::store::Store;

/// Manifests written or deleted at once.
const AT_ONCE: usize = 8;

/// Manifests of loads that were cut off are looked for once a day, ms.
const DAY: i64 = 24 * 60 * 60 * 1_000;

/// A manifest as old as this is nobody's any more: the Data API ends what runs for a day.
const LEFT: i64 = 2 * DAY;

/// Where staged files are, and who may read them.
#[derive(Clone)]
pub(super) struct Lake {
    store: Store,
    iam_role: String,
    clock: Arc<dyn Clock>,
    /// When manifests that were left are looked for again, ms since 1970 UTC.
    swept_next: Arc<AtomicI64>,
}

impl fmt::Debug for Lake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Lake({})", self.store.url())
    }
}

impl Lake {
    /// The store of the staged files, and the role that COPY names.
    ///
    /// # Errors
    /// Invalid where the store is no bucket: Redshift reads nothing else.
    pub(super) fn new(store: Store, iam_role: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        if store.url().scheme() != "s3" {
            return Err(Error::invalid(format!(
                "redshift copies from s3:// only, and the store is {}: give the target a store = \"s3://…\" in the \
                 warehouse's region",
                store.url()
            )));
        }
        Ok(Self { store, iam_role: iam_role.to_owned(), clock, swept_next: Arc::default() })
    }

    /// The statement that brings these files into a table.
    pub(super) fn copy(&self, load_id: &str, copy: &Copy, into: &str) -> String {
        let url = self.store.address_of(&manifest::path(load_id, copy));
        copy::text(copy, into, &url, &self.iam_role)
    }

    /// Writes the manifests of a load; of a load whose manifests cannot all be written none stays.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub(super) async fn write_manifests(&self, load_id: &str, script: &[Statement]) -> Result<()> {
        self.sweep().await;
        let puts: Vec<_> = copies(script).map(|copy| self.write_manifest(load_id, copy)).collect();
        let written = stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await;
        if written.is_err() {
            self.delete_manifests(load_id, script).await;
        }
        written.map_err(|error| error.context("the load was not begun"))
    }

    /// Deletes the manifests of a load that is over. One that stays does no harm: no other load has its name, and it is
    /// swept away later.
    pub(super) async fn delete_manifests(&self, load_id: &str, script: &[Statement]) {
        let deletions: Vec<_> = copies(script).map(|copy| self.delete_manifest(load_id, copy)).collect();
        stream::iter(deletions).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Deletes the manifests that loads left: killed ones, and those of which nobody knows whether they still run.
    async fn sweep(&self) {
        let now = self.clock.now_millis();
        if self.swept_next.load(Ordering::Relaxed) > now {
            return;
        }
        self.swept_next.store(now.saturating_add(DAY), Ordering::Relaxed);
        let listed = self.store.list(manifest::FOLDER, None).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "manifests that were left cannot be looked for");
            Vec::new()
        });
        let left = listed.into_iter().filter(|object| object.written_at < now.saturating_sub(LEFT));
        let deletions: Vec<_> = left.map(|object| self.delete(object.path)).collect();
        stream::iter(deletions).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn write_manifest(&self, load_id: &str, copy: &Copy) -> Result<()> {
        let Some(text) = manifest::text(copy, &self.store) else { return Ok(()) };
        let text = text.map_err(|error| Error::internal("a manifest cannot be written").with_source(error))?;
        self.store.put(&manifest::path(load_id, copy), text.into()).await.map(drop)
    }

    async fn delete_manifest(&self, load_id: &str, copy: &Copy) {
        self.delete(manifest::path(load_id, copy)).await;
    }

    async fn delete(&self, path: String) {
        if let Err(error) = self.store.delete(&path).await {
            tracing::debug!(%path, %error, "a manifest stays");
        }
    }

    /// The store of the staged files.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// A file's address.
    pub(super) fn address(&self, staged: &StagedFile) -> String {
        self.store.address_of(&staged.file.path)
    }

    /// The file among these that such a name means: an address, the beginning of a long one, or what holds its path.
    pub(super) fn file<'a>(&self, copy: &'a Copy, address: &str) -> Option<&'a StagedFile> {
        let address = address.trim();
        let is_it = |staged: &&StagedFile| self.address(staged).starts_with(address);
        let found = copy.files.iter().find(|staged| address.starts_with("s3://") && is_it(staged));
        found.or_else(|| self.file_in(copy, address))
    }

    /// The file among these that a sentence names, whichever way it writes the bucket's address.
    pub(super) fn file_in<'a>(&self, copy: &'a Copy, sentence: &str) -> Option<&'a StagedFile> {
        copy.files.iter().find(|staged| sentence.contains(&self.store.path_in_root(&staged.file.path)))
    }
}

/// The COPYs of a script that have files.
fn copies(script: &[Statement]) -> impl Iterator<Item = &Copy> {
    script.iter().filter_map(|statement| match statement {
        Statement::Copy { copy, .. } if !copy.files.is_empty() => Some(copy),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;
    use crate::load::redshift::examples::{copy, lake};
    use crate::runtime::{ManualClock, SystemClock};

    fn script() -> Vec<Statement> {
        let into = || "\"staged_1\"".to_owned();
        vec![
            Statement::Run("LOCK x".to_owned()),
            Statement::Copy { copy: copy(&[(7, "staged/a.parquet", 1, 2)]), into: into() },
            Statement::Copy { copy: Copy { number: 1, ..copy(&[]) }, into: into() },
        ]
    }

    #[tokio::test]
    async fn manifests_stand_from_before_the_load_to_after_it_and_none_is_empty() {
        let store = lake();
        let lake = Lake::new(store.clone(), "default", Arc::new(crate::runtime::SystemClock)).expect("a bucket");
        lake.write_manifests("l", &script()).await.expect("written");
        let listed = store.list("manifests", None).await.expect("listed");
        let paths: Vec<&str> = listed.iter().map(|object| object.path.as_str()).collect();
        assert_eq!(paths, ["manifests/l-0-fact_orders.json"]);
        let text = store.get(paths[0]).await.expect("read").expect("there");
        assert!(text.starts_with(br#"{"entries":[{"url":"s3://orders-lake/staged/a.parquet""#), "{text:?}");
        lake.delete_manifests("l", &script()).await;
        assert_eq!(store.list("manifests", None).await.expect("listed"), []);
    }

    #[tokio::test]
    async fn manifests_that_were_left_are_swept_away_by_a_later_load() {
        let (store, clock) = (lake(), Arc::new(ManualClock::at(SystemClock.now_micros())));
        let lake = Lake::new(store.clone(), "default", Arc::clone(&clock) as Arc<dyn Clock>).expect("a bucket");
        let paths = async || {
            let listed = store.list("manifests", None).await.expect("listed");
            listed.into_iter().map(|object| object.path).collect::<Vec<_>>()
        };
        lake.write_manifests("left", &script()).await.expect("written");
        let day = Duration::from_millis(DAY as u64);
        clock.advance(day);
        lake.write_manifests("next", &script()).await.expect("written");
        let [left, next, last] = ["left", "next", "last"].map(|load| format!("manifests/{load}-0-fact_orders.json"));
        assert_eq!(paths().await, [left, next], "its load may still run");
        clock.advance(day * 2);
        lake.write_manifests("last", &script()).await.expect("written");
        assert_eq!(paths().await, [last]);
    }

    #[test]
    fn a_store_that_is_no_bucket_is_refused() {
        let error =
            Lake::new(Store::memory("lake").expect("a store"), "default", Arc::new(crate::runtime::SystemClock))
                .expect_err("no bucket");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("s3:// only, and the store is store://lake/"), "{error}");
    }

    #[test]
    fn a_file_is_known_by_its_address_a_cut_one_and_one_in_a_sentence() {
        let lake = Lake::new(lake(), "default", Arc::new(crate::runtime::SystemClock)).expect("a bucket");
        let copy = copy(&[(7, "staged/a.parquet", 1, 2), (8, "staged/b.parquet", 1, 2)]);
        let entry = |file: Option<&StagedFile>| file.map(|staged| staged.entry);
        assert_eq!(entry(lake.file(&copy, "s3://orders-lake/staged/b.parquet  ")), Some(8));
        assert_eq!(entry(lake.file(&copy, "s3://orders-lake/staged/b.par")), Some(8));
        assert_eq!(entry(lake.file(&copy, "s3://other/staged/c.parquet")), None);
        let other_way = "https://s3.eu-central-1.amazonaws.com/orders-lake/staged/b.parquet";
        assert_eq!(entry(lake.file(&copy, other_way)), Some(8));
        assert_eq!(entry(lake.file(&copy, "")), None);
        let said =
            "File 'https://s3.eu-central-1.amazonaws.com/orders-lake/staged/b.parquet' has an incompatible schema";
        assert_eq!(entry(lake.file_in(&copy, said)), Some(8));
    }
}
