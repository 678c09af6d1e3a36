//! `sum` of integers, which fails instead of wrapping around.
//!
//! DataFusion adds integers modulo 2^64. Here they are added as decimals of 38 digits, and the sum fails if its final
//! value does not fit into the column's type. So the result does not depend on the order of the rows or the number of
//! threads.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};

/// The type in which integers are added. It holds the sum of more than 2^60 of the greatest integers.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// Returns the checked function for DataFusion's `sum`.
pub(super) fn checked(sum: &Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    let sum = Arc::clone(sum);
    Arc::new(AggregateUDF::from(Sum { sum }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    sum: Arc<AggregateUDF>,
}

/// Returns the field of a sum in the wide type.
fn wide(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), WIDE, field.is_nullable()))
}

fn narrow() -> CastOptions<'static> {
    CastOptions {
        // With `safe`, a sum that does not fit would become null.
        safe: false,
        ..CastOptions::default()
    }
}

fn widen(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let wide = values.iter().map(|array| cast(array, &WIDE));
    Ok(wide.collect::<Result<_, _>>()?)
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.sum.name()
    }

    fn signature(&self) -> &Signature {
        self.sum.signature()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.sum.documentation()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.sum.return_type(arguments)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        // Partial sums stay in the wide type, because they may overflow where the final sum does not.
        let return_field = if arguments.return_field.data_type().is_integer() {
            wide(&arguments.return_field)
        } else {
            arguments.return_field
        };
        self.sum.state_fields(StateFieldsArgs {
            return_field,
            ..arguments
        })
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.wrapped(arguments, |sum, arguments| sum.accumulator(arguments))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.wrapped(arguments, |sum, arguments| sum.create_sliding_accumulator(arguments))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.sum.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let kind = arguments.return_field.data_type().clone();
        if !kind.is_integer() {
            return self.sum.create_groups_accumulator(arguments);
        }
        let return_field = wide(&arguments.return_field);
        let sums = self.sum.create_groups_accumulator(AccumulatorArgs {
            return_field,
            ..arguments
        })?;
        Ok(Box::new(Sums { sums, kind }))
    }
}

impl Sum {
    fn wrapped(
        &self,
        arguments: AccumulatorArgs<'_>,
        make: impl FnOnce(&AggregateUDF, AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>>,
    ) -> Result<Box<dyn Accumulator>> {
        let kind = arguments.return_field.data_type().clone();
        if !kind.is_integer() {
            return make(&self.sum, arguments);
        }
        let return_field = wide(&arguments.return_field);
        let sum = make(
            &self.sum,
            AccumulatorArgs {
                return_field,
                ..arguments
            },
        )?;
        Ok(Box::new(OneSum { sum, kind }))
    }
}

/// A sum in the wide type.
#[derive(Debug)]
struct OneSum {
    sum: Box<dyn Accumulator>,
    kind: DataType,
}

impl Accumulator for OneSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum.update_batch(&widen(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.sum.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&cast_with_options(&sum, &self.kind, &narrow())?, 0)
    }

    fn size(&self) -> usize {
        self.sum.size() + size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.sum.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.sum.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum.retract_batch(&widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.sum.supports_retract_batch()
    }
}

/// The sums of many groups, in the wide type.
struct Sums {
    sums: Box<dyn GroupsAccumulator>,
    kind: DataType,
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.update_batch(&widen(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.sums.evaluate(emit_to)?;
        Ok(cast_with_options(&sums, &self.kind, &narrow())?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.sums.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.merge_batch(states, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.sums.convert_to_state(&widen(values)?, filter)
    }

    fn size(&self) -> usize {
        self.sums.size() + size_of::<Self>()
    }
}
