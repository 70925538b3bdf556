//! Where a session spills what does not fit its memory: a folder of its own, which no kill leaves behind for long.
//!
//! Owns the folder's life. A file beside it is locked for as long as its process lives, so the next one to spill in the
//! same place sees whose folders nobody uses any more, and removes them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What the folders' names begin with.
const PREFIX: &str = "millstream-spill-";

/// What the names of their locks end in.
const LOCK: &str = ".lock";

/// A folder for spilled rows. Dropped, it is gone.
#[derive(Debug)]
pub struct SpillFolder {
    path: PathBuf,
    lock: PathBuf,
    /// Unlocked when the process ends, however it does.
    _locked: File,
}

impl SpillFolder {
    /// A new folder in `place`, which is made where it is missing. Folders there that nobody uses any more are removed.
    ///
    /// # Errors
    /// Where `place` cannot be written.
    pub fn new(place: &Path) -> io::Result<Self> {
        private_folders().recursive(true).create(place)?;
        remove_left_behind(place)?;
        let mut number = 0;
        loop {
            number += 1;
            let path = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
            let lock = lock_of(&path);
            let locked = File::options().create(true).append(true).open(&lock)?;
            // One that starts at the same moment may have taken the file for one left behind.
            if locked.try_lock().is_err() || !lock.exists() {
                continue;
            }
            private_folders().create(&path)?;
            return Ok(Self { path, lock, _locked: locked });
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What cannot be removed now is so by the next one.
        let _ = fs::remove_dir_all(&self.path).and_then(|()| fs::remove_file(&self.lock));
    }
}

fn lock_of(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(LOCK);
    name.into()
}

/// Spilled rows are nobody else's to read.
fn private_folders() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn remove_left_behind(place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)? {
        let lock = entry?.path();
        let name = lock.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(folder) = name.strip_suffix(LOCK).filter(|folder| folder.starts_with(PREFIX)) else { continue };
        // Another user's cannot be opened, and is that user's to remove.
        let Ok(file) = File::options().append(true).open(&lock) else { continue };
        if file.try_lock().is_ok() {
            let removed = fs::remove_dir_all(place.join(folder));
            if removed.is_ok() || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                fs::remove_file(&lock)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_gone_with_its_owner_and_the_next_one_removes_what_was_left_behind() {
        let root = tempfile::tempdir().expect("a folder");
        let place = root.path().join("deep/spill");
        let (first, second) = (SpillFolder::new(&place).expect("made"), SpillFolder::new(&place).expect("made"));
        assert_ne!(first.path(), second.path());
        fs::write(first.path().join("rows"), "rows").expect("written");
        // As a process that was killed leaves them: nobody locks it.
        fs::create_dir(place.join("millstream-spill-1-1")).expect("made");
        fs::write(place.join("millstream-spill-1-1/rows"), "rows").expect("written");
        fs::write(place.join("millstream-spill-1-1.lock"), "").expect("written");
        fs::write(place.join("somebody's.lock"), "").expect("written");
        let third = SpillFolder::new(&place).expect("made");
        assert!(first.path().join("rows").exists() && second.path().exists());
        assert!(!place.join("millstream-spill-1-1").exists());
        drop((first, second, third));
        assert_eq!(names(&place), ["somebody's.lock"]);
    }

    #[test]
    fn nobody_else_reads_it() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = SpillFolder::new(&root.path().join("spill")).expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&root.path().join("spill"))), (0o700, 0o700));
    }
}
