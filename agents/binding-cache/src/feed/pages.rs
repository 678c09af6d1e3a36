//! Pages to one list, without a hole.
//!
//! The feed is paged by *offset* over URLs in a fixed order. When a drain in front of the offset goes away between two
//! pages, everything behind it moves up, and the drain at the seam would be in neither page. So pages overlap: each begins
//! [`overlap`] places before the end of the last one, and must have at least one URL in it that is known already.
//!
//! That is enough. Let `Z` be such a URL, and `X` any that was there all the time and was not read yet. All that was read so
//! far lay in front of `X`, so `Z` does; the new page is contiguous and contains `Z`; so `X` is in it or behind it. Drains
//! that are added in front only make the overlap larger. A page without a known URL is no continuation: then everything is
//! read again from the start, a few times, and then another day.
//!
//! The order within a page does not matter. Of a URL that is in two pages the later one counts.

use std::collections::HashMap;

use weir_drain::feed::{Item, Page};

use super::FeedError;

/// How often a list is begun, if it changes all the time.
const ATTEMPTS: u32 = 5;

/// Most places by which pages overlap.
const MOST_OVERLAP: u64 = 10;

/// Where pages come from.
pub(super) trait Pages {
    /// The page that begins at `offset`.
    fn page(&mut self, offset: u64) -> impl Future<Output = Result<Page, FeedError>> + Send;

    /// All of it is read again.
    fn restart(&mut self);
}

/// Places by which pages of `batch` overlap: so many drains may go away in front of a page without a new start, but one.
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

/// The whole list, one item for each URL.
pub(super) async fn read_all(pages: &mut impl Pages, batch: u64) -> Result<Vec<Item>, FeedError> {
    for attempt in 1..=ATTEMPTS {
        if let Some(items) = read_once(pages, batch).await? {
            return Ok(items);
        }
        tracing::debug!(attempt, "the list of drains changed while it was read");
        pages.restart();
    }
    Err(FeedError::Restless(ATTEMPTS))
}

/// The whole list, or nothing if the pages do not fit together.
async fn read_once(pages: &mut impl Pages, batch: u64) -> Result<Option<Vec<Item>>, FeedError> {
    let mut list = List::default();
    let mut offset = 0;
    // A page with less than was asked for was the last one, when it was made.
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
            // There is nothing behind it.
            return Ok(Some(list.items));
        };
        was_short = count < asked;
        if was_short && !begins && known == count {
            // The overlap, and nothing else.
            return Ok(Some(list.items));
        }
        let step = asked.saturating_sub(overlap(batch.min(asked)));
        if step == 0 {
            return Err(FeedError::Malformed("`next_id` does not go on".to_owned()));
        }
        offset += step;
    }
}

/// What was read so far.
#[derive(Default)]
struct List {
    items: Vec<Item>,
    places: HashMap<String, usize>,
}

impl List {
    /// Adds a page; says how many of its URLs were known.
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
        /// That many places behind the first one.
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
            // The original does not promise an order within a page.
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

    /// All sizes of lists around the sizes of pages are read whole, with at most one request more than pages.
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

    /// The original's mistake: a drain in front of the seam goes away, and the one at the seam would be skipped.
    #[tokio::test]
    async fn what_moves_up_is_not_skipped() {
        for gone in 1..12 {
            let mut changes = vec![Change::Remove(0); gone];
            changes.push(Change::Nothing);
            let mut pages = Changing::new(0..200, 40, changes);
            let read = read(&mut pages).await.unwrap();
            let stayed = u32::try_from(gone).unwrap()..200;
            assert!(urls(stayed).is_subset(&read), "{gone}");
        }
        // Ten at once are more than the overlap: from the start again.
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

    /// A list that never holds still is given up, and so is a server that sends the same page for ever.
    #[tokio::test]
    async fn it_comes_to_an_end() {
        struct Restless(u32);
        impl Pages for Restless {
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
            read_all(&mut Restless(0), 10).await,
            Err(FeedError::Restless(5))
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

    /// A later page knows better about a drain that is in both.
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
        /// Whatever happens while it is read: what was there from the beginning to the end is in the list.
        #[test]
        fn what_stays_is_found(
            count in 0_u32..150,
            batch in 10_usize..30,
            changes in proptest::collection::vec(change(), 0..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut pages = Changing::new((0..count).map(|number| number * 2), batch, changes.clone());
            // What stays is what is there at every moment.
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
