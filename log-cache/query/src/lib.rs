//! SQL over the log store through DataFusion.
