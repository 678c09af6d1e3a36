//! Integer arithmetic that fails instead of wrapping around.
//!
//! DataFusion computes `+`, `-`, `*` and the change of sign of integers modulo 2^64, without an error. A rewrite
//! replaces these by functions that fail on overflow. Other arithmetic is not changed: decimals, points in time and
//! division fail by themselves, floating-point numbers become infinite, and shifts cannot overflow.

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};
use datafusion::physical_expr_common::datum::apply;

/// Replaces arithmetic with integers by calls of the checked functions.
#[derive(Debug, Default)]
pub(crate) struct CheckedRewrite;

impl FunctionRewrite for CheckedRewrite {
    fn name(&self) -> &'static str {
        "checked arithmetic"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Operation::of(op) {
                Some(operation) if of_integers(&left, op, &right, schema) => {
                    Transformed::yes(operation.call(*left, *right))
                }
                _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            },
            Expr::Negative(negated) => match negated.get_type(schema) {
                Ok(kind) if kind.is_signed_integer() => {
                    // `-x` is computed as `0 - x`, which fails for the least integer.
                    let zero = lit(ScalarValue::new_zero(&kind)?);
                    Transformed::yes(Operation::Subtract.call(zero, *negated))
                }
                _ => Transformed::no(Expr::Negative(negated)),
            },
            other => Transformed::no(other),
        })
    }
}

/// Whether an operation is computed with two integers of one type.
fn of_integers(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> bool {
    let (Ok(left), Ok(right)) = (left.get_type(schema), right.get_type(schema)) else {
        return false;
    };
    let is_number = |kind: &DataType| kind.is_integer() || kind.is_null();
    let coerced = BinaryTypeCoercer::new(&left, &op, &right).get_input_types();
    (is_number(&left) && is_number(&right)) && coerced.is_ok_and(|(left, right)| left == right && left.is_integer())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

impl Operation {
    const fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }

    const fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Subtract => Operator::Minus,
            Self::Multiply => Operator::Multiply,
        }
    }

    fn compute(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => add(left, right),
            Self::Subtract => sub(left, right),
            Self::Multiply => mul(left, right),
        }
    }

    fn call(self, left: Expr, right: Expr) -> Expr {
        let signature = Signature::user_defined(Volatility::Immutable);
        let function = Checked {
            operation: self,
            signature,
        };
        ScalarUDF::from(function).call(vec![left, right])
    }
}

/// A function of two integers that fails if the result does not fit into their type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operation {
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [kind, _] => Ok(kind.clone()),
            _ => plan_err!("`{}` takes two numbers", self.name()),
        }
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = arguments else {
            return plan_err!("`{}` takes two numbers", self.name());
        };
        let (left, right) = BinaryTypeCoercer::new(left, &self.operation.operator(), right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = &arguments.args[..] else {
            return plan_err!("`{}` takes two numbers", self.name());
        };
        apply(left, right, |left, right| self.operation.compute(left, right))
    }
}
