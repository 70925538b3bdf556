//! The local target's folder: what stands where in it, and whose it is.
//!
//! | path | what |
//! |---|---|
//! | `pipeline.json` | the pipeline and stream that the folder belongs to |
//! | `kinesis/`, `stream.port` | the stream's state and its port (host's) |
//! | `lake/` | the object store: `journal/`, `staged/`, `quarantine/` |
//! | `warehouse/` | the Delta tables |
//! | `query_history` | what was typed at the prompt |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Pipeline;
use crate::error::{Error, Result, is_storage_full};

/// The folder, known to belong to the pipeline at hand.
#[derive(Debug, Clone)]
pub(super) struct DataFolder(PathBuf);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    format: u32,
    pipeline: String,
    stream: String,
}

const FORMAT: u32 = 1;

impl DataFolder {
    /// Makes the folder where it is missing, and makes it the pipeline's.
    ///
    /// # Errors
    /// Invalid where it belongs to another pipeline or stream, or cannot be written.
    pub(super) fn claim(folder: &Path, pipeline: &Pipeline) -> Result<Self> {
        let ours = Owner::of(pipeline);
        if let Some(owner) = read_owner(folder)? {
            owner.must_be(&ours, folder)?;
            return Ok(Self(folder.to_owned()));
        }
        write_owner(folder, &ours).map_err(|error| cannot("write", folder, error))?;
        Ok(Self(folder.to_owned()))
    }

    /// The folder as earlier commands left it, for commands that only look.
    ///
    /// # Errors
    /// Invalid where there is none, or where it belongs to another pipeline or stream.
    pub(super) fn existing(folder: &Path, pipeline: &Pipeline) -> Result<Self> {
        match read_owner(folder)? {
            Some(owner) => owner.must_be(&Owner::of(pipeline), folder)?,
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
        read_owner(folder)?.map_or(Ok(()), |owner| owner.must_be(&Owner::of(pipeline), folder))
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
}

impl Owner {
    fn of(pipeline: &Pipeline) -> Self {
        Self { format: FORMAT, pipeline: pipeline.name.clone(), stream: pipeline.source.stream.clone() }
    }

    fn must_be(&self, ours: &Self, folder: &Path) -> Result<()> {
        if self.format > FORMAT {
            return Err(Error::invalid(format!("{} was written by a newer Millstream", folder.display())));
        }
        if self == ours {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the data folder {} belongs to the pipeline {} reading {}, not to {} reading {}; choose another with \
             --data DIR",
            folder.display(),
            self.pipeline,
            self.stream,
            ours.pipeline,
            ours.stream
        )))
    }
}

fn owner_file(folder: &Path) -> PathBuf {
    folder.join("pipeline.json")
}

fn read_owner(folder: &Path) -> Result<Option<Owner>> {
    let file = owner_file(folder);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", folder, error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::invalid(format!("{} is not Millstream's: is this the right --data folder?", file.display()))
            .with_source(error)
    })
}

/// Written beside and renamed, so that no reader sees half of it; of two commands that start at once, both write
/// the same or the later one finds out at its next start.
fn write_owner(folder: &Path, owner: &Owner) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!("pipeline.json.{}", std::process::id()));
    fs::write(&beside, serde_json::to_vec(owner)?)?;
    fs::rename(&beside, owner_file(folder))
}

fn cannot(verb: &str, folder: &Path, error: io::Error) -> Error {
    let what = if is_storage_full(&error) { "free some space" } else { "choose another with --data DIR" };
    Error::invalid(format!("cannot {verb} the data folder {}; {what}", folder.display())).with_source(error)
}
