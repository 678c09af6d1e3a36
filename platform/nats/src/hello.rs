//! `INFO` and `CONNECT`: what a server and a client say of themselves.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The server whose core protocol is spoken here: clients decide by the version what they may use.
const VERSION: &str = "2.15.0";

/// The version of the protocol in which servers send `INFO` again when something changes.
pub(crate) const DYNAMIC: u8 = 1;

/// What the server says of itself.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Info {
    pub(crate) server_id: String,
    pub(crate) server_name: String,
    pub(crate) version: &'static str,
    pub(crate) proto: u8,
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) headers: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) tls_verify: bool,
    pub(crate) max_payload: usize,
    pub(crate) client_id: u64,
    pub(crate) client_ip: Option<IpAddr>,
    /// Whether the server is about to stop.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) ldm: bool,
}

impl Info {
    /// The server at this address, with a new id.
    pub(crate) fn new(address: SocketAddr, max_payload: usize) -> Self {
        let server_id = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
        Self {
            server_name: "weir".to_owned(),
            server_id,
            version: VERSION,
            proto: DYNAMIC,
            host: address.ip(),
            port: address.port(),
            headers: true,
            auth_required: false,
            tls_required: false,
            tls_verify: false,
            max_payload,
            client_id: 0,
            client_ip: None,
            ldm: false,
        }
    }

    /// The line for one client.
    pub(crate) fn line(&self, client_id: u64, client: IpAddr) -> Vec<u8> {
        let info = Self {
            client_id,
            client_ip: Some(client.to_canonical()),
            ..self.clone()
        };
        let json = serde_json::to_string(&info).expect("texts, numbers and addresses have a form in JSON");
        format!("INFO {json}\r\n").into_bytes()
    }
}

/// What a client says of itself. What it leaves out is as before its first `CONNECT`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Connect {
    /// Whether each operation is answered by `+OK`.
    #[serde(deserialize_with = "yes_or_given")]
    pub(crate) verbose: bool,
    /// Whether subjects of messages are checked.
    #[serde(deserialize_with = "yes_or_given")]
    pub(crate) pedantic: bool,
    /// Whether the client gets its own messages.
    #[serde(deserialize_with = "yes_or_given")]
    pub(crate) echo: bool,
    /// Whether the client takes headers.
    pub(crate) headers: bool,
    /// Whether the client is told that a request has no responder.
    pub(crate) no_responders: bool,
    /// The version of the protocol.
    pub(crate) protocol: u8,
    /// The user, where the server asks for one.
    pub(crate) user: Option<String>,
    /// The password of the user.
    pub(crate) pass: Option<String>,
    /// The name of the client, for logs.
    pub(crate) name: Option<String>,
    /// The language of the client's library, for logs.
    pub(crate) lang: Option<String>,
    /// The version of the client's library, for logs.
    pub(crate) version: Option<String>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            user: None,
            pass: None,
            name: None,
            lang: None,
            version: None,
        }
    }
}

fn yes_or_given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(|given| given.unwrap_or(true))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The line has the names that clients look for, and says nothing of what the server does not have.
    #[test]
    fn the_info_line_is_what_clients_read() {
        let info = Info::new("127.0.0.1:4224".parse().expect("an address"), 1024);
        let line = info.line(7, "::ffff:10.0.0.1".parse().expect("an address"));
        let json = line
            .strip_prefix(b"INFO ")
            .and_then(|rest| rest.strip_suffix(b"\r\n"))
            .expect("a line");
        let json: Value = serde_json::from_slice(json).expect("JSON");
        assert_eq!(json["host"], "127.0.0.1");
        assert_eq!(
            (&json["port"], &json["proto"], &json["max_payload"]),
            (&4224.into(), &1.into(), &1024.into())
        );
        assert_eq!(
            (&json["client_id"], &json["client_ip"]),
            (&7.into(), &"10.0.0.1".into())
        );
        assert_eq!(json["headers"], true);
        for absent in [
            "auth_required",
            "tls_required",
            "tls_verify",
            "ldm",
            "jetstream",
            "connect_urls",
        ] {
            assert_eq!(json.get(absent), None, "{absent}");
        }
    }

    /// A client that says nothing is verbose, pedantic and gets its own messages, as nats-server has it.
    #[test]
    fn an_empty_connect_has_defaults() {
        for text in ["{}", r#"{"verbose":null,"lang":null,"unknown":[1]}"#] {
            let connect: Connect = serde_json::from_str(text).expect("JSON");
            assert!(connect.verbose && connect.pedantic && connect.echo && !connect.headers && !connect.no_responders);
        }
        let connect: Connect =
            serde_json::from_str(r#"{"verbose":false,"echo":false,"protocol":1,"headers":true}"#).expect("JSON");
        assert!(!connect.verbose && connect.pedantic && !connect.echo && connect.headers);
        assert_eq!(connect.protocol, DYNAMIC);
        assert!(serde_json::from_str::<Connect>("[").is_err());
    }
}
