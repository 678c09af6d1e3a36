//! Places for streams: so many at all, and so many of one caller.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The places of a gateway.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_caller: HashMap<String, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// None at all.
    All,
    /// None for this caller.
    OfOne,
}

impl Places {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_one,
            taken: Mutex::default(),
        })
    }

    /// Takes a place for a stream of `caller`.
    pub(crate) fn take(self: &Arc<Self>, caller: &str) -> Result<Place, Full> {
        let mut taken = self.taken.lock();
        if taken.all >= self.most {
            return Err(Full::All);
        }
        let of_one = taken.by_caller.entry(caller.to_owned()).or_default();
        if *of_one >= self.most_of_one {
            return Err(Full::OfOne);
        }
        *of_one += 1;
        taken.all += 1;
        drop(taken);
        Ok(Place {
            places: Arc::clone(self),
            caller: caller.to_owned(),
        })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    caller: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(of_one) = taken.by_caller.get_mut(&self.caller) {
            *of_one -= 1;
            if *of_one == 0 {
                taken.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One caller cannot take all places, and what is given back is free again.
    #[test]
    fn places_are_limited_twice() {
        let places = Places::new(3, 2);
        let first = places.take("a").unwrap();
        let _second = places.take("a").unwrap();
        assert_eq!(places.take("a").unwrap_err(), Full::OfOne);
        let third = places.take("b").unwrap();
        assert_eq!(places.take("c").unwrap_err(), Full::All);
        drop((first, third));
        let _fourth = places.take("a").unwrap();
        assert_eq!(places.taken.lock().by_caller.len(), 1);
    }
}
