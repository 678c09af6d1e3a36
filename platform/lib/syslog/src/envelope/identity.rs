//! Derives the source id, instance id and tags of an envelope from the header and tags of a message.

use std::borrow::Cow;

use weir_envelope::encode::Writer;

use super::Unmappable;
use super::elements::SortedElements;
use crate::name::{put_metric_process_id, put_process_id};
use crate::read::{Element, Header};

/// The longest APP-NAME that the formatter writes, in bytes.
const MAX_APP_NAME: usize = 48;

/// The longest source id of an envelope, in bytes (`weir_envelope::batch`).
const MAX_SOURCE_ID: usize = 4096;

/// The fields of a message's header that name its source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    app_name: &'a str,
    process_id: &'a str,
    is_log: bool,
}

impl<'a> Source<'a> {
    pub(super) fn of(header: &Header<'a>, elements: &SortedElements<'_>) -> Result<Self, Unmappable> {
        Ok(Self {
            app_name: header.app_name.ok_or(Unmappable::AppName)?,
            process_id: header.process_id.ok_or(Unmappable::ProcessId)?,
            is_log: elements.metric.is_none(),
        })
    }

    /// Returns the instance id, for which the tags in `hints` are used where they agree with PROCID.
    fn instance_id(&self, hints: &Hints<'a>) -> Cow<'a, str> {
        // A tag is only trusted if the formatter would write this PROCID for it: a sender of another kind may use tags
        // of these names for something else.
        let mut written = Vec::new();
        if let Some(instance_id) = &hints.instance_id {
            if self.is_log {
                put_process_id(
                    &mut written,
                    hints.source_type.as_deref().unwrap_or_default(),
                    instance_id,
                );
            } else {
                put_metric_process_id(&mut written, instance_id);
            }
            if written == self.process_id.as_bytes() {
                return instance_id.clone();
            }
        }
        if self.is_log
            && let Some(source_type) = &hints.source_type
        {
            written.clear();
            put_process_id(&mut written, source_type, "");
            if written == self.process_id.as_bytes() {
                return Cow::Borrowed("");
            }
            if written.last() == Some(&b']') {
                written.pop();
            }
            written.push(b'/');
            let behind_type = self.process_id.as_bytes().starts_with(&written);
            let instance_id = self.process_id[1..].strip_suffix(']').filter(|_| behind_type);
            if let Some(instance_id) = instance_id.and_then(|bare| bare.get(written.len() - 1..)) {
                return Cow::Borrowed(instance_id);
            }
        }
        let bare = self.process_id.trim_matches(['[', ']']);
        Cow::Borrowed(bare.rsplit('/').next().unwrap_or(bare))
    }

    /// Returns the source id, whole if a tag has the part that was cut off.
    fn source_id(&self, hints: &Hints<'a>) -> Cow<'a, str> {
        match &hints.source_id {
            Some(whole) if self.app_name.len() == MAX_APP_NAME && whole.starts_with(self.app_name) => whole.clone(),
            _ => Cow::Borrowed(self.app_name),
        }
    }
}

/// The tags that describe the source.
#[derive(Debug, Default)]
struct Hints<'a> {
    source_id: Option<Cow<'a, str>>,
    instance_id: Option<Cow<'a, str>>,
    source_type: Option<Cow<'a, str>>,
}

impl<'a> Hints<'a> {
    /// Notes one tag. If a tag occurs more than once, the last one counts.
    fn note(&mut self, name: &str, value: Cow<'a, str>) {
        let hint = match name {
            "source_id" => &mut self.source_id,
            "instance_id" => &mut self.instance_id,
            "source_type" => &mut self.source_type,
            _ => return,
        };
        *hint = Some(value);
    }
}

/// The fields of an envelope that come from the source and tags of a message.
#[derive(Debug)]
pub(super) struct Identity {
    /// APP-NAME, followed by PROCID at offset `process_id`.
    source: String,
    process_id: usize,
    is_log: bool,
    /// The encoded element of the tags; empty if there is none.
    pub(super) tags: Vec<u8>,
    /// The encoded fields of the envelope: source id, instance id and tags.
    pub(super) encoded: Vec<u8>,
}

impl Identity {
    pub(super) fn new(source: Source<'_>, text: Option<&[u8]>) -> Result<Self, Unmappable> {
        let text = text.unwrap_or_default();
        let mut encoded = Vec::with_capacity(text.len() + 128);
        let mut writer = Writer::new(&mut encoded);
        let mut hints = Hints::default();
        if let Ok((tags, _)) = Element::read(text) {
            for tag in tags.parameters() {
                let value = tag.value();
                writer.tag(tag.name, &value);
                hints.note(tag.name, value);
            }
        }
        let source_id = source.source_id(&hints);
        if source_id.len() > MAX_SOURCE_ID {
            return Err(Unmappable::SourceId);
        }
        writer.source_id(&source_id).instance_id(&source.instance_id(&hints));
        Ok(Self {
            source: [source.app_name, source.process_id].concat(),
            process_id: source.app_name.len(),
            is_log: source.is_log,
            tags: text.to_vec(),
            encoded,
        })
    }

    /// Whether a message with this header comes from this source. Its tags may differ.
    #[inline]
    pub(super) fn is_from(&self, header: &Header<'_>) -> bool {
        let (app_name, process_id) = self.source.split_at(self.process_id);
        header.app_name == Some(app_name) && header.process_id == Some(process_id)
    }

    /// Whether this identity holds for a message of its source: the tags are equal, and both are logs or both metrics.
    #[inline]
    pub(super) fn is_of(&self, source: &Source<'_>, elements: &SortedElements<'_>) -> bool {
        let same_tags = elements.tags_known || (self.tags.is_empty() && elements.tags.is_none());
        same_tags && self.is_log == source.is_log
    }

    /// The size of the identity in memory, in bytes.
    pub(super) const fn size(&self) -> usize {
        self.source.len() + self.tags.len() + self.encoded.len()
    }
}
