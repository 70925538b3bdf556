//! One watched call, and the way of all calls of an expression into one.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, ExprSchema, Result, ScalarValue, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, StructFieldMapping,
};

use super::sizes::{MAX_CALL_BYTES, MAX_VALUE_BYTES, NO_MEMORY, ONE_CALL, Watch, most_of_call, size_of_call, too_much};
use crate::runtime::caught;

/// A call that makes no more is not counted: a sort that spills holds all the memory there is, and must not keep the
/// functions before and after it from their few bytes.
const UNCOUNTED_CALL_BYTES: usize = 4 << 20;

/// A function as a plan calls it: everything is the function's own but the invocation.
#[derive(Debug)]
pub(super) struct Call {
    function: Arc<ScalarUDF>,
    watch: Watch,
    pool: Arc<dyn MemoryPool>,
}

impl Call {
    /// The call of this function; none where it is watched already or needs no watching.
    pub(super) fn of(function: &Arc<ScalarUDF>, pool: &Arc<dyn MemoryPool>) -> Option<Self> {
        let own = function.inner().is::<Self>() || function.name().starts_with("checked_");
        let watch = Watch::of(function.name());
        if own || watch == Watch::Not || function.short_circuits() {
            return None;
        }
        Some(Self { function: Arc::clone(function), watch, pool: Arc::clone(pool) })
    }

    /// What the values of the call take, at most, in bytes.
    ///
    /// # Errors
    /// Where a value, or all together, would be larger than a function makes.
    fn bytes(&self, arguments: &ScalarFunctionArgs) -> Result<usize> {
        let name = self.function.name();
        let size = match self.watch {
            Watch::Not => return Ok(0),
            Watch::Times(times) => return Ok(most_of_call(arguments, times)),
            Watch::TimesArguments => return Ok(most_of_call(arguments, arguments.args.len())),
            Watch::Told(size) => size,
        };
        let bytes = size_of_call(size, arguments, MAX_VALUE_BYTES)
            .map_err(|too_large| DataFusionError::Execution(format!("{name}() {too_large}")))?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match bytes > MAX_CALL_BYTES {
            true => Err(too_much(name, (bytes, arguments.number_rows), ONE_CALL)),
            false => Ok(bytes),
        }
    }

    fn invoke(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = self.function.name();
        match caught(|| self.function.invoke_with_args(arguments)) {
            Ok(outcome) => outcome,
            Err(words) => exec_err!("{name}() panicked: {words}"),
        }
    }
}

/// The expression with all its calls watched.
///
/// # Errors
/// None of its own.
pub(super) fn watched(expression: Expr, pool: &Arc<dyn MemoryPool>) -> Result<Transformed<Expr>> {
    expression.transform_up(|node| match node {
        Expr::ScalarFunction(ScalarFunction { func, args }) => Ok(match Call::of(&func, pool) {
            Some(call) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: Arc::new(call.into()), args })),
            None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
        }),
        other => Ok(Transformed::no(other)),
    })
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl ScalarUDFImpl for Call {
    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (name, bytes, rows) = (self.function.name(), self.bytes(&arguments)?, arguments.number_rows);
        if bytes <= UNCOUNTED_CALL_BYTES {
            return self.invoke(arguments);
        }
        // While it runs; what comes out counts with whoever keeps it.
        let reservation = MemoryConsumer::new(name).register(&self.pool);
        reservation.try_grow(bytes).map_err(|_| too_much(name, (bytes, rows), NO_MEMORY))?;
        self.invoke(arguments)
    }

    fn simplify(&self, arguments: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match self.function.simplify(arguments, context)? {
            // What it becomes may call other functions.
            ExprSimplifyResult::Simplified(expression) => {
                ExprSimplifyResult::Simplified(watched(expression, &self.pool)?.data)
            }
            original => original,
        })
    }

    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        self.function.inner().schema_name(arguments)
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.inner().return_type(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.inner().return_field_from_args(arguments)
    }

    fn is_nullable(&self, arguments: &[Expr], schema: &dyn ExprSchema) -> bool {
        #[expect(deprecated, reason = "it is asked for as long as there are functions that say it here")]
        self.function.inner().is_nullable(arguments, schema)
    }

    fn is_strict(&self) -> bool {
        self.function.inner().is_strict()
    }

    fn preimage(&self, arguments: &[Expr], literal: &Expr, context: &SimplifyContext) -> Result<PreimageResult> {
        self.function.inner().preimage(arguments, literal, context)
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.function.inner().evaluate_bounds(input)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.function.inner().propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.function.inner().output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.function.inner().preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.function.inner().strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.inner().coerce_types(types)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.function.inner().struct_field_mapping(literals)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.inner().documentation()
    }

    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.function.inner().placement(arguments)
    }
}
