//! The names that a query may use, and the sentence for one that is not there.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;
use datafusion::common::TableReference;

use crate::error::{Error, Result};

/// The relations and their columns.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, Vec<String>>);

/// The session's catalog and its default schema, for whoever writes a relation's full name.
const CATALOG: &str = "datafusion";
const DEFAULT_SCHEMA: &str = "public";

impl Names {
    /// One more relation; without a schema it stands in the default one.
    pub(super) fn add(&mut self, schema: Option<&str>, table: &str, columns: &Schema) {
        let name = schema.map_or_else(|| table.to_owned(), |schema| format!("{schema}.{table}"));
        self.0.insert(name, columns.fields().iter().map(|field| field.name().clone()).collect());
    }

    /// The relations, sorted.
    pub(super) fn tables(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// All columns, sorted, each once.
    pub(super) fn columns(&self) -> Vec<String> {
        self.0.values().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the relation is there, or a function yields it.
    ///
    /// # Errors
    /// Invalid, with the nearest names and all names.
    pub(super) fn check(&self, reference: &TableReference, is_function: impl Fn(&str) -> bool) -> Result<()> {
        if reference.schema() == Some("information_schema") {
            return Ok(());
        }
        let here = reference.catalog().is_none_or(|catalog| catalog == CATALOG);
        let schema = reference.schema().filter(|schema| *schema != DEFAULT_SCHEMA);
        let table = reference.table();
        let name = schema.map_or_else(|| table.to_owned(), |schema| format!("{schema}.{table}"));
        if here && (self.0.contains_key(&name) || (schema.is_none() && is_function(table))) {
            return Ok(());
        }
        let (asked, known) = (reference.to_string(), self.tables());
        let meant = suggestion(&nearest(&name, &known));
        Err(Error::invalid(format!("there is no table {asked:?}{meant}; there are {}", known.join(", "))))
    }

    /// The sentence for a column that none of the relations in reach has. Without `reach` it is any column's.
    pub(super) fn unknown_column(&self, column: &str, reach: Vec<String>) -> Error {
        let known = if reach.is_empty() { self.columns() } else { reach };
        let meant = suggestion(&nearest(column, &known));
        let folded = known.iter().any(|name| name != column && name.eq_ignore_ascii_case(column));
        let quotes = if folded { " (a name with capital letters stands in double quotes)" } else { "" };
        Error::invalid(format!("there is no column {column:?}{meant}{quotes}; there are {}", known.join(", ")))
    }
}

fn suggestion(nearest: &[&str]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

/// The up to three known names that a slip of the fingers would turn into this one, the nearest first.
fn nearest<'a>(name: &str, known: &'a [String]) -> Vec<&'a str> {
    let lower = name.to_lowercase();
    let bare = |name: &str| name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .map(|candidate| {
            let whole = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            // The right table in the wrong schema is near, and less near than the same name misspelt.
            let table = strsim::damerau_levenshtein(&bare(&lower), &bare(candidate)) + 2;
            (whole.min(table), candidate.as_str())
        })
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 4).max(2))
        .collect();
    near.sort();
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["dim_customers", "fact_orders", "journal", "staged.dim_customers", "staged.fact_orders"]
            .map(String::from)
            .into()
    }

    #[test]
    fn the_nearest_names_come_nearest_first() {
        let table: [(&str, &[&str]); 7] = [
            ("fact_order", &["fact_orders", "staged.fact_orders"]),
            ("FACT_ORDERS", &["fact_orders", "staged.fact_orders"]),
            ("staged.fact_ordres", &["staged.fact_orders"]),
            ("stage.fact_orders", &["staged.fact_orders", "fact_orders"]),
            ("journla", &["journal"]),
            ("weather", &[]),
            ("", &[]),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name, &known()), expected, "{name}");
        }
    }

    #[test]
    fn a_column_with_capitals_is_told_to_stand_in_quotes() {
        let error = Names::default().unknown_column("orderid", vec!["OrderID".to_owned(), "tip".to_owned()]);
        let expected = "there is no column \"orderid\"; did you mean OrderID? (a name with capital letters stands in \
                        double quotes); there are OrderID, tip";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_relation_is_found_by_any_of_its_names() {
        let mut names = Names::default();
        names.add(None, "fact_orders", &Schema::empty());
        names.add(Some("staged"), "fact_orders", &Schema::empty());
        let is_function = |name: &str| name == "generate_series";
        for name in ["fact_orders", "public.fact_orders", "datafusion.staged.fact_orders", "generate_series"] {
            assert!(names.check(&TableReference::from(name), is_function).is_ok(), "{name}");
        }
        for name in ["other.fact_orders", "elsewhere.public.fact_orders", "staged.generate_series", "staged"] {
            assert!(names.check(&TableReference::from(name), is_function).is_err(), "{name}");
        }
    }

    #[test]
    fn without_a_near_name_nothing_is_suggested() {
        assert_eq!(suggestion(&[]), "");
        assert_eq!(suggestion(&["a", "b"]), "; did you mean a or b?");
    }
}
