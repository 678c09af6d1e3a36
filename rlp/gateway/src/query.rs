//! Parses the query string of a request as Go does, and translates it to selectors (logging §10).

use percent_encoding::percent_decode_str;
use weir_envelope::selector::{PayloadFilter, Selector};
use weir_proto::loggregator_v2::EgressBatchRequest;

/// The decoded parameters in their order. Names may repeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

/// The reason for which a query is not one for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// There are no parameters.
    Empty,
    /// No envelope type is asked for.
    NoType,
    /// The query cannot be decoded. The original skips such parts, but skipping a source id would ask for all sources.
    Malformed,
    /// There are more selectors than a stream may have.
    TooMany,
}

impl Query {
    /// Parses a query string.
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

    /// Returns all values of a parameter.
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

    /// Returns the source ids of the query. An empty one, and none at all, mean all sources.
    pub(crate) fn source_ids(&self) -> impl Iterator<Item = &str> {
        self.all("source_id")
    }

    /// Returns the request to the RLP: each source with each type and name, in at most `most` selectors.
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
        // The product is checked before the selectors are built, because a short query can ask for millions.
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

    /// Returns what is asked for of each source, in the original's order. If there are names, the plain type is not
    /// asked for.
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

/// Decodes a form-encoded name or value. Each `%` must begin an escape sequence.
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
