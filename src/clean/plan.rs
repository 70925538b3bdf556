//! Planning one table's SQL, once, at start.
//!
//! Owns what a plan must yield: the key, the references, the version columns, storable columns, and those that the
//! pipeline says a width or a layout of. All faults of a file that can be told apart are told together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::SchemaProvider;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Volatility, cast};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::across::Across;
use super::carry::{Carrier, NotCarried, asks_events};
use super::columns::{is_key_type, name_fault, stored_type};
use super::faults::{PlanFault, located, root_words};
use super::relation::{ROW_COLUMN, numbered_schema, provider, version_fields};
use super::statement::{self, Select};
use super::table::PlannedTable;
use super::widths::longest;
use crate::config::{Input, Table};
use crate::schema::{self, MAX_STRING_BYTES, Reference, TableSpec, VERSION_COLUMNS, input_schema};
use crate::sql::planned;

/// The relation's name for each kind of input, as SQL writes it.
fn relation_of(input: &Input) -> &'static str {
    match input {
        Input::Events => "events",
        Input::File { .. } => "file",
        Input::Dates { .. } => "dates",
    }
}

/// Plans a table's SQL over its input; `events` is the schema of the relation `events` as SQL sees it, `fields` are those it
/// declares.
///
/// # Errors
/// Every fault found.
pub(super) async fn plan(
    state: &Arc<SessionState>,
    table: &Table,
    events: &SchemaRef,
    fields: &[schema::Field],
) -> Result<PlannedTable, Vec<PlanFault>> {
    let file = table.sql_path.display().to_string();
    let relation = relation_of(&table.input);
    let seen = match &table.input {
        Input::Events => Arc::clone(events),
        Input::File { fields, .. } => input_schema(fields),
        Input::Dates { .. } => super::dates::schema(),
    };
    let select = statement::read(state, &file, &table.sql, relation)?;
    let at_its_place = |error: DataFusionError| located(&file, &error);
    register(state, relation, &seen).map_err(at_its_place)?;
    let raw = planned(state, select.statement.clone()).await.map_err(at_its_place)?;
    refuse_unrepeatable(&raw, &file)?;
    let declared = match &table.input {
        Input::Events => fields,
        Input::File { fields, .. } => fields,
        Input::Dates { .. } => &[],
    };
    let planner = Planner { state, table, file: &file, select: &select, declared };
    let yielded = planner.analyse(raw)?;
    let (spec, plan) = planner.conform(&yielded)?;
    let plan = state.optimize(&plan).map_err(at_its_place)?;
    // Some of what is planned cannot be run: no run is to find that out.
    let physical = state.query_planner().create_physical_plan(&plan, state.as_ref()).await;
    physical.map_err(|error| vec![not_run(&file, &error)])?;
    let fields = spec.columns.fields().iter().map(|field| field.as_ref().clone());
    let output_schema = Arc::new(Schema::new(fields.chain(version_fields()).collect::<Vec<_>>()));
    let (input, carries, state) = (table.input.clone(), yielded.carried.is_some(), Arc::clone(state));
    Ok(PlannedTable {
        spec,
        file,
        input,
        input_schema: numbered_schema(&seen),
        output_schema,
        carries,
        plan,
        state,
        told: AtomicBool::new(false),
    })
}

fn not_run(file: &str, error: &DataFusionError) -> PlanFault {
    let words = root_words(error);
    let words: String = words.chars().take(80).collect();
    let message = format!(
        "this SQL cannot be run ({words}…); where FROM unnests a list, let the select list do it: SELECT unnest(tags) AS \
         tag FROM events"
    );
    PlanFault::sql(file, None, message)
}

fn register(state: &SessionState, relation: &str, schema: &SchemaRef) -> Result<(), DataFusionError> {
    let tables: Arc<dyn SchemaProvider> = state.schema_for_ref(relation)?;
    // `file` is another relation for each table.
    tables.deregister_table(relation)?;
    tables.register_table(relation.to_owned(), provider(schema)?).map(|_| ())
}

/// What an analysed plan yields.
struct Yielded {
    plan: LogicalPlan,
    /// How many columns the SQL itself yields, the first ones.
    own: usize,
    /// Where the carried columns stand, if the plan carries: `_arrived_at`, `_position`, row number.
    carried: Option<[usize; 3]>,
    one_to_one: bool,
}

struct Planner<'a> {
    state: &'a SessionState,
    table: &'a Table,
    file: &'a str,
    select: &'a Select,
    /// The fields that the relation declares.
    declared: &'a [schema::Field],
}

impl Planner<'_> {
    fn reads_events(&self) -> bool {
        matches!(self.table.input, Input::Events)
    }

    /// Carries what can be carried and lets DataFusion settle the types.
    ///
    /// # Errors
    /// Where rows of events depend on more than one event each.
    fn analyse(&self, raw: LogicalPlan) -> Result<Yielded, Vec<PlanFault>> {
        let own = raw.schema().fields().len();
        let faults = |error: DataFusionError| located(self.file, &error);
        let analyse = |plan: LogicalPlan| {
            self.state.analyzer().execute_and_check(plan, self.state.config_options(), |_, _| {}).map_err(faults)
        };
        if self.reads_events() && asks_events(&raw).map_err(faults)? {
            return Err(vec![self.across(&Across::Subquery)]);
        }
        let carried = match (Carrier { is_whole: !self.reads_events() }).carry(&raw) {
            Ok(carried) => carried,
            Err(NotCarried::Broken(error)) => return Err(faults(error)),
            Err(NotCarried::Across(across)) if self.reads_events() => return Err(vec![self.across(&across)]),
            Err(NotCarried::Across(_)) => {
                return Ok(Yielded { plan: analyse(raw)?, own, carried: None, one_to_one: false });
            }
        };
        let plan = analyse(carried.plan)?;
        let [arrived_at, position, row] = carried.columns;
        let place = |column| plan.schema().index_of_column(column).map_err(faults);
        let places = [place(&arrived_at)?, place(&position)?, place(&row)?];
        Ok(Yielded { own, carried: Some(places), one_to_one: carried.one_to_one, plan })
    }

    fn across(&self, across: &Across) -> PlanFault {
        PlanFault::sql(self.file, across.place(&self.select.statement, self.state), across.sentence())
    }

    /// The table's spec, and the plan with just its columns, stored as they must be, then the version columns and,
    /// where it carries, the row number.
    fn conform(&self, yielded: &Yielded) -> Result<(TableSpec, LogicalPlan), Vec<PlanFault>> {
        let schema = yielded.plan.schema();
        let mut faults = Vec::new();
        let mut versions = yielded.carried.map_or([None, None], |places| [Some(places[0]), Some(places[1])]);
        let mut fields: Vec<Field> = Vec::new();
        let mut expressions = Vec::new();
        for index in 0..yielded.own {
            let (qualifier, field) = schema.qualified_field(index);
            let name = field.name();
            if let Some(version) = VERSION_COLUMNS.iter().position(|column| column == name) {
                if self.reads_events() && !is_passed_on(&yielded.plan, index, name) {
                    let message = format!(
                        "{name} is the event's own and rides along by itself; give what the SQL makes another name"
                    );
                    faults.push(PlanFault::sql(self.file, self.place(index), message));
                }
                versions[version] = versions[version].or(Some(index));
                continue;
            }
            if self.select.wildcard && name.starts_with('_') {
                continue;
            }
            match self.column(index, field, &fields) {
                Ok(stored) => {
                    let column = Expr::Column((qualifier, field).into());
                    expressions.push(cast(column, stored.data_type().clone()).alias(name));
                    fields.push(stored);
                }
                Err(fault) => faults.push(fault),
            }
        }
        self.check_names(&fields, faults.is_empty(), &mut faults);
        let [Some(arrived_at), Some(position)] = versions else {
            faults.push(self.missing_versions());
            return Err(faults);
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        let column = |index: usize| Expr::Column(schema.qualified_field(index).into());
        for (field, index) in version_fields().into_iter().zip([arrived_at, position]) {
            expressions.push(cast(column(index), field.data_type().clone()).alias(field.name()));
        }
        expressions.extend(yielded.carried.map(|places| column(places[2]).alias(ROW_COLUMN)));
        let plan = Projection::try_new(expressions, Arc::new(yielded.plan.clone()))
            .map_err(|error| located(self.file, &error))?;
        Ok((self.spec(fields, yielded), LogicalPlan::Projection(plan)))
    }

    /// The column as it is stored; those of the key are never null.
    fn column(&self, index: usize, field: &Field, others: &[Field]) -> Result<Field, PlanFault> {
        let name = field.name();
        let fault = |message: String| PlanFault::sql(self.file, self.place(index), message);
        if let Some(message) = name_fault(name) {
            return Err(fault(message));
        }
        if others.iter().any(|other| other.name() == name) {
            return Err(fault(format!("the column {name:?} is yielded twice; give one of them another name with AS")));
        }
        let stored = stored_type(field.data_type()).map_err(|words| fault(format!("the column {name:?} {words}")))?;
        let is_key = self.table.key.contains(name);
        if is_key && !is_key_type(&stored) {
            return Err(fault(format!(
                "the key column {name:?} is of type {stored}, by which rows cannot be told apart"
            )));
        }
        Ok(Field::new(name, stored, field.is_nullable() && !is_key))
    }

    fn place(&self, index: usize) -> Option<Location> {
        self.select.items.get(index).copied()
    }

    /// Checks that the columns which pipeline.toml names are yielded; `whole` says that no column was refused, so that an absent one
    /// is absent for sure.
    fn check_names(&self, fields: &[Field], whole: bool, faults: &mut Vec<PlanFault>) {
        if !whole {
            return;
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let key = self.table.key.iter().map(|name| ("key column", name));
        let references = self.table.references.keys().map(|name| ("reference", name));
        let widths = self.table.widths.keys().map(|name| ("the column of widths", name));
        let layout = self.table.layout.columns().map(|name| ("the column of redshift", name));
        let named = key.chain(references).chain(widths).chain(layout);
        for (what, name) in named.filter(|(_, name)| !names.contains(&name.as_str())) {
            let yields = names.join(", ");
            let message = format!("{what} {name:?} is not yielded by {}; it yields {yields}", self.file);
            faults.push(PlanFault::toml(self.table.line, message));
        }
        for field in fields.iter().filter(|field| *field.data_type() != DataType::Utf8) {
            if self.table.widths.contains_key(field.name()) {
                let message = format!(
                    "the column of widths {:?} is {}; only strings have a width",
                    field.name(),
                    field.data_type()
                );
                faults.push(PlanFault::toml(self.table.line, message));
            }
        }
    }

    /// The most bytes of each string column, where that is said or can be proved.
    fn max_bytes(&self, fields: &[Field], yielded: &Yielded) -> BTreeMap<String, u32> {
        let proved = |name: &str| {
            let names = yielded.plan.schema().fields().iter().take(yielded.own);
            let index = names.into_iter().position(|field| field.name() == name)?;
            let bytes = u32::try_from(longest(&yielded.plan, index, self.declared)?).ok()?;
            // No warehouse has a column of no bytes.
            Some(bytes.max(1)).filter(|bytes| *bytes <= MAX_STRING_BYTES)
        };
        let strings = fields.iter().filter(|field| *field.data_type() == DataType::Utf8).map(Field::name);
        let width = |name: &String| self.table.widths.get(name).copied().or_else(|| proved(name));
        strings.filter_map(|name| Some((name.clone(), width(name)?))).collect()
    }

    fn missing_versions(&self) -> PlanFault {
        let message = format!(
            "several rows of {relation} become one here (GROUP BY, DISTINCT, UNION or a join of {relation} with \
             {relation}), so the SELECT must say which is newer: add max(_arrived_at) AS _arrived_at, max(_position) AS \
             _position",
            relation = relation_of(&self.table.input)
        );
        PlanFault::sql(self.file, self.place(0), message)
    }

    fn spec(&self, fields: Vec<Field>, yielded: &Yielded) -> TableSpec {
        let reference = |(column, dimension): (&String, &String)| Reference {
            column: column.clone(),
            dimension: dimension.clone(),
        };
        TableSpec {
            name: self.table.name.clone(),
            kind: self.table.kind,
            key: self.table.key.clone(),
            history: self.table.history,
            references: self.table.references.iter().map(reference).collect(),
            max_bytes: self.max_bytes(&fields, yielded),
            columns: Arc::new(Schema::new(fields)),
            one_to_one: yielded.one_to_one,
            layout: self.table.layout.clone(),
        }
    }
}

/// Whether the plan's column is one of this name further inside, and nothing made of it.
fn is_passed_on(plan: &LogicalPlan, column: usize, name: &str) -> bool {
    match plan {
        LogicalPlan::Sort(sort) => is_passed_on(&sort.input, column, name),
        LogicalPlan::Projection(projection) => {
            matches!(projection.expr.get(column), Some(Expr::Column(inner)) if inner.name == name)
        }
        // Of several branches the first names the columns.
        _ => true,
    }
}

/// A batch that is done again after a crash must give the same rows: no clock, no dice. A recursive query is refused
/// with them, since a plan of one cannot be run twice.
fn refuse_unrepeatable(plan: &LogicalPlan, file: &str) -> Result<(), Vec<PlanFault>> {
    let mut faults = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::RecursiveQuery(_)) {
            faults.push(PlanFault::sql(file, None, "WITH RECURSIVE is not allowed in a table's SQL"));
        }
        node.apply_expressions(|expression| {
            if let Some(name) = unrepeatable(expression)? {
                let message = format!(
                    "{name}() is not allowed: a batch that is done again must give the same rows; _arrived_at tells \
                     when an event came"
                );
                faults.push(PlanFault::sql(file, None, message));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    if let Err(error) = walked {
        faults.extend(located(file, &error));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The first function in the expression whose value depends on more than its arguments.
pub(super) fn unrepeatable(expression: &Expr) -> Result<Option<String>, DataFusionError> {
    let mut found = None;
    expression.apply(|node| {
        if let Expr::ScalarFunction(call) = node
            && call.func.signature().volatility != Volatility::Immutable
        {
            found = Some(call.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
