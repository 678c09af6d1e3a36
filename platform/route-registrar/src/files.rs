//! Routes in files, which are found by patterns and may come, change and go at any time.
//!
//! ```yaml
//! routes:
//! - name: api
//!   uris: [api.example.com]
//!   port: 8080
//!   registration_interval: 20s
//! ```
//!
//! A file is YAML or JSON. A route that is not valid is left out and reported, and so is a key that is not known, whose
//! route is kept: a job of a newer release may write it. A file that cannot be read keeps its last routes.

mod fit;
mod look;

use serde::{Deserialize, Serialize};
use weir_config::yaml::{self, YamlError};

use crate::route::{Defaults, RawRoute, Route};

pub(crate) use look::Files;

/// A file of routes as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteFile {
    /// The routes.
    pub routes: Vec<RawRoute>,
}

/// The routes of a file that can be registered, and what is wrong with the others.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) routes: Vec<Route>,
    pub(crate) problems: Vec<String>,
}

/// A file whose routes may have unknown keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Loose {
    routes: Option<Vec<serde_json::Value>>,
}

/// Reads the text of a file.
pub(crate) fn read(text: &str, defaults: &Defaults) -> Result<Found, YamlError> {
    if text.trim().is_empty() {
        // Nobody writes such a file; a full or broken disk leaves one.
        return Err(YamlError::new("it is empty; `routes: []` is a file without routes"));
    }
    let mut found = Found::default();
    let loose: Loose = yaml::read(text)?;
    for (index, value) in loose.routes.unwrap_or_default().into_iter().enumerate() {
        let (value, unknown) = fit::fit::<RawRoute>(value);
        let name = match value.get("name").and_then(serde_json::Value::as_str) {
            Some(name) if !name.is_empty() => format!("route `{name}`"),
            _ => format!("route {index}"),
        };
        for key in unknown {
            found
                .problems
                .push(format!("{name}: `{key}` is not known, and ignored"));
        }
        let raw = match serde_json::from_value::<RawRoute>(value) {
            Ok(raw) => raw,
            Err(error) => {
                found.problems.push(format!("{name}: {error}"));
                continue;
            }
        };
        match Route::new(&raw, defaults) {
            Ok(route) => found.routes.push(route),
            Err(problems) => {
                let text = |problem: &weir_config::Problem| format!("{name}: {problem}");
                found.problems.extend(problems.iter().map(text));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            host: "10.0.0.7".to_owned(),
        }
    }

    /// The form that jobs write is read, in YAML and in JSON. Texts may look like numbers.
    #[test]
    fn the_files_of_jobs_are_read() {
        let yaml = "---\nroutes:\n- name: 7\n  uris: [a.example.com]\n  port: 8080\n  tags: {version: 2, on: true, no: ~}\n  \
                    registration_interval: 20s\n  health_check: {name: h, script_path: /bin/check, timeout: 1s}\n";
        let found = read(yaml, &defaults()).unwrap();
        assert_eq!(found.problems, Vec::<String>::new());
        let route = &found.routes[0];
        assert_eq!((route.name.as_str(), route.host.as_str()), ("7", "10.0.0.7"));
        assert_eq!(route.tags["version"], "2");
        assert_eq!(route.tags["on"], "true");
        let json = r#"{"routes": [{"name": "7", "uris": ["a.example.com"], "port": 8080, "registration_interval": "20s",
            "tags": {"version": "2", "on": "true"}, "health_check": {"name": "h", "script_path": "/bin/check", "timeout": "1s"}}]}"#;
        assert_eq!(read(json, &defaults()).unwrap().routes, found.routes);
        assert!(read("routes: []\n", &defaults()).unwrap().routes.is_empty());
        assert!(read("routes:\n", &defaults()).unwrap().routes.is_empty());
        assert!(read("routes: [", &defaults()).is_err() && read("\n", &defaults()).is_err());
    }

    /// One bad route does not take the others along, and an unknown key does not take its route along.
    #[test]
    fn a_bad_route_is_left_out() {
        let yaml = "routes:\n- {name: bad, uris: [b.example.com], port: 0, registration_interval: 20s}\n\
                    - {name: worse, uris: [c.example.com], port: http, registration_interval: 20s}\n\
                    - {name: good, uris: [a.example.com], port: 1, registration_interval: 20s, options: {newer: 1}, later: 2}\n";
        let found = read(yaml, &defaults()).unwrap();
        let names: Vec<&str> = found.routes.iter().map(|route| route.name.as_str()).collect();
        assert_eq!(names, ["good"]);
        let text = found.problems.join("\n");
        for part in [
            "route `bad`: `port`",
            "route `worse`: ",
            "`options.newer` is not",
            "`later` is not",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
