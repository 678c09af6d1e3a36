//! Sorts the structured data elements of a message, and writes the envelope from them and the text.

use std::str::FromStr;

use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;

use super::identity::Identity;
use super::{Refused, Unmappable};
use crate::read::{Element, Header, ParseError};

/// The priority of a line of standard error: facility user, severity error.
const ERROR: i16 = 11;

/// The elements of a message, sorted by their meaning.
#[derive(Debug, Default)]
pub(super) struct SortedElements<'a> {
    /// The encoded element of the tags.
    pub(super) tags: Option<&'a [u8]>,
    /// Whether the tags are those of the known identity, so that they need not be read.
    pub(super) tags_known: bool,
    pub(super) metric: Option<(Metric, Element<'a>)>,
}

/// The kind of payload that an element holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Counter,
    Gauge,
    Timer,
    Event,
}

impl<'a> SortedElements<'a> {
    /// Reads structured data; returns the elements and their length in bytes. Tags whose bytes equal those of `known`
    /// are not read again.
    pub(super) fn read(data: &'a [u8], known: Option<&Identity>) -> Result<(Self, usize), Refused> {
        let mut sorted = Self::default();
        if data.first() == Some(&b'-') {
            return Ok((sorted, 1));
        }
        let known = known.map(|known| known.tags.as_slice()).filter(|tags| !tags.is_empty());
        let mut at = 0;
        loop {
            let rest = &data[at..];
            match known {
                // An element's end does not depend on the bytes behind it, so bytes that were a valid element once are
                // one again.
                Some(tags) if rest.starts_with(tags) => {
                    sorted.set_tags(&rest[..tags.len()])?;
                    sorted.tags_known = true;
                    at += tags.len();
                }
                _ => {
                    let (element, taken) =
                        Element::read(rest).map_err(|(part, offset)| ParseError { part, at: at + offset })?;
                    sorted.add(element)?;
                    at += taken;
                }
            }
            if data.get(at) != Some(&b'[') {
                return Ok((sorted, at));
            }
        }
    }

    /// Adds an element.
    ///
    /// # Errors
    /// If its name is unknown, or if there is another element of its meaning.
    pub(super) fn add(&mut self, element: Element<'a>) -> Result<(), Unmappable> {
        if element.id.starts_with("tags") {
            return self.set_tags(element.raw());
        }
        let kinds = [
            ("gauge", Metric::Gauge),
            ("counter", Metric::Counter),
            ("timer", Metric::Timer),
            ("event", Metric::Event),
        ];
        let (_, metric) = kinds
            .into_iter()
            .find(|(prefix, _)| element.id.starts_with(prefix))
            .ok_or(Unmappable::Element)?;
        if self.metric.is_some() {
            return Err(Unmappable::Repeated);
        }
        self.metric = Some((metric, element));
        Ok(())
    }

    const fn set_tags(&mut self, tags: &'a [u8]) -> Result<(), Unmappable> {
        if self.tags.is_some() {
            return Err(Unmappable::Repeated);
        }
        self.tags = Some(tags);
        Ok(())
    }
}

/// Appends the encoded envelope to `out`.
///
/// # Errors
/// If the payload is missing or malformed; nothing is then appended.
pub(super) fn write(
    header: &Header<'_>,
    timestamp: i64,
    identity: &Identity,
    elements: &SortedElements<'_>,
    text: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Unmappable> {
    let start = out.len();
    Writer::new(out).timestamp(timestamp);
    out.extend_from_slice(&identity.encoded);
    let written = put_payload(&mut Writer::new(out), header, elements.metric.as_ref(), text);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn put_payload(
    out: &mut Writer<'_>,
    header: &Header<'_>,
    metric: Option<&(Metric, Element<'_>)>,
    text: Option<&[u8]>,
) -> Result<(), Unmappable> {
    let Some((kind, element)) = metric else {
        let text = text.ok_or(Unmappable::Empty)?;
        let stream = if header.priority == ERROR {
            Stream::Err
        } else {
            Stream::Out
        };
        out.log(text.strip_suffix(b"\n").unwrap_or(text), stream);
        return Ok(());
    };
    let name = element.value("name").unwrap_or_default();
    match kind {
        Metric::Counter => {
            out.counter(&name, number(element, "delta")?, number(element, "total")?);
        }
        Metric::Gauge => {
            let unit = element.value("unit").ok_or(Unmappable::Unit)?;
            out.gauge(&[(&*name, &*unit, number(element, "value")?)]);
        }
        Metric::Timer => {
            out.timer(&name, number(element, "start")?, number(element, "stop")?);
        }
        Metric::Event => {
            let (title, body) = (element.value("title"), element.value("body"));
            out.event(&title.unwrap_or_default(), &body.unwrap_or_default());
        }
    }
    Ok(())
}

/// Returns the value of a parameter as a number.
fn number<T: FromStr>(element: &Element<'_>, name: &str) -> Result<T, Unmappable> {
    let value = element.value(name).ok_or(Unmappable::Number)?;
    value.parse().map_err(|_| Unmappable::Number)
}
