//! Checks the drains of a list (logging §12). Usable ones go on to the agents, and complaints about the others to their
//! apps.
//!
//! An item is reduced to its usable parts: an invalid URL affects all its apps, and an invalid certificate affects the
//! apps that use it.

use std::collections::{BTreeMap, BTreeSet};

use weir_drain::feed::{App, Credential, Item};
use weir_drain::{Binding, DrainUrl, Invalid, Refusal};

use crate::addresses::{Names, Resolution};

/// A problem with a drain, to be reported to one app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complaint {
    /// The GUID of the app.
    pub(crate) app: String,
    /// The drain URL without secrets.
    pub(crate) url: String,
    pub(crate) cause: Cause,
    /// The text, as the contract words it.
    pub(crate) text: String,
}

/// The kind of a problem. The text about one kind may change from one poll to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cause {
    /// The URL, certificate or CA is invalid. The binding is not used.
    Unusable,
    /// All addresses are forbidden. The binding is not used.
    Blocked,
    /// The name has no address. The binding is used nevertheless.
    Unresolvable,
}

/// A list after the checks that need no name resolution.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The usable items, one for each URL, sorted by URL.
    pub(crate) items: Vec<Item>,
    pub(crate) complaints: Vec<Complaint>,
}

/// Checks the URLs and credentials of `lists`, and merges the lists into one.
pub(crate) fn check(lists: &[&[Item]]) -> Checked {
    let mut complaints = Vec::new();
    // The maps are sorted, so that the result does not depend on the order of the lists.
    let mut usable: BTreeMap<&str, BTreeMap<[&str; 3], Vec<&App>>> = BTreeMap::new();
    for item in lists.iter().flat_map(|list| list.iter()) {
        for credential in &item.credentials {
            let Some(apps) = credential.apps.as_deref().filter(|apps| !apps.is_empty()) else {
                // Only aggregate drains have no apps, and these come from another source.
                continue;
            };
            match problem(item, credential) {
                None => usable
                    .entry(&item.url)
                    .or_default()
                    .entry([&credential.cert, &credential.key, &credential.ca])
                    .or_default()
                    .extend(apps),
                Some(invalid) => complaints.extend(apps.iter().map(|app| Complaint {
                    app: app.app_id.clone(),
                    url: invalid.url_safe.clone(),
                    cause: Cause::Unusable,
                    text: invalid.text.clone(),
                })),
            }
        }
    }
    let items = usable
        .into_iter()
        .map(|(url, credentials)| Item {
            url: url.to_owned(),
            credentials: credentials.into_iter().map(credential).collect(),
        })
        .collect();
    Checked { items, complaints }
}

/// Returns what is wrong with a credential. It is checked with its first app only, because the result is the same for
/// all.
fn problem(item: &Item, credential: &Credential) -> Option<Invalid> {
    // The problems of a set of credentials are the same for all of its apps, so one app is enough.
    let first = credential.apps.as_deref().and_then(|apps| apps.first()).cloned();
    let one = Item {
        url: item.url.clone(),
        credentials: vec![Credential {
            apps: Some(first.into_iter().collect()),
            ..credential.clone()
        }],
    };
    Binding::expand(&one).find_map(Result::err)
}

fn credential(([cert, key, ca], apps): ([&str; 3], Vec<&App>)) -> Credential {
    let mut seen = BTreeSet::new();
    let mut apps: Vec<App> = apps
        .into_iter()
        .filter(|app| !app.app_id.is_empty() && seen.insert(app.app_id.as_str()))
        .cloned()
        .collect();
    // The order is part of the ETag, which must not change when a source lists its apps in another order.
    apps.sort_by(|one, other| one.app_id.cmp(&other.app_id));
    Credential {
        cert: cert.to_owned(),
        key: key.to_owned(),
        ca: ca.to_owned(),
        apps: Some(apps),
    }
}

impl Checked {
    /// Returns the hosts of the drains.
    pub(crate) fn hosts(&self) -> BTreeSet<String> {
        self.items
            .iter()
            .filter_map(|item| DrainUrl::parse(&item.url).ok())
            .map(|url| url.host())
            .collect()
    }

    /// Removes drains with forbidden addresses, and adds complaints about them and about names without an address.
    pub(crate) fn apply(mut self, names: &Names) -> Self {
        let complaints = &mut self.complaints;
        self.items.retain(|item| {
            let Ok(url) = DrainUrl::parse(&item.url) else {
                return false;
            };
            let (cause, refusal) = match names.of(&url.host()) {
                Resolution::Allowed => return true,
                Resolution::Blocked => (Cause::Blocked, Refusal::blocked(&url)),
                Resolution::Unknown => (Cause::Unresolvable, Refusal::unresolvable(&url)),
                Resolution::UnknownBefore => (Cause::Unresolvable, Refusal::skipped_resolve(&url)),
            };
            let apps = item
                .credentials
                .iter()
                .filter_map(|credential| credential.apps.as_deref());
            complaints.extend(apps.flatten().map(|app| Complaint {
                app: app.app_id.clone(),
                url: refusal.url().to_owned(),
                cause,
                text: refusal.to_string(),
            }));
            // A drain without an address stays in the list, and its lines wait (decision 0008).
            cause != Cause::Blocked
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str) -> App {
        App {
            hostname: format!("o.s.{id}"),
            app_id: id.to_owned(),
        }
    }

    fn item(url: &str, credentials: &[(&str, &[&str])]) -> Item {
        Item {
            url: url.to_owned(),
            credentials: credentials
                .iter()
                .map(|(ca, apps)| Credential {
                    ca: (*ca).to_owned(),
                    apps: Some(apps.iter().map(|id| app(id)).collect()),
                    ..Credential::default()
                })
                .collect(),
        }
    }

    /// Two lists with one URL give one item with the apps and credentials of both. Items are sorted by URL.
    #[test]
    fn lists_are_merged() {
        let one = [
            item("syslog://b:1", &[("", &["x"])]),
            item("syslog://a:1", &[("", &["y", "x"])]),
        ];
        let other = [item("syslog://b:1", &[("", &["x", "w"])])];
        let checked = check(&[&one, &other]);
        assert!(checked.complaints.is_empty());
        let expected = [
            item("syslog://a:1", &[("", &["x", "y"])]),
            item("syslog://b:1", &[("", &["w", "x"])]),
        ];
        assert_eq!(checked.items, expected);
        assert_eq!(check(&[&other, &one]).items, expected, "in whatever order they come");
    }

    /// An invalid URL affects all its apps and an invalid CA the apps that use it. Each app gets a complaint without
    /// secrets.
    #[test]
    fn each_affected_app_gets_a_complaint() {
        let list = [
            item("syslog://good:1", &[("", &["a"]), ("no PEM", &["b", "c"])]),
            item("ftp://user:hunter2@h/?hunter2", &[("", &["a"])]),
        ];
        let checked = check(&[&list]);
        assert_eq!(checked.items, [item("syslog://good:1", &[("", &["a"])])]);
        let texts: Vec<_> = checked
            .complaints
            .iter()
            .map(|complaint| (complaint.app.as_str(), complaint.text.as_str()))
            .collect();
        assert_eq!(
            texts,
            [
                ("b", "failed to load root CA for syslog://good:1"),
                ("c", "failed to load root CA for syslog://good:1"),
                ("a", "Invalid Scheme ftp for syslog drain url ftp://h/"),
            ]
        );
    }

    /// A drain with a forbidden address is removed, and one whose name has no address is kept. There are complaints
    /// about both.
    #[test]
    fn addresses_are_judged() {
        let list = [
            item("syslog://10.0.0.1:1", &[("", &["a"])]),
            item("syslog://nowhere:1", &[("", &["b"])]),
            item("syslog://fine:1", &[("", &["c"])]),
        ];
        let names = Names::of_tests([
            ("10.0.0.1", Resolution::Blocked),
            ("nowhere", Resolution::Unknown),
            ("fine", Resolution::Allowed),
        ]);
        let checked = check(&[&list]).apply(&names);
        let urls: Vec<_> = checked.items.iter().map(|item| item.url.as_str()).collect();
        assert_eq!(urls, ["syslog://fine:1", "syslog://nowhere:1"]);
        let texts: Vec<_> = checked
            .complaints
            .iter()
            .map(|complaint| complaint.text.as_str())
            .collect();
        assert_eq!(
            texts,
            [
                "Resolved ip address for syslog drain with url syslog://10.0.0.1:1 is blacklisted",
                "Cannot resolve ip address for syslog drain with url syslog://nowhere:1",
            ]
        );
    }
}
