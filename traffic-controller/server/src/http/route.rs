//! Finds the resource that a path names.

use super::text::percent_decode;
use crate::stream::filter::FilterType;

/// The requested resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/firehose/<subscription>`: all envelopes, shared among the clients with this subscription id.
    Firehose { subscription: String, filter: FilterType },
    /// `/apps/<guid>/stream`: the envelopes of one app. Each client gets all of them.
    App { guid: String },
    /// `/set-cookie`.
    SetCookie,
    /// Any other path, including the removed `recentlogs` and `containermetrics`.
    NotFound,
}

impl Route {
    /// Finds the resource. As in the original's router, the whole path is decoded first.
    pub(crate) fn of(path: &str, query: Option<&str>) -> Self {
        let Some(path) = percent_decode(path, false) else {
            return Self::NotFound;
        };
        let mut segments = path.strip_prefix('/').unwrap_or(&path).split('/');
        match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some("firehose"), Some(id), None, None) if !id.is_empty() => Self::Firehose {
                subscription: id.to_owned(),
                filter: filter_type(query),
            },
            (Some("apps"), Some(id), Some("stream"), None) if !id.is_empty() => Self::App { guid: id.to_owned() },
            (Some("set-cookie"), None, None, None) => Self::SetCookie,
            _ => Self::NotFound,
        }
    }
}

/// Reads the first `filter-type` of the query. Every value other than `logs` and `metrics` means all.
fn filter_type(query: Option<&str>) -> FilterType {
    let value = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| percent_decode(key, true).as_deref() == Some("filter-type"))
        .and_then(|(_, value)| percent_decode(value, true));
    match value.as_deref() {
        Some("logs") => FilterType::Logs,
        Some("metrics") => FilterType::Metrics,
        _ => FilterType::All,
    }
}

/// Returns whether `id` has the form of a GUID: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_guid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firehose(subscription: &str, filter: FilterType) -> Route {
        Route::Firehose {
            subscription: subscription.to_owned(),
            filter,
        }
    }

    #[test]
    fn paths_and_filters() {
        for (path, query, route) in [
            ("/firehose/nozzle", None, firehose("nozzle", FilterType::All)),
            ("/firehose/a%20b", Some(""), firehose("a b", FilterType::All)),
            ("/firehose/n", Some("filter-type=logs"), firehose("n", FilterType::Logs)),
            (
                "/firehose/n",
                Some("x=1&filter-type=metrics"),
                firehose("n", FilterType::Metrics),
            ),
            (
                "/firehose/n",
                Some("filter-type=metrics&filter-type=logs"),
                firehose("n", FilterType::Metrics),
            ),
            ("/firehose/n", Some("filter-type=LOGS"), firehose("n", FilterType::All)),
            ("/firehose/", None, Route::NotFound),
            ("/firehose/a/b", None, Route::NotFound),
            ("/firehose/%ff", None, Route::NotFound),
            ("/firehose/%zz", None, Route::NotFound),
            ("/%66irehose/n%25", None, firehose("n%", FilterType::All)),
            ("/firehose/a%2Fb", None, Route::NotFound),
            ("/firehose%2Fn", None, firehose("n", FilterType::All)),
            (
                "/%61pps/a-guid/s%74ream",
                None,
                Route::App {
                    guid: "a-guid".to_owned(),
                },
            ),
            (
                "/apps/a-guid/stream",
                None,
                Route::App {
                    guid: "a-guid".to_owned(),
                },
            ),
            ("/apps/a-guid/recentlogs", None, Route::NotFound),
            ("/apps/a-guid/containermetrics", None, Route::NotFound),
            ("/apps//stream", None, Route::NotFound),
            ("/set-cookie", None, Route::SetCookie),
            ("/", None, Route::NotFound),
            ("*", None, Route::NotFound),
        ] {
            assert_eq!(Route::of(path, query), route, "{path}?{query:?}");
        }
    }

    #[test]
    fn guids() {
        assert!(is_guid("00000000-aBcD-0000-0000-000000000001"));
        for id in [
            "",
            "system",
            "00000000-0000-0000-0000-00000000000g",
            "00000000-0000-0000-0000-0000000000011",
        ] {
            assert!(!is_guid(id), "{id}");
        }
    }
}
