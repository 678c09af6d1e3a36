//! Puts the pages of the feed together to a list without gaps.
//!
//! The feed is paged by *offset* over the URLs in a fixed order. If a drain before the offset is removed between two
//! pages, all later drains move up by one, and the drain at the boundary is in neither page. Therefore pages overlap:
//! each begins [`overlap`] places before the end of the previous one, and must contain at least one URL that is known
//! already.
//!
//! This is sufficient. Let `Z` be such a URL, and let `X` be any URL that existed all the time and was not read yet.
//! Everything read so far is before `X`, so `Z` is. The new page is contiguous and contains `Z`, so `X` is in it or
//! after it. Drains that are added before the offset only enlarge the overlap. A page without a known URL is not a
//! continuation. Then everything is read again from the start, a few times, and after that the poll fails.
//!
//! The order within a page does not matter. If a URL is in two pages, the later one counts.

use std::collections::HashMap;

use weir_drain::feed::{Item, Page};

use super::FeedError;

/// The number of attempts to read a list that keeps changing.
const ATTEMPTS: u32 = 5;

/// The largest overlap of two pages.
const MOST_OVERLAP: u64 = 10;

/// A source of pages.
pub(super) trait Pages {
    /// Returns the page that begins at `offset`.
    fn page(&mut self, offset: u64) -> impl Future<Output = Result<Page, FeedError>> + Send;

    /// Called before everything is read again.
    fn restart(&mut self);
}

/// Returns the overlap of pages with `batch` entries. One drain fewer than this may be removed before a page without a
/// restart.
const fn overlap(batch: u64) -> u64 {
    let quarter = batch / 4;
    if quarter < 1 {
        1
    } else if quarter > MOST_OVERLAP {
        MOST_OVERLAP
    } else {
        quarter
    }
}

/// Reads the whole list, with one item for each URL.
pub(super) async fn read_all(pages: &mut impl Pages, batch: u64) -> Result<Vec<Item>, FeedError> {
    for attempt in 1..=ATTEMPTS {
        if let Some(items) = read_once(pages, batch).await? {
            return Ok(items);
        }
        tracing::debug!(attempt, "the list of drains changed while it was read");
        pages.restart();
    }
    Err(FeedError::KeepsChanging(ATTEMPTS))
}

/// Reads the whole list. Returns `None` if the pages do not fit together.
async fn read_once(pages: &mut impl Pages, batch: u64) -> Result<Option<Vec<Item>>, FeedError> {
    let mut list = List::default();
    let mut offset = 0;
    // A page with fewer entries than requested was the last one at the time of the request.
    let mut was_short = true;
    loop {
        let page = pages.page(offset).await?;
        if page.results.is_empty() {
            return Ok(was_short.then_some(list.items));
        }
        let asked = page
            .next_id
            .filter(|next| *next != 0)
            .map(|next| next.saturating_sub(offset));
        let count = page.results.len() as u64;
        let begins = list.items.is_empty();
        let known = list.add(page.results);
        if !begins && known == 0 {
            return Ok(None);
        }
        let Some(asked) = asked else {
            // This is the last page.
            return Ok(Some(list.items));
        };
        was_short = count < asked;
        if was_short && !begins && known == count {
            // The page contains only the overlap.
            return Ok(Some(list.items));
        }
        let step = asked.saturating_sub(overlap(batch.min(asked)));
        if step == 0 {
            return Err(FeedError::Malformed("`next_id` does not go on".to_owned()));
        }
        offset += step;
    }
}

/// The part of the list that was read so far.
#[derive(Default)]
struct List {
    items: Vec<Item>,
    places: HashMap<String, usize>,
}

impl List {
    /// Adds a page. Returns how many of its URLs were known.
    fn add(&mut self, results: Vec<Item>) -> u64 {
        let mut known = 0;
        for item in results {
            match self.places.get(&item.url) {
                Some(place) => {
                    known += 1;
                    self.items[*place] = item;
                }
                None => {
                    self.places.insert(item.url.clone(), self.items.len());
                    self.items.push(item);
                }
            }
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A cloud controller whose list changes before each page.
    struct Changing {
        urls: BTreeSet<u32>,
        batch: usize,
        changes: Vec<Change>,
        requests: u32,
        restarts: u32,
    }

    #[derive(Debug, Clone)]
    enum Change {
        Nothing,
        Add(u32),
        /// Removes the drain at this position.
        Remove(usize),
    }

    impl Changing {
        fn new(urls: impl IntoIterator<Item = u32>, batch: usize, changes: Vec<Change>) -> Self {
            Self {
                urls: urls.into_iter().collect(),
                batch,
                changes,
                requests: 0,
                restarts: 0,
            }
        }

        fn item(url: u32) -> Item {
            Item {
                url: format!("syslog://drain-{url:010}:514"),
                credentials: Vec::new(),
            }
        }
    }

    impl Pages for Changing {
        async fn page(&mut self, offset: u64) -> Result<Page, FeedError> {
            self.requests += 1;
            match self.changes.pop() {
                None | Some(Change::Nothing) => {}
                Some(Change::Add(url)) => {
                    self.urls.insert(url);
                }
                Some(Change::Remove(place)) => {
                    if let Some(url) = self.urls.iter().nth(place).copied() {
                        self.urls.remove(&url);
                    }
                }
            }
            let offset = usize::try_from(offset).unwrap();
            let mut results: Vec<Item> = self
                .urls
                .iter()
                .skip(offset)
                .take(self.batch)
                .copied()
                .map(Self::item)
                .collect();
            let next_id = (!results.is_empty()).then_some((offset + self.batch) as u64);
            // The original does not guarantee an order within a page.
            results.reverse();
            Ok(Page { results, next_id })
        }

        fn restart(&mut self) {
            self.restarts += 1;
        }
    }

    async fn read(pages: &mut Changing) -> Result<BTreeSet<String>, FeedError> {
        let batch = pages.batch as u64;
        let items = read_all(pages, batch).await?;
        let urls: BTreeSet<String> = items.iter().map(|item| item.url.clone()).collect();
        assert_eq!(urls.len(), items.len(), "no URL comes twice");
        Ok(urls)
    }

    fn urls(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<String> {
        numbers.into_iter().map(|number| Changing::item(number).url).collect()
    }

    /// Lists with sizes around those of pages are read completely, with at most two requests more than pages.
    #[tokio::test]
    async fn quiet_lists_are_read_whole() {
        for batch in [10, 12, 40, 1000] {
            for count in [0, 1, 5, 9, 10, 11, 12, 39, 40, 41, 100] {
                let mut pages = Changing::new(0..count, batch, Vec::new());
                assert_eq!(read(&mut pages).await.unwrap(), urls(0..count), "{count} by {batch}");
                let step = batch as u64 - overlap(batch as u64);
                assert!(
                    u64::from(pages.requests) <= u64::from(count).div_ceil(step) + 2,
                    "{count} by {batch}"
                );
                assert_eq!(pages.restarts, 0);
            }
        }
    }

    /// In the original, a drain that is removed before the boundary makes the one at the boundary disappear. Here it
    /// does not.
    #[tokio::test]
    async fn drains_that_move_up_are_not_skipped() {
        for gone in 1..12 {
            let mut changes = vec![Change::Remove(0); gone];
            changes.push(Change::Nothing);
            let mut pages = Changing::new(0..200, 40, changes);
            let read = read(&mut pages).await.unwrap();
            let stayed = u32::try_from(gone).unwrap()..200;
            assert!(urls(stayed).is_subset(&read), "{gone}");
        }
        // Thirty removed drains are more than the overlap, so everything is read again.
        struct Purge(Changing);
        impl Pages for Purge {
            async fn page(&mut self, offset: u64) -> Result<Page, FeedError> {
                if self.0.requests == 1 {
                    self.0.urls = (30..200).collect();
                }
                self.0.page(offset).await
            }
            fn restart(&mut self) {
                self.0.restart();
            }
        }
        let mut pages = Purge(Changing::new(0..200, 40, Vec::new()));
        let items = read_all(&mut pages, 40).await.unwrap();
        let found: BTreeSet<String> = items.into_iter().map(|item| item.url).collect();
        assert_eq!((found, pages.0.restarts), (urls(30..200), 1));
    }

    /// A list that keeps changing is given up, and so is a server that always sends one page.
    #[tokio::test]
    async fn endless_lists_are_given_up() {
        struct KeepsChanging(u32);
        impl Pages for KeepsChanging {
            async fn page(&mut self, offset: u64) -> Result<Page, FeedError> {
                self.0 += 100;
                let results = (self.0..self.0 + 10).map(Changing::item).collect();
                Ok(Page {
                    results,
                    next_id: Some(offset + 10),
                })
            }
            fn restart(&mut self) {}
        }
        assert!(matches!(
            read_all(&mut KeepsChanging(0), 10).await,
            Err(FeedError::KeepsChanging(5))
        ));
        struct Stuck;
        impl Pages for Stuck {
            async fn page(&mut self, _: u64) -> Result<Page, FeedError> {
                Ok(Page {
                    results: vec![Changing::item(1)],
                    next_id: Some(1),
                })
            }
            fn restart(&mut self) {}
        }
        assert!(matches!(read_all(&mut Stuck, 10).await, Err(FeedError::Malformed(_))));
    }

    /// If a drain is in two pages, the later one counts.
    #[tokio::test]
    async fn the_later_page_counts() {
        struct Twice(u32);
        impl Pages for Twice {
            async fn page(&mut self, _: u64) -> Result<Page, FeedError> {
                self.0 += 1;
                let credential = weir_drain::feed::Credential {
                    cert: self.0.to_string(),
                    ..Default::default()
                };
                let item = Item {
                    url: "syslog://a:1".to_owned(),
                    credentials: vec![credential],
                };
                Ok(Page {
                    results: vec![item],
                    next_id: (self.0 == 1).then_some(10),
                })
            }
            fn restart(&mut self) {}
        }
        let items = read_all(&mut Twice(0), 10).await.unwrap();
        assert_eq!((items.len(), items[0].credentials[0].cert.as_str()), (1, "2"));
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            Just(Change::Nothing),
            (0_u32..300).prop_map(Change::Add),
            (0_usize..100).prop_map(Change::Remove),
        ]
    }

    proptest! {
        /// In any sequence of changes, a drain that existed from the beginning to the end is in the list.
        #[test]
        fn drains_that_stay_are_found(
            count in 0_u32..150,
            batch in 10_usize..30,
            changes in proptest::collection::vec(change(), 0..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut pages = Changing::new((0..count).map(|number| number * 2), batch, changes.clone());
            // A drain stays if it exists at every moment.
            let mut stays = pages.urls.clone();
            let mut replay = pages.urls.clone();
            for change in changes.iter().rev() {
                match change {
                    Change::Nothing => {}
                    Change::Add(url) => { replay.insert(*url); }
                    Change::Remove(place) => {
                        if let Some(url) = replay.iter().nth(*place).copied() {
                            replay.remove(&url);
                            stays.remove(&url);
                        }
                    }
                }
            }
            if let Ok(found) = runtime.block_on(read(&mut pages)) {
                prop_assert!(urls(stays).is_subset(&found));
            }
        }
    }
}
