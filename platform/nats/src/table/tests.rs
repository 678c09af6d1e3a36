use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::subject::is_valid;

/// Whether a pattern takes a subject, by the words of the protocol: the slow and obvious way.
fn takes(pattern: &str, subject: &str) -> bool {
    let (pattern, subject): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), subject.split('.').collect());
    if subject.contains(&"") {
        return false;
    }
    for (at, token) in pattern.iter().enumerate() {
        match (*token, subject.get(at)) {
            (">", rest) => return rest.is_some(),
            (_, None) => return false,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == *other => {}
            _ => return false,
        }
    }
    pattern.len() == subject.len()
}

fn found(table: &Table<usize>, subject: &str) -> (Vec<usize>, Vec<(String, Vec<usize>)>) {
    let mut interest = Interest::default();
    table.look_up(subject.as_bytes(), &mut interest);
    let sorted = |subscriptions: &[Arc<usize>]| {
        let mut numbers: Vec<usize> = subscriptions.iter().map(|number| **number).collect();
        numbers.sort_unstable();
        numbers
    };
    let mut groups: Vec<_> = interest
        .groups
        .iter()
        .map(|group| {
            (
                String::from_utf8_lossy(&group.name).into_owned(),
                sorted(&group.members),
            )
        })
        .collect();
    groups.sort();
    (sorted(&interest.plain), groups)
}

/// Wildcards stand for one token or for at least one, and members of a group meet by its name.
#[test]
fn wildcards_and_groups() {
    let table = Table::default();
    let subscriptions = [
        ("a.b", None),
        ("a.*", None),
        ("a.>", None),
        (">", None),
        ("*.b", Some("q")),
        ("a.b", Some("q")),
        ("a.b", Some("r")),
    ];
    for (number, (subject, queue)) in subscriptions.into_iter().enumerate() {
        table.insert(subject.as_bytes(), queue.map(str::as_bytes), &Arc::new(number));
    }
    let group = |name: &str, members: &[usize]| (name.to_owned(), members.to_vec());
    assert_eq!(
        found(&table, "a.b"),
        (vec![0, 1, 2, 3], vec![group("q", &[4, 5]), group("r", &[6])])
    );
    assert_eq!(found(&table, "a"), (vec![3], vec![]));
    assert_eq!(found(&table, "a.b.c"), (vec![2, 3], vec![]));
    assert_eq!(found(&table, "a..b"), (vec![], vec![]));
    assert_eq!(found(&table, "a.*"), (vec![1, 2, 3], vec![]));
}

/// Every change is another generation, and what was removed leaves no node behind.
#[test]
fn what_was_removed_leaves_nothing() {
    let table = Table::default();
    let (one, other) = (Arc::new(1), Arc::new(2));
    let before = table.generation();
    table.insert(b"a.*.c", None, &one);
    table.insert(b"a.*.c", Some(b"q"), &other);
    assert_eq!(table.generation(), before + 2);
    table.remove(b"a.*.c", None, &one);
    assert_eq!(found(&table, "a.b.c"), (vec![], vec![("q".to_owned(), vec![2])]));
    table.remove(b"a.*.c", Some(b"q"), &other);
    table.remove(b"a.*.c", Some(b"q"), &other);
    assert_eq!(table.generation(), before + 5);
    let root = table.root.read();
    assert!(root.children.is_empty() && root.any.is_none());
}

fn subject() -> impl Strategy<Value = String> {
    vec(proptest::sample::select(vec!["a", "b", "c", "*", ">", ""]), 1..5).prop_map(|tokens| tokens.join("."))
}

proptest! {
    /// The tree finds what the obvious way finds, also after some subscriptions were removed.
    #[test]
    fn finds_what_matches(
        patterns in vec((subject(), proptest::option::of("[qr]"), any::<bool>()), 0..20),
        subjects in vec(subject(), 1..10),
    ) {
        let table = Table::default();
        let patterns: Vec<_> = patterns.into_iter().filter(|(subject, ..)| is_valid(subject.as_bytes())).collect();
        let subscriptions: Vec<_> = (0..patterns.len()).map(Arc::new).collect();
        for ((subject, queue, _), subscription) in patterns.iter().zip(&subscriptions) {
            table.insert(subject.as_bytes(), queue.as_deref().map(str::as_bytes), subscription);
        }
        for ((subject, queue, stays), subscription) in patterns.iter().zip(&subscriptions) {
            if !stays {
                table.remove(subject.as_bytes(), queue.as_deref().map(str::as_bytes), subscription);
            }
        }
        for subject in subjects {
            let matching = |wanted: Option<&str>| -> Vec<usize> {
                let matching = patterns.iter().enumerate().filter(|(_, (pattern, queue, stays))| {
                    *stays && queue.as_deref() == wanted && takes(pattern, &subject)
                });
                matching.map(|(number, _)| number).collect()
            };
            let groups: Vec<_> = ["q", "r"]
                .into_iter()
                .map(|name| (name.to_owned(), matching(Some(name))))
                .filter(|(_, members)| !members.is_empty())
                .collect();
            prop_assert_eq!(found(&table, &subject), (matching(None), groups), "{}", subject);
        }
    }
}
