//! One endpoint of a route: what its registration said, and how it fares.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::registration::{Balancing, InvalidRegistration, ModificationTag, Protocol, Registration};
use crate::tags::Tags;

/// The identity of an [`Endpoint`]: no other endpoint of its table has had it, not even an earlier one at the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId(u64);

/// One endpoint of a route. It never changes: a registration that says something else of the address makes another one.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    /// The texts, one after the other, in the order of [`Text`].
    text: Box<str>,
    /// Where each text ends in `text`.
    ends: [u16; Text::COUNT],
    tls: bool,
    protocol: Protocol,
    balancing: Option<Balancing>,
    modification_index: u32,
    /// In milliseconds.
    stale_threshold: u32,
    hash_balance: f32,
    updated_at_ns: i64,
    tags: Arc<Tags>,
    /// How many requests it serves.
    in_flight: AtomicU32,
    /// The last registration, in milliseconds of the table's time.
    registered: AtomicU64,
    /// The last failed connection, in milliseconds of the table's time; 0: none that counts.
    failed: AtomicU64,
}

/// The texts of an endpoint.
#[derive(Debug, Clone, Copy)]
enum Text {
    Address,
    AppId,
    InstanceId,
    InstanceIndex,
    ServerCertDomainSan,
    IsolationSegment,
    AvailabilityZone,
    ModificationGuid,
    RouteServiceUrl,
    HashHeader,
    PolicyScope,
    PolicySources,
}

impl Text {
    const COUNT: usize = 12;
}

impl EndpointId {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl Endpoint {
    /// The endpoint of a registration at the time `now` in milliseconds.
    pub(crate) fn new(
        id: EndpointId,
        registration: &Registration<'_>,
        tags: Arc<Tags>,
        stale_threshold: Duration,
        now: u64,
    ) -> Result<Self, InvalidRegistration> {
        let texts = texts(registration);
        let length = registration.host.len() + ":65535".len() + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut text = String::with_capacity(length);
        let mut ends = [0; Text::COUNT];
        write_address(&mut text, registration);
        for (end, part) in ends.iter_mut().zip(std::iter::once("").chain(texts)) {
            text.push_str(part);
            *end = u16::try_from(text.len()).map_err(|_| InvalidRegistration::TextTooLong)?;
        }
        Ok(Self {
            id,
            text: text.into_boxed_str(),
            ends,
            tls: registration.tls,
            protocol: registration.protocol,
            balancing: registration.balancing,
            modification_index: registration.modification_tag.index,
            stale_threshold: milliseconds(stale_threshold),
            hash_balance: balance(registration),
            updated_at_ns: registration.updated_at_ns,
            tags,
            in_flight: AtomicU32::new(0),
            registered: AtomicU64::new(now),
            failed: AtomicU64::new(0),
        })
    }

    fn text(&self, which: Text) -> &str {
        let which = which as usize;
        let start = which.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[usize::from(start)..usize::from(self.ends[which])]
    }

    /// The identity of the endpoint in its table.
    #[must_use]
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Host and port, with `:` between them.
    #[must_use]
    pub fn address(&self) -> &str {
        self.text(Text::Address)
    }

    /// The id of the app; empty if there is none.
    #[must_use]
    pub fn app_id(&self) -> &str {
        self.text(Text::AppId)
    }

    /// The id of the instance; empty if there is none.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        self.text(Text::InstanceId)
    }

    /// The index of the instance; empty if there is none.
    #[must_use]
    pub fn instance_index(&self) -> &str {
        self.text(Text::InstanceIndex)
    }

    /// The id of the process of the app, from the tags; empty if there is none.
    #[must_use]
    pub fn process_id(&self) -> &str {
        self.tags.get("process_id").unwrap_or_default()
    }

    /// The name that the endpoint's certificate must carry; empty if there is none.
    #[must_use]
    pub fn server_cert_domain_san(&self) -> &str {
        self.text(Text::ServerCertDomainSan)
    }

    /// The isolation segment; empty if there is none.
    #[must_use]
    pub fn isolation_segment(&self) -> &str {
        self.text(Text::IsolationSegment)
    }

    /// The availability zone; empty if it is unknown.
    #[must_use]
    pub fn availability_zone(&self) -> &str {
        self.text(Text::AvailabilityZone)
    }

    /// The version of the registration.
    #[must_use]
    pub fn modification_tag(&self) -> ModificationTag<'_> {
        ModificationTag {
            guid: self.text(Text::ModificationGuid),
            index: self.modification_index,
        }
    }

    /// The URL of the route service that the registration names; empty if it names none. Requests go by that of the
    /// [route](crate::RouteOptions::route_service_url).
    #[must_use]
    pub fn route_service_url(&self) -> &str {
        self.text(Text::RouteServiceUrl)
    }

    /// The header of [`Balancing::Hash`] that the registration names; empty if it names none.
    #[must_use]
    pub fn hash_header(&self) -> &str {
        self.text(Text::HashHeader)
    }

    /// The balance of [`Balancing::Hash`] that the registration names; 0 if it names none.
    #[must_use]
    pub const fn hash_balance(&self) -> f32 {
        self.hash_balance
    }

    /// Who may be a caller of the route at most; empty if the registration does not say.
    #[must_use]
    pub fn policy_scope(&self) -> &str {
        self.text(Text::PolicyScope)
    }

    /// The callers that the route allows, with commas between them.
    #[must_use]
    pub fn policy_sources(&self) -> &str {
        self.text(Text::PolicySources)
    }

    /// The tags that logs and metrics of the endpoint's requests carry.
    #[must_use]
    pub fn tags(&self) -> &Arc<Tags> {
        &self.tags
    }

    /// Whether the endpoint serves TLS.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// The protocol that the endpoint speaks.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How endpoints of the route are chosen, if the registration says so.
    #[must_use]
    pub const fn balancing(&self) -> Option<Balancing> {
        self.balancing
    }

    /// How long the endpoint stays without another registration. One with TLS stays for ever.
    #[must_use]
    pub const fn stale_threshold(&self) -> Duration {
        Duration::from_millis(self.stale_threshold as u64)
    }

    /// When the endpoint became what its registration said, in nanoseconds since the Unix epoch; 0: unknown.
    #[must_use]
    pub const fn updated_at_ns(&self) -> i64 {
        self.updated_at_ns
    }

    /// How many requests the endpoint serves.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a registration says what this endpoint already is.
    pub(crate) fn is(&self, registration: &Registration<'_>, stale_threshold: Duration) -> bool {
        // The address is what the endpoint was found by.
        let mut start = self.ends[Text::Address as usize];
        let same_texts = texts(registration).iter().zip(&self.ends[1..]).all(|(text, end)| {
            let own = &self.text.as_bytes()[usize::from(start)..usize::from(*end)];
            start = *end;
            own == text.as_bytes()
        });
        same_texts
            && self.tls == registration.tls
            && self.protocol == registration.protocol
            && self.balancing == registration.balancing
            && self.modification_index == registration.modification_tag.index
            && self.stale_threshold == milliseconds(stale_threshold)
            && self.hash_balance.to_bits() == balance(registration).to_bits()
            && self.updated_at_ns == registration.updated_at_ns
            && self.tags.are(registration.tags)
    }

    /// Whether this is the endpoint at `host` and `port`.
    pub(crate) fn is_at(&self, host: &str, port: u16) -> bool {
        let own_port = self
            .address()
            .strip_prefix(host)
            .and_then(|rest| rest.strip_prefix(':'));
        own_port.is_some_and(|own_port| own_port.parse() == Ok(port))
    }

    /// A registration has said the same again.
    pub(crate) fn refresh(&self, now: u64) {
        self.registered.store(now, Ordering::Relaxed);
    }

    /// Whether the endpoint has waited for another registration for too long.
    pub(crate) fn is_stale(&self, now: u64) -> bool {
        let age = now.saturating_sub(self.registered.load(Ordering::Relaxed));
        !self.tls && age > u64::from(self.stale_threshold)
    }

    /// A connection has failed.
    pub(crate) fn fail(&self, now: u64) {
        self.failed.store(now.max(1), Ordering::Relaxed);
    }

    /// The failure counts no more.
    pub(crate) fn forgive(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Whether a connection has failed no longer ago than `retry_after` milliseconds.
    pub(crate) fn has_failed(&self, now: u64, retry_after: u64) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        failed != 0 && now.saturating_sub(failed) <= retry_after
    }

    /// Counts one more request, unless there are `max` already; 0: any number.
    pub(crate) fn take(&self, max: u32) -> bool {
        if max == 0 {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let next = |count: u32| (count < max).then_some(count + 1);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    /// Counts one request less.
    pub(crate) fn give_back(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The texts of a registration after the address, in the order of [`Text`].
const fn texts<'a>(registration: &Registration<'a>) -> [&'a str; Text::COUNT - 1] {
    [
        registration.app_id,
        registration.instance_id,
        registration.instance_index,
        registration.server_cert_domain_san,
        registration.isolation_segment,
        registration.availability_zone,
        registration.modification_tag.guid,
        registration.route_service_url,
        registration.hash_header,
        registration.policy_scope,
        registration.policy_sources,
    ]
}

fn write_address(text: &mut String, registration: &Registration<'_>) {
    let (host, port) = (registration.host, registration.port);
    write!(text, "{host}:{port}").expect("a string takes all text");
}

fn milliseconds(threshold: Duration) -> u32 {
    u32::try_from(threshold.as_millis()).unwrap_or(u32::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it is between 0 and 10, with one decimal"
)]
const fn balance(registration: &Registration<'_>) -> f32 {
    registration.hash_balance as f32
}
