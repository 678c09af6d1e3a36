//! The components of a stack, and in which order they start.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use crate::{Description, Entry, Port};

/// The components of a stack, in the order in which `--help` lists them. Names, keys and usual ports are unique, every
/// need names a component of the table, and no component needs itself, not even through others.
pub struct Table<H> {
    entries: Vec<Entry<H>>,
}

/// A table contradicts itself.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TableError {
    /// Two components or ports cannot be told apart.
    #[error("component `{component}`: {what} is taken by another component")]
    Taken {
        /// The later one in the table.
        component: &'static str,
        /// What both components have, in words: for example a port.
        what: String,
    },
    /// A component without a port or a name in its certificate cannot be called.
    #[error("component `{component}`: has no port or no server name")]
    Unreachable {
        /// The name of the component.
        component: &'static str,
    },
    /// A need names no component.
    #[error("component `{component}`: needs `{need}`, which is not in the table")]
    UnknownNeed {
        /// The component that declares the need.
        component: &'static str,
        /// The name that was declared.
        need: &'static str,
    },
    /// Some components need each other in a circle, so that none of them can be the first.
    #[error("components {}: need each other in a circle", .components.join(", "))]
    Circle {
        /// The components that could not be put in order.
        components: Vec<&'static str>,
    },
}

/// Somebody asked for a component or a group that the table does not have.
#[derive(Debug, Error)]
#[error("component `{name}`: there is none, nor a group of that name")]
pub struct UnknownComponent {
    /// The name that was asked for.
    pub name: String,
    /// The names of all components and groups.
    pub known: Vec<&'static str>,
}

impl Classify for UnknownComponent {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn hint(&self) -> Option<String> {
        Some(format!("choose from {}", self.known.join(", ")))
    }
}

impl<H> Table<H> {
    /// A table of these components.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn new(entries: &[Entry<H>]) -> Result<Self, TableError> {
        let table = Self {
            entries: entries.to_vec(),
        };
        table.check_identities()?;
        table.check_needs()?;
        Ok(table)
    }

    /// All components, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<H>> {
        self.entries.iter()
    }

    /// The descriptions of all components, in the order of the table.
    pub fn descriptions(&self) -> impl Iterator<Item = &Description> {
        self.entries.iter().map(Entry::description)
    }

    /// All ports with their components, in the order of the table.
    pub fn ports(&self) -> impl Iterator<Item = (&'static Port, &Description)> {
        self.descriptions()
            .flat_map(|description| description.ports.iter().map(move |port| (port, description)))
    }

    /// The component of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry<H>> {
        self.entries.iter().find(|entry| entry.name() == name)
    }

    /// Whether a component of this name is in the table.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The components in an order in which they may start one after the other: each after all that it needs.
    #[must_use]
    pub fn start_order(&self) -> Vec<Entry<H>> {
        // A table without a circle leaves nothing over.
        self.ordered().0
    }

    /// The table of the named components and groups, with everything that they need.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn only<N: AsRef<str>>(&self, names: &[N]) -> Result<Self, UnknownComponent> {
        let mut chosen: BTreeSet<&str> = BTreeSet::new();
        for name in names.iter().map(AsRef::as_ref) {
            let mut found = self.descriptions().filter(|one| one.name == name || one.group == name);
            let Some(first) = found.next() else {
                return Err(self.unknown(name));
            };
            chosen.extend(std::iter::once(first).chain(found).map(|one| one.name));
        }
        // Backwards through the start order, so that a component is seen after all that may need it.
        for entry in self.start_order().iter().rev() {
            if chosen.contains(entry.name()) {
                chosen.extend(entry.description().needs);
            }
        }
        let entries = self.iter().filter(|entry| chosen.contains(entry.name()));
        Ok(Self {
            entries: entries.copied().collect(),
        })
    }

    fn unknown(&self, name: &str) -> UnknownComponent {
        let groups: BTreeSet<&str> = self.descriptions().map(|one| one.group).collect();
        UnknownComponent {
            name: name.to_owned(),
            known: groups.into_iter().chain(self.iter().map(Entry::name)).collect(),
        }
    }

    fn check_identities(&self) -> Result<(), TableError> {
        let (mut names, mut keys, mut numbers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for Description {
            name: component,
            ports,
            server_names,
            ..
        } in self.descriptions()
        {
            let taken = |what: String| Err(TableError::Taken { component, what });
            if ports.is_empty() || server_names.is_empty() {
                return Err(TableError::Unreachable { component });
            }
            if !names.insert(component) {
                return taken("its name".to_owned());
            }
            for Port { key, default, .. } in *ports {
                if !keys.insert(key) {
                    return taken(format!("port `{key}`"));
                }
                if !numbers.insert(default) {
                    return taken(format!("port {default}"));
                }
            }
        }
        Ok(())
    }

    fn check_needs(&self) -> Result<(), TableError> {
        for &Description {
            name: component, needs, ..
        } in self.descriptions()
        {
            if let Some(need) = needs.iter().find(|need| !self.has(need)) {
                return Err(TableError::UnknownNeed { component, need });
            }
        }
        match self.ordered().1 {
            left if left.is_empty() => Ok(()),
            left => Err(TableError::Circle {
                components: left.iter().map(Entry::name).collect(),
            }),
        }
    }

    /// The components that can be put in order, in that order, and those that cannot.
    fn ordered(&self) -> (Vec<Entry<H>>, Vec<Entry<H>>) {
        let (mut ordered, mut left) = (Vec::<Entry<H>>::new(), self.entries.clone());
        loop {
            let placed: BTreeSet<&str> = ordered.iter().map(Entry::name).collect();
            let may_start = |entry: &Entry<H>| entry.description().needs.iter().all(|need| placed.contains(need));
            let (next, rest): (Vec<_>, Vec<_>) = left.iter().copied().partition(may_start);
            if next.is_empty() {
                return (ordered, rest);
            }
            ordered.extend(next);
            left = rest;
        }
    }
}

impl<H> Clone for Table<H> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
        }
    }
}

impl<H> fmt::Debug for Table<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.entries).finish()
    }
}

#[cfg(test)]
mod tests;
