//! The word that was probably meant, for hints.

/// Longest word that is compared, in characters: nobody means a longer one.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be a slip: a third of its letters at most, and at least one, may be
/// added, removed, replaced or swapped with their neighbour. Case does not count, and `-` is as good as `_`.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let word = plain(word);
    let letters = word.chars().count();
    if letters > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(letters) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slips are found, other words are not.
    #[test]
    fn finds_slips() {
        let keys = ["listen", "max_message", "queue", "tls"];
        assert_eq!(nearest("lisetn", keys), Some("listen"));
        assert_eq!(nearest("max-mesage", keys), Some("max_message"));
        assert_eq!(nearest("Queue", keys), Some("queue"));
        assert_eq!(nearest("tsl", keys), Some("tls"));
        assert_eq!(nearest("port", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
        let tables = ["logs", "counters", "gauges"];
        assert_eq!(nearest("log", tables), Some("logs"));
        assert_eq!(nearest("Counter", tables), Some("counters"));
        assert_eq!(nearest("gagues", tables), Some("gauges"));
        assert_eq!(nearest("pg_catalog", tables), None);
    }
}
