//! Writing on a local file system so that it outlives a power cut.
//!
//! Owns the way of an object to its name: it is written and synced under another name in the same folder, then linked
//! or renamed, then the folder is synced. So an object that has its name is whole, whenever the power goes; and one
//! that a put has reported has its name for good. It reads and lists nothing.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::local::LocalFileSystem;

use super::{Put, fault, full};
use crate::error::{Error, Result, is_storage_full};
use crate::runtime::blocking;

/// Staged names given out by this process, over all its stores.
static STAGED: AtomicU64 = AtomicU64::new(0);

/// The folder of a store; clones share it.
#[derive(Clone)]
pub(super) struct Folder(Arc<Inner>);

struct Inner {
    objects: Arc<LocalFileSystem>,
    root: PathBuf,
    /// Folders below the root whose names are synced, each with all those above it.
    kept: Mutex<HashSet<PathBuf>>,
}

/// What becomes of an object that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Replace,
    Keep,
}

/// Makes the folder where it is missing, so that it outlives a power cut, and returns its absolute path.
pub(super) fn make_root(folder: &Path) -> io::Result<PathBuf> {
    let missing: Vec<PathBuf> =
        std::path::absolute(folder)?.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
    fs::create_dir_all(folder)?;
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        sync(parent)?;
    }
    folder.canonicalize()
}

impl Folder {
    /// `root` is absolute, and the prefix of `objects`.
    pub(super) fn new(root: PathBuf, objects: Arc<LocalFileSystem>) -> Self {
        Self(Arc::new(Inner { objects, root, kept: Mutex::default() }))
    }

    /// As [`super::Store::put`].
    pub(super) async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.write(path, bytes, Mode::Replace).await.map(|_| ())
    }

    /// As [`super::Store::put_if_absent`]; an object that is there already is synced before it is told.
    pub(super) async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        self.write(path, bytes, Mode::Keep).await
    }

    async fn write(&self, path: &str, bytes: Bytes, mode: Mode) -> Result<Put> {
        let location = object_store::path::Path::from(path);
        let target = self.0.objects.path_to_filesystem(&location).map_err(|error| fault("write", path, error))?;
        let (folder, path) = (self.clone(), path.to_owned());
        let write = move || folder.0.write(&target, mode, |file| file.write_all(&bytes));
        blocking(move || write().map_err(|error| refusal(&path, error))).await
    }
}

impl Inner {
    fn write(&self, target: &Path, mode: Mode, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<Put> {
        let folder = target.parent().ok_or(ErrorKind::InvalidInput)?;
        let (mut file, staged) = self.stage(folder, target)?;
        let filled = fill(&mut file).and_then(|()| file.sync_all());
        drop(file);
        let put = filled.and_then(|()| named(&staged, target, mode));
        // After a rename the staged name is free, and may be another writer's by now.
        if mode == Mode::Keep || put.is_err() {
            // One that stays behind is in no listing.
            let _ = fs::remove_file(&staged);
        }
        let put = put?;
        if put == Put::Exists {
            // Its writer may have failed to sync it, or not have come to it yet.
            sync(target)?;
        }
        sync(folder)?;
        Ok(put)
    }

    /// A new file beside `target`, and its name.
    fn stage(&self, folder: &Path, target: &Path) -> io::Result<(File, PathBuf)> {
        if !self.kept().contains(folder) {
            self.keep(folder)?;
        }
        let mut remade = false;
        loop {
            let staged = staged_name(target);
            match File::create_new(&staged) {
                Ok(file) => return Ok((file, staged)),
                // A process of the same id on another machine has been at this number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound && !remade => {
                    self.kept().clear();
                    self.keep(folder)?;
                    remade = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the folder where it is missing, and syncs its name and those of the folders above it.
    fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let below_root = |folder: &&Path| *folder != self.root && folder.starts_with(&self.root);
        let mut unsynced: Vec<PathBuf> = folder.ancestors().take_while(below_root).map(Path::to_owned).collect();
        unsynced.retain(|folder| !self.kept().contains(folder));
        for parent in unsynced.iter().filter_map(|folder| folder.parent()) {
            sync(parent)?;
        }
        self.kept().extend(unsynced);
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the staged file its name.
fn named(staged: &Path, target: &Path, mode: Mode) -> io::Result<Put> {
    match mode {
        Mode::Replace => fs::rename(staged, target).map(|()| Put::Created),
        Mode::Keep => match fs::hard_link(staged, target) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
            linked => linked.map(|()| Put::Created),
        },
    }
}

/// `TARGET#DIGITS`: a name that object_store takes for an upload under way, and neither lists nor reads.
fn staged_name(target: &Path) -> PathBuf {
    let number = STAGED.fetch_add(1, Ordering::Relaxed);
    let mut name = target.as_os_str().to_owned();
    name.push(format!("#{}{number:010}", std::process::id()));
    name.into()
}

/// Syncs a file's contents, or a folder's names.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn refusal(path: &str, error: io::Error) -> Error {
    if is_storage_full(&error) {
        return full(path).with_source(error);
    }
    Error::transient(format!("cannot write {path} in the object store")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn folder(root: &Path) -> Folder {
        let objects = LocalFileSystem::new_with_prefix(root).expect("a folder");
        Folder::new(root.canonicalize().expect("there"), Arc::new(objects))
    }

    /// The names of all files below the folder, listed by no object store.
    fn files(folder: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).expect("reads") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => names.extend(files(&path)),
                false => names.push(path.file_name().expect("a name").to_string_lossy().into_owned()),
            }
        }
        names.sort();
        names
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_racing_writers_one_wins_and_nothing_else_is_left() {
        let root = tempfile::tempdir().expect("folder");
        let puts = (0..16).map(|writer: u32| {
            // Each has a store of its own, as a process has.
            let store = Store::local(root.path()).expect("store");
            async move { (store.put_if_absent("a/b/race", writer.to_string().into()).await.expect("put"), writer) }
        });
        let outcomes = futures::future::join_all(puts).await;
        let winners: Vec<u32> =
            outcomes.iter().filter(|(put, _)| *put == Put::Created).map(|(_, writer)| *writer).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let store = Store::local(root.path()).expect("store");
        assert_eq!(store.get("a/b/race").await.expect("read"), Some(winners[0].to_string().into()));
        assert_eq!(files(root.path()), ["race"]);
    }

    #[tokio::test]
    async fn a_staged_name_is_neither_listed_nor_in_the_way() {
        let root = tempfile::tempdir().expect("folder");
        let store = Store::local(root.path()).expect("store");
        fs::create_dir(root.path().join("a")).expect("folder");
        let next = STAGED.load(Ordering::Relaxed);
        for number in next..next + 50 {
            let staged = format!("a/x#{}{number:010}", std::process::id());
            fs::write(root.path().join(staged), "left behind").expect("written");
        }
        assert_eq!(store.list("a", None).await.expect("lists"), []);
        store.put("a/x", "one".into()).await.expect("put");
        assert_eq!(store.get("a/x").await.expect("reads"), Some("one".into()));
        assert_eq!(store.list("", None).await.expect("lists").len(), 1);
        assert!(files(root.path()).len() > 1, "what others left is not ours to remove");
    }

    #[test]
    fn a_failing_write_leaves_nothing() {
        let root = tempfile::tempdir().expect("folder");
        let folder = folder(root.path());
        let target = root.path().canonicalize().expect("there").join("a/b");
        for mode in [Mode::Keep, Mode::Replace] {
            let half = |file: &mut File| file.write_all(b"ha").and(Err(ErrorKind::StorageFull.into()));
            let error = folder.0.write(&target, mode, half).expect_err("full");
            assert_eq!(files(root.path()), Vec::<String>::new(), "{mode:?}");
            let error = refusal("a/b", error);
            assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
            assert!(error.to_string().contains("no space left for a/b"), "{error}");
        }
        fs::create_dir(&target).expect("folder");
        folder.0.write(&target, Mode::Replace, |_| Ok(())).expect_err("a folder has the name");
        assert_eq!(files(root.path()), Vec::<String>::new());
    }

    #[test]
    fn the_object_has_its_name_only_when_it_is_whole() {
        let root = tempfile::tempdir().expect("folder");
        let folder = folder(root.path());
        let target = root.path().canonicalize().expect("there").join("x");
        for mode in [Mode::Keep, Mode::Replace] {
            let fill = |file: &mut File| {
                assert!(!target.exists(), "{mode:?}");
                file.write_all(b"whole")
            };
            assert_eq!(folder.0.write(&target, mode, fill).expect("written"), Put::Created);
            assert_eq!(fs::read(&target).expect("reads"), b"whole");
            fs::remove_file(&target).expect("removed");
        }
    }

    #[tokio::test]
    async fn a_folder_removed_meanwhile_is_made_again() {
        let root = tempfile::tempdir().expect("folder");
        let folder = folder(root.path());
        for _ in 0..2 {
            assert_eq!(folder.put_if_absent("t/date=1/x", "x".into()).await.expect("put"), Put::Created);
            let root = root.path().canonicalize().expect("there");
            assert_eq!(*folder.0.kept(), HashSet::from([root.join("t"), root.join("t/date=1")]));
            fs::remove_dir_all(root.join("t")).expect("removed");
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_not_taken_for_synced() {
        let root = tempfile::tempdir().expect("folder");
        let folder = folder(root.path());
        fs::write(root.path().join("t"), "a file").expect("written");
        let error = folder.put("t/date=1/x", "x".into()).await.expect_err("no folder");
        assert_eq!(error.kind(), crate::error::ErrorKind::Transient);
        assert!(error.to_string().contains("cannot write t/date=1/x"), "{error}");
        assert_eq!(*folder.0.kept(), HashSet::new());
    }

    #[test]
    fn a_root_is_made_with_the_folders_above_it() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().join("a/b/c");
        for _ in 0..2 {
            assert_eq!(make_root(&root).expect("made"), root.canonicalize().expect("there"));
        }
    }
}
