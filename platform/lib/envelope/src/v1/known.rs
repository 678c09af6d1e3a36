//! The tags of a v2 envelope that become fields of a v1 envelope.

use std::borrow::Cow;

use crate::view::TagValue;

/// A tag for which v1 has a field, or which directs the conversion (`__v1_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownTag {
    Origin,
    Deployment,
    Job,
    Index,
    Ip,
    V1Type,
    SourceType,
    Source,
    Code,
    RequestId,
    PeerType,
    Method,
    Uri,
    RemoteAddress,
    UserAgent,
    StatusCode,
    ContentLength,
    RoutingInstanceId,
    Forwarded,
}

impl KnownTag {
    /// The number of known tags.
    pub(super) const COUNT: usize = Self::Forwarded as usize + 1;

    /// The key of the tag.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Deployment => "deployment",
            Self::Job => "job",
            Self::Index => "index",
            Self::Ip => "ip",
            Self::V1Type => "__v1_type",
            Self::SourceType => "source_type",
            Self::Source => "source",
            Self::Code => "code",
            Self::RequestId => "request_id",
            Self::PeerType => "peer_type",
            Self::Method => "method",
            Self::Uri => "uri",
            Self::RemoteAddress => "remote_address",
            Self::UserAgent => "user_agent",
            Self::StatusCode => "status_code",
            Self::ContentLength => "content_length",
            Self::RoutingInstanceId => "routing_instance_id",
            Self::Forwarded => "forwarded",
        }
    }

    /// Finds a tag for which every v1 envelope has a field.
    #[inline]
    pub(super) fn of_envelope(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"origin" => Self::Origin,
            b"deployment" => Self::Deployment,
            b"job" => Self::Job,
            b"index" => Self::Index,
            b"ip" => Self::Ip,
            b"__v1_type" => Self::V1Type,
            _ => return None,
        })
    }

    /// Finds a tag for which a log message or an error has a field.
    #[inline]
    pub(super) fn of_log(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"source_type" => Self::SourceType,
            b"source" => Self::Source,
            b"code" => Self::Code,
            _ => return None,
        })
    }

    /// Finds a tag for which an HTTP event has a field.
    #[inline]
    pub(super) fn of_timer(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"request_id" => Self::RequestId,
            b"peer_type" => Self::PeerType,
            b"method" => Self::Method,
            b"uri" => Self::Uri,
            b"remote_address" => Self::RemoteAddress,
            b"user_agent" => Self::UserAgent,
            b"status_code" => Self::StatusCode,
            b"content_length" => Self::ContentLength,
            b"routing_instance_id" => Self::RoutingInstanceId,
            b"forwarded" => Self::Forwarded,
            _ => return None,
        })
    }
}

/// The values of the known tags of one envelope, from each of its two tag maps.
#[derive(Debug)]
pub(super) struct KnownTags<'a> {
    tags: [Option<&'a [u8]>; KnownTag::COUNT],
    deprecated: [Option<TagValue<'a>>; KnownTag::COUNT],
}

impl<'a> KnownTags<'a> {
    pub(super) const fn new() -> Self {
        Self {
            tags: [None; KnownTag::COUNT],
            deprecated: [None; KnownTag::COUNT],
        }
    }

    #[inline]
    pub(super) const fn set(&mut self, known: KnownTag, value: &'a [u8]) {
        self.tags[known as usize] = Some(value);
    }

    pub(super) const fn set_deprecated(&mut self, known: KnownTag, value: TagValue<'a>) {
        self.deprecated[known as usize] = Some(value);
    }

    /// Returns the value for a field of v1: that of the preferred tag, else that of the deprecated tag, else empty.
    #[inline]
    pub(super) fn field(&self, known: KnownTag) -> Cow<'a, [u8]> {
        match self.tags[known as usize] {
            Some(text) => Cow::Borrowed(text),
            None => self.deprecated[known as usize].map_or(Cow::Borrowed(b""), printed),
        }
    }

    /// Returns the value for a field of v1 as text; bytes that are not UTF-8 become replacement characters.
    pub(super) fn text(&self, known: KnownTag) -> Cow<'a, str> {
        match self.field(known) {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// Returns the value for the tag map of v1, where this message has no field for the tag: that of the deprecated tag
    /// if it is set, else that of the preferred tag. The precedence is the reverse of [`KnownTags::field`], as in the
    /// original.
    pub(super) fn entry(&self, known: KnownTag) -> Option<Cow<'a, [u8]>> {
        match self.deprecated[known as usize] {
            Some(value) if value.is_some() => Some(printed(value)),
            _ => self.tags[known as usize].map(Cow::Borrowed),
        }
    }
}

fn printed(value: TagValue<'_>) -> Cow<'_, [u8]> {
    match value.to_text() {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
