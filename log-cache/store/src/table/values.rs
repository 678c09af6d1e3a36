//! Small arrays of the values that many rows share, from which the columns of record batches are taken.
//!
//! The arrays hold only values that the selected rows use. So the cost depends on the selection, and no value of a
//! source that the caller must not see gets into a buffer of the answer.

use std::sync::Arc;

use arrow::array::{ArrayRef, MapArray, StringArray, StringViewArray, StringViewBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use weir_envelope::batch::Kind;

use super::{Column, entries, entry_fields};
use crate::identity::Identity;
use crate::rows::Rows;
use crate::snapshot::Selection;

/// The shared values that the selected rows use.
#[derive(Debug)]
pub(super) struct UsedValues {
    identities: Vec<bool>,
    shapes: Vec<bool>,
    /// The position of each shape's first name in the arrays of names and units.
    pub(super) first_name: Vec<u32>,
}

impl UsedValues {
    pub(super) fn of(rows: &Rows, selection: &Selection) -> Self {
        let mut identities = vec![false; rows.identities().len()];
        let mut shapes = vec![false; rows.shapes().len()];
        for row in selection.ranges().iter().cloned().flatten() {
            identities[rows.identity_index(row)] = true;
            if !shapes.is_empty() {
                shapes[rows.shape_index(row)] = true;
            }
        }
        let mut first_name = Vec::with_capacity(shapes.len());
        let mut next = 0u32;
        for (shape, used) in rows.shapes().iter().zip(&shapes) {
            first_name.push(next);
            if *used {
                let names = if rows.kind() == Kind::Gauge {
                    shape.metrics().count()
                } else {
                    1
                };
                next += u32::try_from(names).expect("an envelope is far smaller");
            }
        }
        Self {
            identities,
            shapes,
            first_name,
        }
    }

    /// Returns the use of the given identities and of no shapes.
    pub(super) fn only(rows: &Rows, wanted: &[usize]) -> Self {
        let mut identities = vec![false; rows.identities().len()];
        wanted.iter().for_each(|identity| identities[*identity] = true);
        Self {
            identities,
            shapes: Vec::new(),
            first_name: Vec::new(),
        }
    }

    fn identities<'a>(&'a self, rows: &'a Rows) -> impl Iterator<Item = Option<&'a Identity>> {
        rows.identities()
            .iter()
            .zip(&self.identities)
            .map(|(identity, used)| used.then_some(&**identity))
    }

    /// Returns an array with one value for each identity, or for each name; `None` for columns whose values are not
    /// shared.
    pub(super) fn values(&self, rows: &Rows, column: Column) -> Option<ArrayRef> {
        Some(match column {
            Column::SourceId => self.of_identities(rows, |identity| identity.source().id()),
            Column::InstanceId => self.of_identities(rows, Identity::instance_id),
            Column::Tags => Arc::new(self.tags(rows)),
            Column::Tag(key) => {
                let mut values = StringViewBuilder::with_capacity(self.identities.len());
                for identity in self.identities(rows) {
                    values.append_option(identity.and_then(|identity| identity.tag(key)));
                }
                Arc::new(values.finish())
            }
            Column::Stream => Arc::new(StringViewArray::from_iter_values(["OUT", "ERR"])),
            Column::Name => self.of_shapes(rows, |(name, _)| name),
            Column::Unit => self.of_shapes(rows, |(_, unit)| unit),
            _ => return None,
        })
    }

    fn of_identities<'a>(&'a self, rows: &'a Rows, value: impl Fn(&'a Identity) -> &'a str) -> ArrayRef {
        let values = self.identities(rows).map(|identity| identity.map_or("", &value));
        Arc::new(StringViewArray::from_iter_values(values))
    }

    fn of_shapes<'a>(&'a self, rows: &'a Rows, value: impl Fn((&'a str, &'a str)) -> &'a str) -> ArrayRef {
        let mut values = StringViewBuilder::new();
        for (shape, _) in rows.shapes().iter().zip(&self.shapes).filter(|(_, used)| **used) {
            if rows.kind() == Kind::Gauge {
                shape.metrics().for_each(|metric| values.append_value(value(metric)));
            } else {
                values.append_value(value((shape.name(), "")));
            }
        }
        Arc::new(values.finish())
    }

    fn tags(&self, rows: &Rows) -> MapArray {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut lengths = Vec::with_capacity(self.identities.len());
        for identity in self.identities(rows) {
            let before = keys.len();
            for (key, value) in identity.into_iter().flat_map(Identity::tags) {
                keys.push(key);
                values.push(value);
            }
            lengths.push(keys.len() - before);
        }
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(keys));
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(values));
        let entry = StructArray::new(entry_fields(), vec![keys, values], None);
        MapArray::new(entries(), OffsetBuffer::from_lengths(lengths), entry, None, false)
    }
}
