//! The parsers that read what strangers send, for the fuzz targets. No part of the interface.

use weir_proto::loggregator_v2::EgressBatchRequest;

use crate::query::Query;

/// What a query string asks the RLP for, in no more than `most` selectors; `None` if it is refused.
#[must_use]
pub fn request(query: &str, most: usize) -> Option<EgressBatchRequest> {
    Query::parse(query).ok()?.request(most).ok()
}
