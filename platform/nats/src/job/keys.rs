//! The keys of the original's configuration file.

use std::time;

use weir_config::{ByteSize, Duration, Secret};

use super::conf::{Value, parse};
use super::{ELSEWHERE, Job, JobError, not_served, port};

/// Keys that have no effect here.
const PASSED_OVER: &[&str] = &[
    "server_name",
    "client_advertise",
    "prof_port",
    "http",
    "http_port",
    "https",
    "https_port",
    "http_base_path",
    "debug",
    "trace",
    "trace_verbose",
    "logtime",
    "logtime_utc",
    "log_file",
    "logfile",
    "log_size_limit",
    "log_max_num",
    "syslog",
    "remote_syslog",
    "pidfile",
    "pid_file",
    "ports_file_dir",
    "max_traced_msg_len",
    "connect_error_reports",
    "reconnect_error_reports",
    "no_sys_acc",
    "disable_sublist_cache",
    "lame_duck_grace_period",
    "system_account",
];

/// Keys whose effect would be another one here.
const REFUSED: &[(&str, &str)] = &[
    ("accounts", "there is one account"),
    ("operator", "there are no tokens"),
    ("resolver", "there are no tokens"),
    ("gateway", "there is one node only"),
    ("leafnodes", "there is one node only"),
    ("leaf", "there is one node only"),
    ("jetstream", "messages are not stored"),
    ("mqtt", "clients speak NATS"),
    ("websocket", "clients speak NATS"),
    ("mappings", "subjects are not changed"),
    ("no_auth_user", "who has no user is not let in where there is one"),
];

impl Job {
    /// Takes all keys of a file.
    pub(super) fn take_file(&mut self, text: &str) -> Result<(), JobError> {
        for (key, value) in parse(text)? {
            self.take_key(&key, value)?;
        }
        Ok(())
    }

    fn take_key(&mut self, key: &str, value: Value) -> Result<(), JobError> {
        match key {
            "net" | "host" | "addr" => self.host = Some(text(key, value)?),
            "port" => self.port = Some(port(key, &text(key, value)?)?),
            "listen" => {
                let address = text(key, value)?;
                let (host, number) = address.rsplit_once(':').unwrap_or(("0.0.0.0", &address));
                self.port = Some(port(key, number)?);
                self.host = Some(host.to_owned());
            }
            "authorization" => self.take_table(key, value, Self::take_authorization)?,
            "tls" => self.take_table(key, value, Self::take_tls)?,
            "cluster" => self.take_table(key, value, Self::take_cluster)?,
            "write_deadline" => self.config.write_deadline = duration(key, &text(key, value)?)?,
            "ping_interval" => self.config.ping_interval = duration(key, &text(key, value)?)?,
            "ping_max" => self.config.max_pings_out = number(key, &text(key, value)?)?,
            "lame_duck_duration" => self.config.lame_duck = duration(key, &text(key, value)?)?,
            "max_payload" => self.config.max_payload = size(key, &text(key, value)?)?,
            "max_control_line" => self.config.max_control_line = size(key, &text(key, value)?)?,
            "max_pending" | "max_pending_size" => {
                self.config.max_pending = size(key, &text(key, value)?)?;
                self.config.max_pending_total = self.config.max_pending_total.max(self.config.max_pending);
            }
            "max_connections" => {
                self.config.port.connections = number(key, &text(key, value)?)?;
            }
            "max_subscriptions" => match number(key, &text(key, value)?)? {
                0 => self.passed_over.push((key.to_owned(), "there is always a limit")),
                most => self.config.max_subscriptions = most,
            },
            _ => self.take_other(key)?,
        }
        Ok(())
    }

    fn take_other(&mut self, key: &str) -> Result<(), JobError> {
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
            return Err(not_served(key, reason));
        }
        if !PASSED_OVER.contains(&key) {
            return Err(JobError::UnknownKey(key.to_owned()));
        }
        self.passed_over.push((key.to_owned(), ELSEWHERE));
        Ok(())
    }

    fn take_table(
        &mut self,
        key: &str,
        value: Value,
        take: fn(&mut Self, &str, &str, Value) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let Value::Table(table) = value else {
            return Err(JobError::Value {
                key: key.to_owned(),
                value: "no table".to_owned(),
                expected: "a table",
            });
        };
        for (name, value) in table {
            take(self, &format!("{key}.{name}"), &name, value)?;
        }
        Ok(())
    }

    fn take_authorization(&mut self, key: &str, name: &str, value: Value) -> Result<(), JobError> {
        match name {
            "user" | "username" => self.config.user = Some(text(key, value)?),
            "pass" | "password" => self.config.password = Some(Secret::new(text(key, value)?)),
            "timeout" => self.config.auth_timeout = duration(key, &text(key, value)?)?,
            "token" | "users" | "auth_callout" | "default_permissions" => {
                return Err(not_served(key, "there is one user with a password"));
            }
            _ => return Err(JobError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    fn take_tls(&mut self, key: &str, name: &str, value: Value) -> Result<(), JobError> {
        match name {
            "cert_file" => self.tls.cert = Some(text(key, value)?.into()),
            "key_file" => self.tls.key = Some(text(key, value)?.into()),
            "ca_file" => self.tls.ca = Some(text(key, value)?.into()),
            "verify" => self.tls.verify = text(key, value)? == "true",
            "timeout" | "cipher_suites" | "curve_preferences" | "min_version" => {
                let reason = "TLS 1.2 and 1.3 with the suites of this program, within the time for authentication";
                self.passed_over.push((key.to_owned(), reason));
            }
            "insecure" | "verify_and_map" | "verify_cert_and_check_known_urls" | "handshake_first" | "pinned_certs" => {
                return Err(not_served(key, "certificates are verified by their CA, behind `INFO`"));
            }
            _ => return Err(JobError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    fn take_cluster(&mut self, key: &str, name: &str, value: Value) -> Result<(), JobError> {
        match (name, value) {
            ("routes", Value::List(routes)) => self.take_routes(key, routes.len()),
            _ => {
                self.passed_over.push((key.to_owned(), "there is one node only"));
                Ok(())
            }
        }
    }
}

fn text(key: &str, value: Value) -> Result<String, JobError> {
    match value {
        Value::Text(text) => Ok(text),
        Value::List(_) | Value::Table(_) => Err(JobError::Value {
            key: key.to_owned(),
            value: "a list or a table".to_owned(),
            expected: "one value",
        }),
    }
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, JobError> {
    value.parse().map_err(|_| JobError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: "a number",
    })
}

/// A duration such as `2s`, or a number of seconds.
fn duration(key: &str, value: &str) -> Result<Duration, JobError> {
    let seconds = value.parse().ok();
    let seconds = seconds.and_then(|seconds| time::Duration::try_from_secs_f64(seconds).ok());
    let duration = seconds.map(Duration::from).or_else(|| value.parse().ok());
    duration.ok_or_else(|| JobError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: "a duration such as `2s`",
    })
}

/// A number of bytes, with one of the original's units: `1k` is 1000, `1kb` is 1024.
fn size(key: &str, value: &str) -> Result<ByteSize, JobError> {
    let digits = value.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let factor: Option<u64> = match value[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" => Some(1000),
        "kb" | "ki" | "kib" => Some(1 << 10),
        "m" => Some(1_000_000),
        "mb" | "mi" | "mib" => Some(1 << 20),
        "g" => Some(1_000_000_000),
        "gb" | "gi" | "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(factor);
    let bytes = bytes.and_then(|(number, factor)| number.checked_mul(factor));
    bytes.map(ByteSize::new).ok_or_else(|| JobError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: "a size such as `1mb`",
    })
}
