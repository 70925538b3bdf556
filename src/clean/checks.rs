//! The checks: expressions over one event that must be true.
//!
//! Owns their planning and the verdict on each event: refused by the first check, in the file's order, that is not
//! true for it; null is not true, and neither is an expression that fails on the event (a division by zero).

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;

use super::faults::{PlanFault, root_words, sentences};
use super::plan::unrepeatable;
use super::search::{Search, company};
use crate::config::Check;
use crate::error::{Error, Result};

/// A check that is planned.
#[derive(Debug)]
pub(super) struct PlannedCheck {
    name: String,
    text: String,
    expression: Arc<dyn PhysicalExpr>,
    /// The places of the columns that the expression names.
    columns: Vec<usize>,
}

/// An event that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The event's number in the batch.
    pub(super) event: u32,
    /// A short name to count by.
    pub(super) reason: String,
    /// The sentence for a person.
    pub(super) message: String,
}

/// Plans a check over the relation `events` of this schema.
///
/// # Errors
/// Every fault found, with the check's line.
pub(super) fn plan(state: &SessionState, check: &Check, events: &SchemaRef) -> Result<PlannedCheck, Vec<PlanFault>> {
    let fault = |words: String| PlanFault::toml(check.line, format!("check {:?}: {words}", check.name));
    let faults = |error: DataFusionError| -> Vec<PlanFault> {
        let place = |place: Option<datafusion::sql::sqlparser::tokenizer::Location>| match place {
            Some(place) => format!(" (character {} of the expression)", place.column),
            None => String::new(),
        };
        sentences(&error).into_iter().map(|(at, words)| fault(format!("{words}{}", place(at)))).collect()
    };
    let schema = DFSchema::try_from_qualified_schema("events", events).map_err(faults)?;
    let logical = state.create_logical_expr(&check.expr, &schema).map_err(faults)?;
    if looks_beyond(&logical).map_err(faults)? {
        return Err(vec![fault(
            "it looks at one event, so it takes no aggregate, window function or subquery".to_owned(),
        )]);
    }
    if let Some(name) = unrepeatable(&logical).map_err(faults)? {
        let message = format!("{name}() is not allowed: the same event must always get the same verdict");
        return Err(vec![fault(message)]);
    }
    let mut columns: Vec<usize> =
        logical.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column)).collect();
    columns.sort_unstable();
    let simple = simplified(state, logical, &schema).map_err(faults)?;
    let expression = state.create_physical_expr(simple, &schema).map_err(faults)?;
    // What cannot be evaluated over no event at all would refuse every event.
    expression.evaluate(&RecordBatch::new_empty(Arc::clone(events))).map_err(faults)?;
    match expression.data_type(events).map_err(faults)? {
        DataType::Boolean => {
            Ok(PlannedCheck { name: check.name.clone(), text: check.expr.trim().to_owned(), expression, columns })
        }
        other => Err(vec![fault(format!("{:?} is {other}; a check must be true or false", check.expr.trim()))]),
    }
}

/// Some functions (coalesce) exist only until an expression is simplified, which making it physical does not do.
fn simplified(state: &SessionState, expression: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .build();
    let simplifier = ExprSimplifier::new(context);
    simplifier.simplify(simplifier.coerce(expression, schema)?)
}

fn looks_beyond(expression: &Expr) -> Result<bool, DataFusionError> {
    let mut found = false;
    expression.apply(|node| {
        found |= matches!(
            node,
            Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::Unnest(_)
        );
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The events that the checks refuse, each once, in no order.
///
/// # Errors
/// Internal where Arrow cannot take a batch apart.
pub(super) fn refuse(checks: &[PlannedCheck], events: &RecordBatch) -> Result<Vec<Refusal>> {
    let mut refused = vec![false; events.num_rows()];
    let mut refusals = Vec::new();
    for check in checks {
        let found = match check.verdicts(events) {
            Ok(verdicts) if verdicts.null_count() == 0 && verdicts.true_count() == verdicts.len() => continue,
            Ok(verdicts) => check.untrue(events, &verdicts, &refused),
            // An event that an earlier check refused may be what it fails on.
            Err(_) => check.one_by_one(events, &refused)?,
        };
        for refusal in found {
            if let Some(slot) = refused.get_mut(refusal.event as usize) {
                *slot = true;
            }
            refusals.push(refusal);
        }
    }
    Ok(refusals)
}

impl PlannedCheck {
    fn verdicts(&self, events: &RecordBatch) -> Result<BooleanArray, DataFusionError> {
        let values = self.expression.evaluate(events)?.into_array(events.num_rows())?;
        let verdicts = values.as_any().downcast_ref::<BooleanArray>().cloned();
        verdicts.ok_or_else(|| DataFusionError::Execution(format!("{} is not boolean", self.text)))
    }

    fn untrue(&self, events: &RecordBatch, verdicts: &BooleanArray, refused: &[bool]) -> Vec<Refusal> {
        let is_true = |row: usize| verdicts.is_valid(row) && verdicts.value(row);
        let untrue = |row: &usize| !(refused[*row] || is_true(*row));
        let refusal = |row: usize| self.refusal(row, format!("{} is not true{}", self.text, self.values(events, row)));
        (0..events.num_rows()).filter(untrue).map(refusal).collect()
    }

    /// Halves the events not yet refused until those stand alone on which the expression fails, as far as `Search`
    /// goes.
    fn one_by_one(&self, events: &RecordBatch, refused: &[bool]) -> Result<Vec<Refusal>> {
        let rows: Vec<u32> = (0u32..).zip(refused).filter(|(_, refused)| !**refused).map(|(row, _)| row).collect();
        let left = take_record_batch(events, &UInt32Array::from(rows.clone()))
            .map_err(|error| Error::internal(format!("check {:?}", self.name)).with_source(error))?;
        let mut refusals = Vec::new();
        let mut search = Search::new(rows.len());
        while let Some(stretch) = search.next() {
            let part = left.slice(stretch.start, stretch.len());
            match self.verdicts(&part) {
                Ok(verdicts) => {
                    for refusal in self.untrue(&part, &verdicts, &vec![false; part.num_rows()]) {
                        refusals.push(Refusal { event: rows[stretch.start + refusal.event as usize], ..refusal });
                    }
                }
                Err(error) if search.gives_up(&stretch) => {
                    let words = format!("{}{}", root_words(&error), company(&stretch));
                    for row in stretch {
                        let message = format!("{} cannot be told: {words}{}", self.text, self.values(&left, row));
                        refusals.push(self.refusal(rows[row] as usize, message));
                    }
                }
                Err(_) => {}
            }
        }
        Ok(refusals)
    }

    fn refusal(&self, row: usize, message: String) -> Refusal {
        Refusal { event: u32::try_from(row).unwrap_or(u32::MAX), reason: self.name.clone(), message }
    }

    /// What the columns named hold: `: order_value is -5.00, tip is null`.
    fn values(&self, events: &RecordBatch, row: usize) -> String {
        let schema = events.schema();
        let values = self
            .columns
            .iter()
            .map(|place| format!("{} is {}", schema.field(*place).name(), shown(events.column(*place).as_ref(), row)));
        let values = values.collect::<Vec<_>>().join(", ");
        if values.is_empty() { values } else { format!(": {values}") }
    }
}

/// A value, cut short.
fn shown(column: &dyn Array, row: usize) -> String {
    const LONGEST: usize = 64;
    let options = FormatOptions::default().with_null("null");
    let Ok(formatter) = ArrayFormatter::try_new(column, &options) else { return "not printable".to_owned() };
    let Ok(text) = formatter.value(row).try_to_string() else { return "not printable".to_owned() };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
