//! The local target's folder: what stands where in it, and whose it is.
//!
//! | path | what |
//! |---|---|
//! | `pipeline.json` | the pipeline and stream that the folder belongs to |
//! | `kinesis/`, `stream.port` | the stream's state and its port (host's) |
//! | `lake/` | the object store: `journal/`, `staged/`, `quarantine/` |
//! | `warehouse/` | the Delta tables |
//! | `query_history` | what was typed at the prompt |

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Pipeline, Table};
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
    /// What must not change under rows that are there already, by table.
    tables: BTreeMap<String, Shape>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    kind: String,
    key: Vec<String>,
    history: String,
}

const FORMAT: u32 = 1;

impl DataFolder {
    /// Makes the folder where it is missing, and makes it the pipeline's.
    ///
    /// # Errors
    /// Invalid where it belongs to another pipeline or stream, or cannot be written.
    pub(super) fn claim(folder: &Path, pipeline: &Pipeline) -> Result<Self> {
        let mut ours = Owner::of(pipeline);
        if let Some(owner) = read_owner(folder)? {
            owner.must_be(&ours, folder)?;
            // A table that has gone from the pipeline may come back, and its rows are still there.
            let known = owner.tables.len();
            ours.tables = owner.tables.into_iter().chain(ours.tables).collect();
            if known == ours.tables.len() {
                return Ok(Self(folder.to_owned()));
            }
        } else {
            must_be_free(folder)?;
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
        match read_owner(folder)? {
            Some(owner) => owner.must_be(&Owner::of(pipeline), folder),
            None => must_be_free(folder),
        }
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
    fn must_have_the_same_tables(&self, ours: &Self, folder: &Path) -> Result<()> {
        for (name, shape) in &ours.tables {
            let Some(old) = self.tables.get(name).filter(|old| *old != shape) else { continue };
            let told = |shape: &Shape| {
                format!("{} with key [{}], history {}", shape.kind, shape.key.join(", "), shape.history)
            };
            return Err(Error::invalid(format!(
                "the table {name} was made as {}, and the pipeline now says {}: the rows in {} would no longer be \
                 found by their key; undo the change, give the table another name, or use another --data folder",
                told(old),
                told(shape),
                folder.display()
            )));
        }
        Ok(())
    }

    fn of(pipeline: &Pipeline) -> Self {
        let shape = |table: &Table| Shape {
            kind: format!("{:?}", table.kind).to_lowercase(),
            key: table.key.clone(),
            history: format!("{:?}", table.history).to_lowercase(),
        };
        let tables = pipeline.tables.iter().map(|table| (table.name.clone(), shape(table))).collect();
        Self { format: FORMAT, pipeline: pipeline.name.clone(), stream: pipeline.source.stream.clone(), tables }
    }

    fn must_be(&self, ours: &Self, folder: &Path) -> Result<()> {
        if self.format > FORMAT {
            return Err(Error::invalid(format!("{} was written by a newer Millstream", folder.display())));
        }
        if (&self.pipeline, &self.stream) == (&ours.pipeline, &ours.stream) {
            return self.must_have_the_same_tables(ours, folder);
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

/// Everything that stands in a data folder, beside its owner's file.
const OURS: [&str; 5] = ["kinesis", "stream.port", "lake", "warehouse", "query_history"];

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
        if !OURS.contains(&name.as_ref()) && !name.starts_with("pipeline.json") {
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
