//! PayloadFilter a request asks for (logging §10): the query string as Go reads it, and the selectors that it means.

use percent_encoding::percent_decode_str;
use weir_envelope::selector::{PayloadFilter, Selector};
use weir_proto::loggregator_v2::EgressBatchRequest;

/// The parameters, decoded, in their order. Names may repeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

/// Why a query makes no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// There are no parameters.
    Empty,
    /// No kind of envelope is asked for.
    NoType,
    /// It is not readable. The original skips what it cannot read; but a source that is skipped means all sources.
    Malformed,
    /// More selectors than a stream may have.
    TooMany,
}

impl Query {
    /// Reads a query string.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if part.contains(';') {
                return Err(Invalid::Malformed);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { pairs })
    }

    /// All values of a parameter.
    fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        let pairs = self.pairs.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    fn first(&self, name: &str) -> String {
        self.all(name).next().unwrap_or_default().to_owned()
    }

    /// The sources that are named; an empty one, and none at all, stand for every source.
    pub(crate) fn source_ids(&self) -> impl Iterator<Item = &str> {
        self.all("source_id")
    }

    /// The request to the RLP: every source with every kind and name. No more than `most` selectors.
    pub(crate) fn request(&self, most: usize) -> Result<EgressBatchRequest, Invalid> {
        if self.pairs.is_empty() {
            return Err(Invalid::Empty);
        }
        let wanted = self.wanted();
        if wanted.is_empty() {
            return Err(Invalid::NoType);
        }
        let mut sources: Vec<&str> = self.source_ids().collect();
        if sources.is_empty() {
            sources.push("");
        }
        if sources.len().saturating_mul(wanted.len()) > most {
            return Err(Invalid::TooMany);
        }
        let of_source = |source_id: &&str| {
            let source_id = *source_id;
            let selectors = wanted.iter().map(move |payload| Selector {
                source_id: source_id.to_owned(),
                payload: payload.clone(),
            });
            selectors.map(|selector| selector.to_proto()).collect::<Vec<_>>()
        };
        Ok(EgressBatchRequest {
            shard_id: self.first("shard_id"),
            deterministic_name: self.first("deterministic_name"),
            use_preferred_tags: true,
            selectors: sources.iter().flat_map(of_source).collect(),
            ..EgressBatchRequest::default()
        })
    }

    /// PayloadFilter is asked for of each source, in the original's order. Names stand in for their plain kind.
    fn wanted(&self) -> Vec<PayloadFilter> {
        let mut wanted = Vec::new();
        if self.has("log") {
            wanted.push(PayloadFilter::Log);
        }
        if self.has("counter.name") {
            let name = |name: &str| PayloadFilter::Counter((!name.is_empty()).then(|| name.to_owned()));
            wanted.extend(self.all("counter.name").map(name));
        } else if self.has("counter") {
            wanted.push(PayloadFilter::Counter(None));
        }
        if self.has("gauge.name") {
            let names = |names: &str| PayloadFilter::Gauge(names.split(',').map(str::to_owned).collect());
            wanted.extend(self.all("gauge.name").map(names));
        } else if self.has("gauge") {
            wanted.push(PayloadFilter::Gauge(std::collections::BTreeSet::new()));
        }
        if self.has("timer") {
            wanted.push(PayloadFilter::Timer);
        }
        if self.has("event") {
            wanted.push(PayloadFilter::Event);
        }
        wanted
    }
}

/// Decodes a name or a value of a form; every `%` must begin an escape.
fn decode(text: &str) -> Result<String, Invalid> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape = rest.as_bytes().get(at + 1..at + 3);
        if !escape.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(Invalid::Malformed);
        }
        rest = &rest[at + 3..];
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Invalid::Malformed)
}

#[cfg(test)]
mod tests;
