//! The lazy envelope: raw batches, borrowing views, selectors, v1 and v2 conversion.
