//! The routing table: which drain wants what of which source.

use std::sync::Arc;

use ahash::AHashMap;
use weir_drain::Parameters;
use weir_envelope::batch::{Kind, RawEnvelope, source_hash};

use crate::drain::Drain;
use crate::reporting::is_report;

/// A drain and what it wants.
#[derive(Debug)]
struct Route {
    drain: Arc<Drain>,
    parameters: Parameters,
    aggregate: bool,
}

impl Route {
    #[inline]
    fn wants(&self, envelope: RawEnvelope<'_>) -> bool {
        let kind = envelope.kind();
        if !self.parameters.kinds.contains(kind) {
            return false;
        }
        // A report about an app's drains carries the app's source id, but the app did not emit it. If it went to the
        // app's drains, they would keep each other busy.
        if kind == Kind::Gauge && !self.aggregate && is_report(envelope) {
            return false;
        }
        if !self.parameters.filters_by_source_type() {
            return true;
        }
        let source_type = envelope.view().tag("source_type");
        self.parameters.wants(kind, source_type.as_deref().unwrap_or_default())
    }
}

/// The sources whose ids have one hash, and the indexes of the drains that want something of each.
type Sources = Vec<(Box<[u8]>, Vec<u32>)>;

/// The index. It needs one look-up per source, however many bindings there are.
#[derive(Debug, Default)]
pub(crate) struct Table {
    routes: Vec<Route>,
    /// The sources by the hash of their id, which each envelope carries. Two sources with one hash share an entry.
    by_source: AHashMap<u32, Sources>,
    aggregates: Vec<u32>,
}

impl Table {
    /// Creates a table of these drains.
    pub(crate) fn new(drains: impl IntoIterator<Item = Arc<Drain>>) -> Self {
        let mut table = Self::default();
        for (index, drain) in (0u32..).zip(drains) {
            let binding = drain.binding();
            match binding.source_id() {
                None => table.aggregates.push(index),
                Some(source_id) => {
                    let sources = table.by_source.entry(source_hash(source_id)).or_default();
                    match sources.iter_mut().find(|(known, _)| &**known == source_id.as_bytes()) {
                        Some((_, routes)) => routes.push(index),
                        None => sources.push((source_id.as_bytes().into(), vec![index])),
                    }
                }
            }
            table.routes.push(Route {
                parameters: *binding.url.parameters(),
                aggregate: binding.app.is_none(),
                drain,
            });
        }
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub(crate) fn drain(&self, index: u32) -> &Drain {
        &self.routes[index as usize].drain
    }

    /// Returns a cursor that looks up the envelopes of one batch.
    pub(crate) const fn targets(&self) -> Targets<'_, '_> {
        Targets {
            table: self,
            last: None,
        }
    }

    fn of_source(&self, hash: u32, source_id: &[u8]) -> &[u32] {
        let sources = self.by_source.get(&hash).map_or(&[][..], Vec::as_slice);
        let found = sources.iter().find(|(known, _)| &**known == source_id);
        found.map_or(&[], |(_, routes)| routes)
    }
}

/// A cursor that remembers the last source, because envelopes of one source usually come together.
pub(crate) struct Targets<'t, 'b> {
    table: &'t Table,
    last: Option<(u32, &'b [u8], &'t [u32])>,
}

impl<'b> Targets<'_, 'b> {
    /// Calls `deliver` with the index of each drain that gets `envelope`.
    #[inline]
    pub(crate) fn of(&mut self, envelope: RawEnvelope<'b>, mut deliver: impl FnMut(u32)) {
        let (hash, source_id) = (envelope.source_hash(), envelope.source_id_bytes());
        let routes = match self.last {
            Some((known, bytes, routes)) if known == hash && bytes == source_id => routes,
            _ => {
                let routes = self.table.of_source(hash, source_id);
                self.last = Some((hash, source_id, routes));
                routes
            }
        };
        for &index in routes.iter().chain(&self.table.aggregates) {
            if self.table.routes[index as usize].wants(envelope) {
                deliver(index);
            }
        }
    }
}
