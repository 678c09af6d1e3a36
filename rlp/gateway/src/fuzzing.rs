//! The parsers of untrusted input, for the fuzz targets. They are not part of the public interface.

use weir_proto::loggregator_v2::EgressBatchRequest;

use crate::query::Query;

/// Returns the request to the RLP that a query string means, with at most `most` selectors, or `None` if it is refused.
#[must_use]
pub fn request(query: &str, most: usize) -> Option<EgressBatchRequest> {
    Query::parse(query).ok()?.request(most).ok()
}
