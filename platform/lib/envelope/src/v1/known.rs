//! The tags that are fields of a v1 envelope.

use crate::view::TagValue;

/// Tags that v1 has fields for, or that say what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
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

impl Known {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Forwarded as usize + 1;

    /// The tag's key.
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

    /// A tag that every v1 envelope has a field for.
    #[inline]
    pub(super) fn of_envelope(key: &str) -> Option<Self> {
        Some(match key {
            "origin" => Self::Origin,
            "deployment" => Self::Deployment,
            "job" => Self::Job,
            "index" => Self::Index,
            "ip" => Self::Ip,
            "__v1_type" => Self::V1Type,
            _ => return None,
        })
    }

    /// A tag that a log message or an error has a field for.
    #[inline]
    pub(super) fn of_log(key: &str) -> Option<Self> {
        Some(match key {
            "source_type" => Self::SourceType,
            "source" => Self::Source,
            "code" => Self::Code,
            _ => return None,
        })
    }

    /// A tag that an HTTP event has a field for.
    #[inline]
    pub(super) fn of_timer(key: &str) -> Option<Self> {
        Some(match key {
            "request_id" => Self::RequestId,
            "peer_type" => Self::PeerType,
            "method" => Self::Method,
            "uri" => Self::Uri,
            "remote_address" => Self::RemoteAddress,
            "user_agent" => Self::UserAgent,
            "status_code" => Self::StatusCode,
            "content_length" => Self::ContentLength,
            "routing_instance_id" => Self::RoutingInstanceId,
            "forwarded" => Self::Forwarded,
            _ => return None,
        })
    }
}

/// The values of known tags, from either map.
#[derive(Debug)]
pub(super) struct KnownTags<'a> {
    tags: [Option<&'a str>; Known::COUNT],
    deprecated: [Option<TagValue<'a>>; Known::COUNT],
}

impl<'a> KnownTags<'a> {
    pub(super) const fn new() -> Self {
        Self {
            tags: [None; Known::COUNT],
            deprecated: [None; Known::COUNT],
        }
    }

    #[inline]
    pub(super) const fn set(&mut self, known: Known, value: &'a str) {
        self.tags[known as usize] = Some(value);
    }

    pub(super) const fn set_deprecated(&mut self, known: Known, value: TagValue<'a>) {
        self.deprecated[known as usize] = Some(value);
    }

    /// What a field of v1 takes: the tag, else the deprecated tag, else nothing.
    #[inline]
    pub(super) fn field(&self, known: Known) -> TagValue<'a> {
        match self.tags[known as usize] {
            Some(text) => TagValue::Text(text),
            None => self.deprecated[known as usize].unwrap_or_default(),
        }
    }

    /// What the map of v1 takes, where the tag has no field: the deprecated tag if it has data, else the tag.
    pub(super) fn entry(&self, known: Known) -> Option<TagValue<'a>> {
        self.deprecated[known as usize]
            .filter(|value| value.is_some())
            .or_else(|| self.tags[known as usize].map(TagValue::Text))
    }
}
