//! Daily chores: code generation, structure check.
