//! One client's side of the protocol: each operation that arrived, carried out. Does no input or output of its own; what is
//! to be written is appended to the [`Outbound`](crate::outbound::Outbound) of whoever gets it.
//!
//! Everything in one read is one batch: whoever got messages of it is woken once, when the batch is over.

use std::sync::Arc;

use crate::client::{Client, Shared, Subscription, Turn};
use crate::ending::Ending;
use crate::hello::{Connect, DYNAMIC};
use crate::message::Message;
use crate::metrics::Tally;
use crate::protocol::{Operation, Publish, Refused, Step, parse};
use crate::subject::{MOST_TOKENS, is_literal, is_valid, tokens};
use crate::table::Interest;

mod remembered;
#[cfg(test)]
mod tests;

use remembered::Remembered;

/// The state of one client.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    client: Arc<Client>,
    options: Connect,
    /// Whether the client has said who it is.
    connected: bool,
    remembered: Remembered,
    /// Those that the batch has to wake.
    waiting: Vec<Arc<Client>>,
    /// The client that the batch has left with most bytes to write.
    most: Option<(Arc<Client>, usize)>,
    tally: Tally,
    /// A message as it is delivered, where the publisher's own bytes are not.
    rewritten: Vec<u8>,
}

/// How far the input was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    /// How many bytes are done with.
    pub(crate) done: usize,
    /// How many bytes have to be there behind them for the next operation.
    pub(crate) needs: usize,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, client: Arc<Client>) -> Self {
        Self {
            shared,
            client,
            options: Connect::default(),
            connected: false,
            remembered: Remembered::default(),
            waiting: Vec::new(),
            most: None,
            tally: Tally::default(),
            rewritten: Vec::new(),
        }
    }

    /// Whether the client has said who it is, and may connect.
    pub(crate) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Who the client says it is, for logs.
    pub(crate) fn name(&self) -> &str {
        self.options.name.as_deref().unwrap_or_default()
    }

    /// Carries out all complete operations of the input. [`Session::end_batch`] has to follow.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<Read, Ending> {
        let mut done = 0;
        loop {
            match parse(&input[done..], self.shared.limits).map_err(Ending::Refused)? {
                Step::Operation(operation, length) => {
                    done += length;
                    self.take(operation)?;
                }
                Step::Needs(needs) => return Ok(Read { done, needs }),
            }
        }
    }

    /// Wakes those that got messages. Returns the client with most bytes that wait, if it has more than `crowded`.
    pub(crate) fn end_batch(&mut self, crowded: usize) -> Option<Arc<Client>> {
        for client in self.waiting.drain(..) {
            client.outbound.wake();
        }
        self.shared.metrics.add(std::mem::take(&mut self.tally));
        let (client, waiting) = self.most.take()?;
        (waiting > crowded).then_some(client)
    }

    /// Asks the client for a sign of life.
    pub(crate) fn ping(&self) {
        self.say(b"PING\r\n");
    }

    /// Tells the client why its connection ends.
    pub(crate) fn say_error(&self, text: &str) {
        self.say(format!("-ERR '{text}'\r\n").as_bytes());
    }

    fn take(&mut self, operation: Operation<'_>) -> Result<(), Ending> {
        if !self.connected && !matches!(operation, Operation::Connect(_)) {
            if self.shared.user.is_some() {
                return Err(Ending::Unauthorized);
            }
            self.connected = true;
        }
        match operation {
            Operation::Publish(publish) if publish.header > 0 && !self.options.headers => {
                return Err(Ending::UnexpectedHeader);
            }
            Operation::Publish(publish) => self.publish(publish),
            Operation::Ping => self.say(b"PONG\r\n"),
            Operation::Pong | Operation::Ignored => {}
            Operation::Subscribe { subject, queue, sid } => self.subscribe(subject, queue, sid),
            Operation::Unsubscribe { sid, max } => {
                self.shared.unsubscribe(&self.client, sid, max);
                self.confirm();
            }
            Operation::Connect(json) => self.connect(json)?,
        }
        Ok(())
    }

    fn connect(&mut self, json: &[u8]) -> Result<(), Ending> {
        let options: Connect = serde_json::from_slice(json).map_err(|_| Ending::Refused(Refused::Arguments))?;
        let (user, password) = (options.user.as_deref(), options.pass.as_deref());
        if !self
            .shared
            .lets_in(user.unwrap_or_default(), password.unwrap_or_default())
        {
            return Err(Ending::Unauthorized);
        }
        if options.protocol > DYNAMIC {
            return Err(Ending::Version);
        }
        if options.no_responders && !options.headers {
            return Err(Ending::NoHeaders);
        }
        self.client.speaks(options.protocol, options.headers);
        tracing::debug!(
            client = self.client.id,
            name = options.name.as_deref(),
            lang = options.lang.as_deref(),
            version = options.version.as_deref(),
            "client connected"
        );
        self.options = Connect { pass: None, ..options };
        self.connected = true;
        self.confirm();
        Ok(())
    }

    fn subscribe(&mut self, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        if !is_valid(subject) || tokens(subject).nth(MOST_TOKENS).is_some() {
            self.say_error("Invalid Subject");
            return;
        }
        match self.shared.subscribe(&self.client, subject, queue, sid) {
            Ok(()) => self.confirm(),
            Err(_) => self.say_error("maximum subscriptions exceeded"),
        }
    }

    fn publish(&mut self, publish: Publish<'_>) {
        self.tally.received(publish.body.len());
        if self.options.pedantic && !is_literal(publish.subject) {
            self.say_error("Invalid Publish Subject");
        }
        self.confirm();
        let interest = self.interest(publish.subject);
        let mut rewritten = std::mem::take(&mut self.rewritten);
        let message = Message::of(&publish, &mut rewritten);
        let mut delivered = false;
        for subscription in &interest.plain {
            delivered |= self.deliver(subscription, &message);
        }
        for group in &interest.groups {
            delivered |= self.deliver_to_one(&group.members, &message);
        }
        self.rewritten = rewritten;
        if !delivered
            && self.options.no_responders
            && let Some(reply) = publish.reply
        {
            self.say_no_responders(publish.subject, reply);
        }
    }

    /// Delivers a message to one member of a group: a random one, or the next one that takes it.
    fn deliver_to_one(&mut self, members: &[Arc<Subscription>], message: &Message<'_>) -> bool {
        let first = rand::random_range(0..members.len());
        let (before, from) = members.split_at(first);
        from.iter().chain(before).any(|member| self.deliver(member, message))
    }

    /// Appends a message to what its subscriber is to be sent. Returns whether the subscriber gets it.
    fn deliver(&mut self, subscription: &Arc<Subscription>, message: &Message<'_>) -> bool {
        let client = &subscription.client;
        if !self.options.echo && Arc::ptr_eq(client, &self.client) {
            return false;
        }
        let turn = subscription.take_turn();
        if turn == Turn::Over {
            return false;
        }
        let (name, tail): (&[u8], _) = match message.header > 0 {
            true if client.takes_headers() => (b"HMSG ", message.tail),
            true => (b"MSG ", message.tail_without_header()),
            false => (b"MSG ", message.tail),
        };
        let sid = &subscription.sid;
        let length = name.len() + message.subject.len() + sid.len() + 2 + tail.len();
        let pushed = client.outbound.push(length, |buffer| {
            buffer.extend_from_slice(name);
            buffer.extend_from_slice(message.subject);
            buffer.push(b' ');
            buffer.extend_from_slice(sid);
            buffer.push(b' ');
            buffer.extend_from_slice(tail);
        });
        if turn == Turn::Last {
            self.shared.finished(subscription);
        }
        let Some(pushed) = pushed else { return false };
        self.tally.sent(message.size);
        if !Arc::ptr_eq(client, &self.client) {
            if pushed.first {
                self.waiting.push(Arc::clone(client));
            }
            if self.most.as_ref().is_none_or(|(_, most)| pushed.waiting > *most) {
                match &mut self.most {
                    Some((most, waiting)) if Arc::ptr_eq(most, client) => *waiting = pushed.waiting,
                    most => *most = Some((Arc::clone(client), pushed.waiting)),
                }
            }
        }
        true
    }

    /// The subscriptions of a subject: those of before, unless any subscription has changed since.
    fn interest(&mut self, subject: &[u8]) -> Arc<Interest<Subscription>> {
        let table = &self.shared.table;
        let remembered = &mut self.remembered;
        remembered.are_of(table.generation());
        if remembered.last.0 == subject {
            return Arc::clone(&remembered.last.1);
        }
        let interest = match remembered.by_subject.get(subject) {
            Some(interest) => Arc::clone(interest),
            None => {
                let mut interest = Interest::default();
                remembered.are_of(table.look_up(subject, &mut interest));
                let interest = Arc::new(interest);
                remembered.insert(subject, &interest);
                interest
            }
        };
        remembered.last.0.clear();
        remembered.last.0.extend_from_slice(subject);
        remembered.last.1 = Arc::clone(&interest);
        interest
    }

    /// Tells the client that its request has no responder, where it waits for the answer.
    fn say_no_responders(&self, subject: &[u8], reply: &[u8]) {
        let mut waiting = Interest::default();
        self.shared.table.look_up(reply, &mut waiting);
        let own = |subscription: &&Arc<Subscription>| Arc::ptr_eq(&subscription.client, &self.client);
        if let Some(subscription) = waiting.plain.iter().find(own) {
            let header = [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat();
            let size = header.len();
            let line = [
                b"HMSG ",
                reply,
                b" ",
                &subscription.sid,
                format!(" {size} {size}\r\n").as_bytes(),
            ]
            .concat();
            self.say(&[&line, &header, b"\r\n" as &[u8]].concat());
        }
    }

    /// Says that an operation was carried out, to a client that wants to know.
    fn confirm(&self) {
        if self.options.verbose {
            self.say(b"+OK\r\n");
        }
    }

    fn say(&self, line: &[u8]) {
        // If it does not fit, the connection ends, which its task sees.
        let _pushed = self
            .client
            .outbound
            .push(line.len(), |buffer| buffer.extend_from_slice(line));
    }
}
