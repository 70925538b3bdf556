//! Whose a place is: the pipeline, its stream and its tables' keys, as the file `pipeline.json` there says.
//!
//! Owns the file's form and what two of them must have in common. Who keeps it where is `data_folder`'s and `site`'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Pipeline, Table};
use crate::error::{Error, Result};

/// The file's name.
pub(super) const OWNER: &str = "pipeline.json";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Owner {
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

impl Owner {
    fn must_have_the_same_tables(&self, ours: &Self, place: &str) -> Result<()> {
        for (name, shape) in &ours.tables {
            let Some(old) = self.tables.get(name).filter(|old| *old != shape) else { continue };
            let told = |shape: &Shape| {
                format!("{} with key [{}], history {}", shape.kind, shape.key.join(", "), shape.history)
            };
            return Err(Error::invalid(format!(
                "the table {name} was made as {}, and the pipeline now says {}: the rows in {} would no longer be \
                 found by their key; undo the change, give the table another name, or choose another place for it",
                told(old),
                told(shape),
                place
            )));
        }
        Ok(())
    }

    /// The file for this pipeline.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let shape = |table: &Table| Shape {
            kind: format!("{:?}", table.kind).to_lowercase(),
            key: table.key.clone(),
            history: format!("{:?}", table.history).to_lowercase(),
        };
        let tables = pipeline.tables.iter().map(|table| (table.name.clone(), shape(table))).collect();
        Self { format: FORMAT, pipeline: pipeline.name.clone(), stream: pipeline.source.stream.clone(), tables }
    }

    /// The file's contents at `place`.
    ///
    /// # Errors
    /// Invalid where it is no such file.
    pub(super) fn parse(bytes: &[u8], place: &str) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::invalid(format!(
                "{OWNER} in {place} is not as Millstream wrote it: the file is damaged, or another program's. It only says \
                 which pipeline, stream and keys the place belongs to; stream, journal and warehouse are untouched, and \
                 nothing is read or written until it is sound. If this is the right place, bring the file back from a \
                 backup; without one move it away, look that name, stream, kinds and keys in pipeline.toml are those of \
                 the run before, and run: it is made anew from them"
            ))
            .with_source(error)
        })
    }

    /// The file's bytes.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::internal("the owner is no JSON").with_source(error))
    }

    /// What is to be written where this stands and `ours` comes: none where nothing changes. A table that has gone from
    /// the pipeline may come back, and its rows are still there.
    ///
    /// # Errors
    /// As [`Owner::must_be`].
    pub(super) fn joined(self, ours: Self, place: &str) -> Result<Option<Self>> {
        self.must_be(&ours, place)?;
        let known = self.tables.len();
        let tables: BTreeMap<String, Shape> = self.tables.into_iter().chain(ours.tables).collect();
        Ok((tables.len() > known).then_some(Self { tables, ..ours }))
    }

    /// Checks that `ours` is the same pipeline, with the same keys.
    ///
    /// # Errors
    /// Invalid where it is another's, or what must not change has changed.
    pub(super) fn must_be(&self, ours: &Self, place: &str) -> Result<()> {
        if self.format > FORMAT {
            return Err(Error::invalid(format!("{} was written by a newer Millstream", place)));
        }
        if (&self.pipeline, &self.stream) == (&ours.pipeline, &ours.stream) {
            return self.must_have_the_same_tables(ours, place);
        }
        Err(Error::invalid(format!(
            "{} belongs to the pipeline {} reading {}, not to {} reading {}; choose another (--data DIR, or the target's \
             store)",
            place, self.pipeline, self.stream, ours.pipeline, ours.stream
        )))
    }
}
