//! The operator `||` as a function, so that the size of its result can be bounded.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::bounded::{Bounded, Growth};

/// Replaces `a || b` of texts by a call of the bounded function.
#[derive(Debug)]
pub(crate) struct ConcatRewrite {
    function: Arc<ScalarUDF>,
}

impl ConcatRewrite {
    pub(crate) fn new() -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        let function = Arc::new(ScalarUDF::from(Concat { signature }));
        Self {
            function: Arc::new(ScalarUDF::from(Bounded {
                function,
                growth: Growth::Sum,
            })),
        }
    }
}

impl FunctionRewrite for ConcatRewrite {
    fn name(&self) -> &'static str {
        "concatenation"
    }

    fn rewrite(&self, expr: Expr, _schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::StringConcat,
                right,
            }) => {
                let call = ScalarFunction {
                    func: Arc::clone(&self.function),
                    args: vec![*left, *right],
                };
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A function that concatenates two texts; null if one of them is null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Concat {
    signature: Signature,
}

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &'static str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        if arguments.iter().any(DataType::is_nested) {
            return plan_err!("`||` takes texts; lists are joined with array_concat");
        }
        Ok(vec![DataType::Utf8; arguments.len()])
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars = arguments
            .args
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { arguments.number_rows };
        let arrays = arguments
            .args
            .into_iter()
            .map(|value| value.into_array(rows))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let texts: Vec<_> = arrays.iter().filter_map(|array| array.as_string_opt::<i32>()).collect();
        let [left, right] = texts[..] else {
            return Err(DataFusionError::Execution("`||` takes two texts".to_owned()));
        };
        let mut joined = StringBuilder::with_capacity(rows, rows * 64);
        for (left, right) in left.iter().zip(right.iter()) {
            match (left, right) {
                (Some(left), Some(right)) => {
                    // Writing to the builder appends to its current value, and cannot fail.
                    std::fmt::Write::write_str(&mut joined, left).ok();
                    joined.append_value(right);
                }
                _ => joined.append_null(),
            }
        }
        let joined: ArrayRef = Arc::new(joined.finish());
        Ok(if scalars {
            ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&joined, 0)?)
        } else {
            ColumnarValue::Array(joined)
        })
    }
}
