//! Whose a place is: the pipeline, its stream, its tables' keys and the zones of its times, as the file `pipeline.json`
//! there says.
//!
//! Owns the file's form and what two of them must have in common. Who keeps it where is `data_folder`'s and `site`'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Pipeline, Table};
use crate::error::{Error, Result};
use crate::schema::FieldType;

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
    /// The `assume_zone` of each event field that has one: a time without a zone is another moment in another one. Format 1
    /// has none.
    #[serde(default)]
    zones: BTreeMap<String, String>,
}

/// What every format begins with.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    kind: String,
    key: Vec<String>,
    history: String,
}

const FORMAT: u32 = 2;

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

    /// A zone that comes is new rows' alone: the texts that it is for were refused before it. One that goes has them refused
    /// again.
    fn must_have_the_same_zones(&self, ours: &Self, place: &str) -> Result<()> {
        for (field, zone) in &ours.zones {
            let Some(old) = self.zones.get(field).filter(|old| *old != zone) else { continue };
            return Err(Error::invalid(format!(
                "the event field {field} was read with assume_zone {old}, and the pipeline now says {zone}: a time without \
                 a zone in the rows in {place} means another moment than the same text in new rows would; undo the \
                 change, or choose another place and let everything be read anew"
            )));
        }
        Ok(())
    }

    /// The file for this pipeline.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let shape = |table: &Table| Shape {
            kind: table.kind.name().to_owned(),
            key: table.key.clone(),
            history: table.history.name().to_owned(),
        };
        let tables = pipeline.tables.iter().map(|table| (table.name.clone(), shape(table))).collect();
        let (name, stream) = (pipeline.name.clone(), pipeline.source.stream.clone());
        let mut zones = BTreeMap::new();
        pipeline.fields.iter().for_each(|field| add_zones(&mut zones, &field.name, &field.field_type));
        Self { format: FORMAT, pipeline: name, stream, tables, zones }
    }

    /// The file's contents at `place`.
    ///
    /// # Errors
    /// Invalid where it is no such file, or a newer release's.
    pub(super) fn parse(bytes: &[u8], place: &str) -> Result<Self> {
        if serde_json::from_slice(bytes).is_ok_and(|Version { format }| format > FORMAT) {
            return Err(Error::invalid(format!("{place} was written by a newer Millstream")));
        }
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
        let known = self.tables.len() + self.zones.len();
        let tables: BTreeMap<String, Shape> = self.tables.into_iter().chain(ours.tables).collect();
        let zones: BTreeMap<String, String> = self.zones.into_iter().chain(ours.zones).collect();
        Ok((tables.len() + zones.len() > known).then_some(Self { tables, zones, ..ours }))
    }

    /// Checks that `ours` is the same pipeline, with the same keys and zones.
    ///
    /// # Errors
    /// Invalid where it is another's, or what must not change has changed.
    pub(super) fn must_be(&self, ours: &Self, place: &str) -> Result<()> {
        if (&self.pipeline, &self.stream) == (&ours.pipeline, &ours.stream) {
            self.must_have_the_same_tables(ours, place)?;
            return self.must_have_the_same_zones(ours, place);
        }
        Err(Error::invalid(format!(
            "{} belongs to the pipeline {} reading {}, not to {} reading {}; choose another (--data DIR, or the target's \
             store)",
            place, self.pipeline, self.stream, ours.pipeline, ours.stream
        )))
    }
}

/// The zones of a field and of what is in it, by its name and theirs.
fn add_zones(zones: &mut BTreeMap<String, String>, name: &str, field_type: &FieldType) {
    match field_type {
        FieldType::Timestamptz { assume_zone: Some(zone) } => {
            zones.insert(name.to_owned(), zone.name().to_owned());
        }
        FieldType::List(item) => add_zones(zones, name, item),
        FieldType::Struct(fields) => {
            for field in fields {
                add_zones(zones, &format!("{name}.{}", field.name), &field.field_type);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;

    fn owner(zones: &[(&str, &str)]) -> Owner {
        let zones = zones.iter().map(|(field, zone)| ((*field).to_owned(), (*zone).to_owned())).collect();
        Owner { format: FORMAT, pipeline: "p".to_owned(), stream: "s".to_owned(), tables: BTreeMap::new(), zones }
    }

    #[test]
    fn a_zone_may_come_and_go_and_never_change() {
        let joined = owner(&[("a", "UTC")]).joined(owner(&[("a", "UTC"), ("b", "Europe/Rome")]), "here");
        let joined = joined.expect("a new one").expect("to be written");
        assert_eq!(joined, owner(&[("a", "UTC"), ("b", "Europe/Rome")]));
        // One that has gone is remembered, so that it cannot come back as another.
        assert_eq!(joined.clone().joined(owner(&[]), "here").expect("gone"), None);
        let error = joined.joined(owner(&[("b", "UTC")]), "here").expect_err("another").to_string();
        assert!(
            error.contains("the event field b was read with assume_zone Europe/Rome, and the pipeline now says UTC")
        );
    }

    #[test]
    fn a_file_of_the_first_format_learns_the_zones() {
        let old = Owner::parse(br#"{"format":1,"pipeline":"p","stream":"s","tables":{}}"#, "here").expect("it is read");
        let joined = old.joined(owner(&[("a", "UTC")]), "here").expect("the same pipeline");
        assert_eq!(joined, Some(owner(&[("a", "UTC")])));
    }

    #[test]
    fn a_newer_release_s_file_is_told_from_a_stranger_s() {
        for (text, words) in [
            (&br#"{"format":3,"more":1}"#[..], "here was written by a newer Millstream"),
            (br#"{"format":2,"more":1}"#, "is not as Millstream wrote it"),
            (b"{}", "is not as Millstream wrote it"),
        ] {
            let error = Owner::parse(text, "here").expect_err("no owner").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn zones_are_found_however_deep() {
        let zoned = FieldType::Timestamptz { assume_zone: Some(chrono_tz::Europe::Rome) };
        let field = |name: &str, field_type| Field { name: name.to_owned(), path: vec![], field_type, required: false };
        let members = vec![field("at", zoned.clone()), field("n", FieldType::Integer)];
        let list = FieldType::List(Box::new(FieldType::Struct(members)));
        let mut zones = BTreeMap::new();
        for (name, field_type) in [("list", &list), ("time", &zoned), ("plain", &FieldType::Date)] {
            add_zones(&mut zones, name, field_type);
        }
        assert_eq!(zones, owner(&[("list.at", "Europe/Rome"), ("time", "Europe/Rome")]).zones);
    }
}
