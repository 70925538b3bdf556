//! What should stand in the warehouse for one key, by the staged rows of that key.
//!
//! Pure. It is the definition in its plainest words, and shares nothing with the loaders but the surrogate key's hash:
//! the newest row; or the runs of equal rows in time's order.

use std::collections::BTreeMap;

use super::row::{Form, Row};
use crate::error::Result;
use crate::query::BEGINNING;
use crate::schema::{History, TableKind};

/// A row that should be there.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// The staged row whose values it has.
    pub(super) row: Row,
    /// Of a dimension: what a load adds.
    pub(super) added: Option<Added>,
}

/// What a load adds to a dimension's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) surrogate_key: i64,
    pub(super) valid_from: i64,
    pub(super) valid_to: Option<i64>,
    pub(super) confirmed_at: i64,
}

/// What is known of the rows of a key.
#[derive(Debug)]
pub(super) enum Expectation {
    /// These are there, and no others.
    Rows {
        rows: Vec<Expected>,
        /// Whether a row came after a newer one: which one opened or confirmed a version is then not compared.
        late: bool,
    },
    /// Versions of these rows, from the oldest; when each holds depends on the loader.
    Versions(Vec<Row>),
}

/// What should stand there for a key with these staged rows, from the oldest to the newest.
pub(super) fn expected(form: &Form, rows: Vec<Row>) -> Result<Expectation> {
    let exactly = |rows| Ok(Expectation::Rows { rows, late: false });
    let kind = (form.spec.kind, form.spec.history);
    match kind {
        (TableKind::Fact, _) if form.spec.key.is_empty() => {
            exactly(rows.into_iter().map(|row| Expected { row, added: None }).collect())
        }
        (TableKind::Fact, _) => {
            exactly(rows.into_iter().last().map(|row| Expected { row, added: None }).into_iter().collect())
        }
        (TableKind::Dimension, History::Overwrite) => {
            let member = rows.into_iter().last().map(|row| dimension(form, row, BEGINNING)).transpose()?;
            exactly(member.into_iter().collect())
        }
        (TableKind::Dimension, History::Keep) => history(form, rows),
    }
}

fn dimension(form: &Form, row: Row, valid_from: i64) -> Result<Expected> {
    let confirmed_at = row.arrived_at();
    let surrogate_key = form.surrogate_key(&row, valid_from)?;
    Ok(Expected { row, added: Some(Added { surrogate_key, valid_from, valid_to: None, confirmed_at }) })
}

/// The versions of a key.
fn history(form: &Form, rows: Vec<Row>) -> Result<Expectation> {
    let mut seen: Vec<Row> = rows.iter().filter(|row| !row.is_inferred()).cloned().collect();
    // The same row once more changes nothing.
    seen.dedup_by(|again, first| again.version() == first.version() && again.attributes() == first.attributes());
    if seen.is_empty() {
        let member = rows.into_iter().next().map(|row| dimension(form, row, BEGINNING)).transpose()?;
        return Ok(Expectation::Rows { rows: member.into_iter().collect(), late: false });
    }
    let late = seen.windows(2).any(|pair| pair[0].entry() > pair[1].entry());
    let at_once = seen.windows(2).any(|pair| pair[0].arrived_at() == pair[1].arrived_at());
    if at_once || (late && came_often(&seen)) {
        return Ok(Expectation::Versions(seen));
    }
    let mut versions: Vec<Expected> = Vec::new();
    for row in seen {
        let arrived_at = row.arrived_at();
        match versions.last_mut() {
            Some(Expected { row: opened, added: Some(added) }) if opened.attributes() == row.attributes() => {
                added.confirmed_at = arrived_at;
            }
            Some(Expected { added: Some(added), .. }) => {
                added.valid_to = Some(arrived_at);
                versions.push(dimension(form, row, arrived_at)?);
            }
            _ => versions.push(dimension(form, row, BEGINNING)?),
        }
    }
    Ok(Expectation::Rows { rows: versions, late })
}

/// Whether some attributes came more than twice.
fn came_often(rows: &[Row]) -> bool {
    let mut times: BTreeMap<&[u8], usize> = BTreeMap::new();
    rows.iter().for_each(|row| *times.entry(row.attributes()).or_default() += 1);
    times.values().any(|times| *times > 2)
}
