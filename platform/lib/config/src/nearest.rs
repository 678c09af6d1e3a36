//! The word that somebody probably meant.

/// Words longer than this are not compared: nobody means them.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be a slip: a third of its letters at most.
pub(crate) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word = word.to_lowercase().replace('-', "_");
    if word.chars().count() > LONGEST {
        return None;
    }
    candidates
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(word.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters to insert, remove, replace or swap with their neighbour (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, counterpart) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(letter != counterpart);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *letter == other[column - 1] && one[row - 1] == *counterpart;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slips are found, other words are not.
    #[test]
    fn finds_slips() {
        let keys = ["listen", "max_message", "queue", "tls"];
        assert_eq!(nearest("lisetn", &keys), Some("listen"));
        assert_eq!(nearest("max-mesage", &keys), Some("max_message"));
        assert_eq!(nearest("Queue", &keys), Some("queue"));
        assert_eq!(nearest("tsl", &keys), Some("tls"));
        assert_eq!(nearest("port", &keys), None);
        assert_eq!(nearest("", &keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), &keys), None);
    }

    /// The distance counts single edits, a swap as one.
    #[test]
    fn counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
