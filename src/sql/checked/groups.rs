//! The sums of many groups at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::NullState;

use super::total::{Summed, fitting, overflow};

/// A total a group.
#[derive(Debug)]
pub(super) struct GroupTotals<T: Summed> {
    totals: Vec<<T::Total as ArrowPrimitiveType>::Native>,
    seen: NullState,
    data_type: DataType,
}

impl<T: Summed> GroupTotals<T> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self { totals: Vec::new(), seen: NullState::new(), data_type: data_type.clone() }
    }

    fn add<V: ArrowPrimitiveType + Send>(
        &mut self,
        values: &[ArrayRef],
        of: Grouping<'_>,
        widened: impl Fn(V::Native) -> <T::Total as ArrowPrimitiveType>::Native + Send + Sync,
    ) -> Result<()> {
        let Some(values) = values.first().and_then(|values| values.as_primitive_opt::<V>()) else {
            return internal_err!("sum is given something else than {}", V::DATA_TYPE);
        };
        self.totals.resize(of.total_num_groups, <T::Total as ArrowPrimitiveType>::Native::ZERO);
        let (totals, mut beyond) = (&mut self.totals, false);
        self.seen.accumulate(of.group_indices, values, of.filter, of.total_num_groups, |group, value| {
            match totals.get_mut(group).map(|total| (total.add_checked(widened(value)), total)) {
                Some((Ok(sum), total)) => *total = sum,
                _ => beyond = true,
            }
        });
        if beyond { Err(overflow(&self.data_type)) } else { Ok(()) }
    }

    fn taken(&mut self, emit_to: EmitTo) -> PrimitiveArray<T::Total> {
        let totals = emit_to.take_needed(&mut self.totals);
        let nulls = self.seen.build(emit_to);
        PrimitiveArray::new(totals.into(), nulls)
    }
}

/// Which row belongs to which group.
struct Grouping<'a> {
    group_indices: &'a [usize],
    filter: Option<&'a BooleanArray>,
    total_num_groups: usize,
}

impl<T: Summed> GroupsAccumulator for GroupTotals<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.add::<T>(values, Grouping { group_indices, filter, total_num_groups }, T::widened)
    }

    fn merge_batch(&mut self, totals: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.add::<T::Total>(totals, Grouping { group_indices, filter: None, total_num_groups }, |total| total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = self.taken(emit_to);
        fitting::<T>(totals, &self.data_type)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let totals = self.taken(emit_to).with_data_type(T::total_type(&self.data_type));
        Ok(vec![Arc::new(totals)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first().and_then(|values| values.as_primitive_opt::<T>()) else {
            return internal_err!("sum is given something else than {}", T::DATA_TYPE);
        };
        let totals: PrimitiveArray<T::Total> = values.unary(T::widened);
        let kept = filter.map(|filter| match filter.nulls() {
            Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
            None => NullBuffer::new(filter.values().clone()),
        });
        let nulls = NullBuffer::union(totals.nulls(), kept.as_ref());
        let totals = PrimitiveArray::<T::Total>::new(totals.values().clone(), nulls);
        Ok(vec![Arc::new(totals.with_data_type(T::total_type(&self.data_type)))])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<<T::Total as ArrowPrimitiveType>::Native>() + self.seen.size()
    }
}
