//! The local target's folder: what stands where in it, and whose it is.
//!
//! | path | what |
//! |---|---|
//! | `pipeline.json` | the pipeline and stream that the folder belongs to |
//! | `kinesis/`, `stream.port` | the stream's state and its port (host's) |
//! | `lake/` | the object store: `journal/`, `staged/`, `quarantine/` |
//! | `warehouse/` | the Delta tables |
//! | `query_history` | what was typed at the prompt |
//! | `spill/` | what questions cannot hold in memory, while they are answered |
//!
//! The folder is its user's alone (0700).

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::owner::{OWNER, Owner};
use crate::config::Pipeline;
use crate::error::{Error, Result, is_storage_full};

/// A folder's mode where it is its user's alone, and the bits that let others in.
const PRIVATE: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// The folder, known to belong to the pipeline at hand.
#[derive(Debug, Clone)]
pub(super) struct DataFolder(PathBuf);

impl DataFolder {
    /// Makes the folder where it is missing, and makes it the pipeline's.
    ///
    /// # Errors
    /// Invalid where it belongs to another pipeline or stream, or cannot be written.
    pub(super) fn claim(folder: &Path, pipeline: &Pipeline) -> Result<Self> {
        let mut ours = Owner::of(pipeline);
        match read_owner(folder)? {
            Some(owner) => match owner.joined(ours, &told(folder))? {
                Some(joined) => ours = joined,
                None => {
                    make_private(folder);
                    return Ok(Self(folder.to_owned()));
                }
            },
            None => must_be_free(folder)?,
        }
        make_private(folder);
        write_owner(folder, &ours.bytes()?).map_err(|error| cannot("write", folder, error))?;
        Ok(Self(folder.to_owned()))
    }

    /// The folder as earlier commands left it, for commands that only look.
    ///
    /// # Errors
    /// Invalid where there is none, or where it belongs to another pipeline or stream.
    pub(super) fn existing(folder: &Path, pipeline: &Pipeline) -> Result<Self> {
        match read_owner(folder)? {
            Some(owner) => owner.must_be(&Owner::of(pipeline), &told(folder))?,
            None => {
                return Err(Error::invalid(format!(
                    "there is no data in {}; run the pipeline first (`millstream run {}`), or name its folder with \
                     --data",
                    folder.display(),
                    pipeline.folder.display()
                )));
            }
        }
        Ok(Self(folder.to_owned()))
    }

    /// Whose folder this is, where it is somebody's: for a check that writes nothing.
    ///
    /// # Errors
    /// As [`DataFolder::claim`].
    pub(super) fn could_be_claimed(folder: &Path, pipeline: &Pipeline) -> Result<()> {
        match read_owner(folder)? {
            Some(owner) => owner.must_be(&Owner::of(pipeline), &told(folder)),
            None => must_be_free(folder),
        }
    }

    /// Looks whether the local stream that the journal has read from is still there.
    ///
    /// # Errors
    /// Corrupt where it is gone.
    pub(super) fn has_its_stream(folder: &Path) -> Result<()> {
        let found = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
        // Entries of dimension files come from no stream.
        let opens_stream = |entry: fs::DirEntry| {
            let entry: Option<serde_json::Value> = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok();
            entry.filter(|entry| entry.get("opening").is_some_and(|opening| !opening.is_null()))
        };
        let mut entries = found(folder.join("lake").join("journal"));
        if found(folder.join("kinesis")).next().is_some() || entries.find_map(opens_stream).is_none() {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "the local stream is gone: {} is missing, and the journal beside it has read from it; records that were in it \
             and not yet read would be lost without a word, so nothing was made: put the folder back from a copy, or give \
             up those records with --reset-stream, which begins with an empty stream (what is staged and loaded stays)",
            folder.join("kinesis").display()
        )))
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn lake(&self) -> PathBuf {
        self.0.join("lake")
    }

    pub(super) fn warehouse(&self) -> PathBuf {
        self.0.join("warehouse")
    }

    pub(super) fn query_history(&self) -> PathBuf {
        self.0.join("query_history")
    }

    pub(super) fn spill(&self) -> PathBuf {
        self.0.join("spill")
    }
}

/// Takes a folder that others could look into from them: what is in it, they must not read. Where that cannot be done it
/// is told, and no reason to stop.
fn make_private(folder: &Path) {
    let Ok(found) = fs::metadata(folder) else { return };
    if found.permissions().mode() & OTHERS == 0 {
        return;
    }
    let folder_name = folder.display();
    match fs::set_permissions(folder, Permissions::from_mode(PRIVATE)) {
        Ok(()) => {
            tracing::warn!(folder = %folder_name, "others could look into the data folder; it is private now (0700)")
        }
        Err(error) => {
            tracing::warn!(folder = %folder_name, %error, "others can look into the data folder: make it private (chmod 700)");
        }
    }
}

/// Everything that stands in a data folder, beside its owner's file.
const OURS: [&str; 6] = ["kinesis", "stream.port", "lake", "warehouse", "query_history", "spill"];

/// A folder without an owner is empty, or holds only what a stream's host has put there already.
fn must_be_free(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("read", folder, error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| cannot("read", folder, error))?.file_name();
        let name = name.to_string_lossy();
        if !OURS.contains(&name.as_ref()) && !name.starts_with(OWNER) {
            return Err(Error::invalid(format!(
                "{} holds {name}, which is not Millstream's; choose an empty folder, or one that does not exist yet, \
                 with --data DIR",
                folder.display()
            )));
        }
    }
    Ok(())
}

fn owner_file(folder: &Path) -> PathBuf {
    folder.join(OWNER)
}

fn read_owner(folder: &Path) -> Result<Option<Owner>> {
    let file = owner_file(folder);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", folder, error)),
    };
    Owner::parse(&text, &told(folder)).map(Some)
}

fn told(folder: &Path) -> String {
    format!("the data folder {}", folder.display())
}

/// Written beside and renamed, so that no reader sees half of it; of two commands that start at once, both write
/// the same or the later one finds out at its next start.
fn write_owner(folder: &Path, owner: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!("{OWNER}.{}", std::process::id()));
    fs::write(&beside, owner)?;
    fs::rename(&beside, owner_file(folder))
}

fn cannot(verb: &str, folder: &Path, error: io::Error) -> Error {
    let what = if is_storage_full(&error) { "free some space" } else { "choose another with --data DIR" };
    Error::invalid(format!("cannot {verb} the data folder {}; {what}", folder.display())).with_source(error)
}
