//! Which subscriptions a subject has. Pure: knows nothing of what a subscription is.
//!
//! Subjects are a tree of tokens behind one lock, which is written by `SUB` and `UNSUB` and read by look-ups. Each change
//! raises the generation: a connection keeps the results of its look-ups for as long as the generation stays, so that the
//! messages of a stream do not touch the lock at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::subject::tokens;

#[cfg(test)]
mod tests;

/// The subscriptions of all connections.
#[derive(Debug)]
pub(crate) struct Table<S> {
    root: RwLock<Node<S>>,
    generation: AtomicU64,
}

/// What comes of the tokens so far.
#[derive(Debug)]
struct Node<S> {
    /// Subscriptions that end here.
    here: Leaf<S>,
    /// Subscriptions that take all that follows: `>`.
    below: Leaf<S>,
    /// By the next token.
    children: HashMap<Box<[u8]>, Node<S>, ahash::RandomState>,
    /// Whatever the next token is: `*`.
    any: Option<Box<Node<S>>>,
}

/// Subscriptions to one subject.
#[derive(Debug)]
struct Leaf<S> {
    plain: Vec<Arc<S>>,
    groups: Vec<Group<S>>,
}

/// A queue group.
#[derive(Debug)]
pub(crate) struct Group<S> {
    pub(crate) name: Box<[u8]>,
    pub(crate) members: Vec<Arc<S>>,
}

/// The subscriptions that a message to one subject goes to.
#[derive(Debug)]
pub(crate) struct Interest<S> {
    /// Each of them takes the message.
    pub(crate) plain: Vec<Arc<S>>,
    /// Of each queue group, by name, one takes the message.
    pub(crate) groups: Vec<Group<S>>,
}

impl<S> Interest<S> {
    /// How many subscriptions it has.
    pub(crate) fn len(&self) -> usize {
        self.plain.len() + self.groups.iter().map(|group| group.members.len()).sum::<usize>()
    }
}

impl<S> Default for Interest<S> {
    fn default() -> Self {
        Self {
            plain: Vec::new(),
            groups: Vec::new(),
        }
    }
}

impl<S> Default for Leaf<S> {
    fn default() -> Self {
        Self {
            plain: Vec::new(),
            groups: Vec::new(),
        }
    }
}

impl<S> Default for Node<S> {
    fn default() -> Self {
        Self {
            here: Leaf::default(),
            below: Leaf::default(),
            children: HashMap::default(),
            any: None,
        }
    }
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self {
            root: RwLock::default(),
            generation: AtomicU64::new(1),
        }
    }
}

impl<S> Table<S> {
    /// The generation, which is another one after each change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Adds a subscription to a valid subject.
    pub(crate) fn insert(&self, subject: &[u8], queue: Option<&[u8]>, subscription: &Arc<S>) {
        let mut root = self.root.write();
        let mut node = &mut *root;
        for token in tokens(subject) {
            match token {
                b">" => {
                    node.below.insert(queue, subscription);
                    self.changed();
                    return;
                }
                b"*" => node = node.any.get_or_insert_default(),
                _ => node = node.children.entry_ref(token).or_default(),
            }
        }
        node.here.insert(queue, subscription);
        self.changed();
    }

    /// Removes a subscription, which was added with this subject and queue. Does nothing if it was removed before.
    pub(crate) fn remove(&self, subject: &[u8], queue: Option<&[u8]>, subscription: &Arc<S>) {
        let mut root = self.root.write();
        root.remove(&mut tokens(subject), queue, subscription);
        self.changed();
    }

    /// Adds all subscriptions of a message to this subject to `interest`, and returns the generation that they are of.
    pub(crate) fn look_up(&self, subject: &[u8], interest: &mut Interest<S>) -> u64 {
        let root = self.root.read();
        let generation = self.generation();
        // A subject with an empty token has no subscriptions, whatever else it has.
        if tokens(subject).all(|token| !token.is_empty()) {
            root.look_up(Some(subject), interest);
        }
        generation
    }

    /// Raises the generation. Called under the lock, so that a look-up sees a change and its generation together.
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl<S> Node<S> {
    /// Removes a subscription below this node; whether nothing is left of the node.
    fn remove<'t>(
        &mut self,
        tokens: &mut impl Iterator<Item = &'t [u8]>,
        queue: Option<&[u8]>,
        subscription: &Arc<S>,
    ) -> bool {
        match tokens.next() {
            None => self.here.remove(queue, subscription),
            Some(b">") => self.below.remove(queue, subscription),
            Some(b"*") => {
                if let Some(node) = &mut self.any
                    && node.remove(tokens, queue, subscription)
                {
                    self.any = None;
                }
            }
            Some(token) => {
                if let Some(node) = self.children.get_mut(token)
                    && node.remove(tokens, queue, subscription)
                {
                    self.children.remove(token);
                }
            }
        }
        self.here.is_empty() && self.below.is_empty() && self.children.is_empty() && self.any.is_none()
    }

    /// Adds what matches the tokens of `rest`; `None` if all were read. Visits each node at most once.
    fn look_up(&self, rest: Option<&[u8]>, interest: &mut Interest<S>) {
        let Some(rest) = rest else {
            self.here.add_to(interest);
            return;
        };
        self.below.add_to(interest);
        let (token, rest) = match memchr::memchr(b'.', rest) {
            Some(point) => (&rest[..point], Some(&rest[point + 1..])),
            None => (rest, None),
        };
        if let Some(node) = &self.any {
            node.look_up(rest, interest);
        }
        if let Some(node) = self.children.get(token) {
            node.look_up(rest, interest);
        }
    }
}

impl<S> Leaf<S> {
    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty()
    }

    fn insert(&mut self, queue: Option<&[u8]>, subscription: &Arc<S>) {
        match queue {
            None => self.plain.push(Arc::clone(subscription)),
            Some(queue) => members(&mut self.groups, queue).push(Arc::clone(subscription)),
        }
    }

    fn remove(&mut self, queue: Option<&[u8]>, subscription: &Arc<S>) {
        match queue {
            None => remove(&mut self.plain, subscription),
            Some(queue) => {
                if let Some(at) = self.groups.iter().position(|group| *group.name == *queue) {
                    remove(&mut self.groups[at].members, subscription);
                    if self.groups[at].members.is_empty() {
                        self.groups.swap_remove(at);
                    }
                }
            }
        }
    }

    fn add_to(&self, interest: &mut Interest<S>) {
        interest.plain.extend(self.plain.iter().cloned());
        for group in &self.groups {
            // A group has one name, whatever the subjects of its members are.
            members(&mut interest.groups, &group.name).extend(group.members.iter().cloned());
        }
    }
}

/// The members of the group `queue`, which is made if there is none.
fn members<'g, S>(groups: &'g mut Vec<Group<S>>, queue: &[u8]) -> &'g mut Vec<Arc<S>> {
    let at = groups
        .iter()
        .position(|group| *group.name == *queue)
        .unwrap_or_else(|| {
            groups.push(Group {
                name: queue.into(),
                members: Vec::new(),
            });
            groups.len() - 1
        });
    &mut groups[at].members
}

fn remove<S>(subscriptions: &mut Vec<Arc<S>>, subscription: &Arc<S>) {
    if let Some(at) = subscriptions.iter().position(|other| Arc::ptr_eq(other, subscription)) {
        subscriptions.swap_remove(at);
        // What one popular moment needed is not kept.
        if subscriptions.capacity() > 64 && subscriptions.len() < subscriptions.capacity() / 4 {
            subscriptions.shrink_to(subscriptions.len() * 2);
        }
    }
}
