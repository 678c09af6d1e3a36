//! The names of HTTP methods and peer types in v1 HTTP events.

/// The names of `events.Method`. The number of a method is its position plus one.
const METHODS: [&str; 44] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "ACL",
    "BASELINE_CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DEBUG",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SHOWMETHOD",
    "SPACEJUMP",
    "TEXTSEARCH",
    "TRACE",
    "TRACK",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION_CONTROL",
];

/// The names of `events.PeerType`. The number of a peer type is its position plus one.
const PEER_TYPES: [&str; 2] = ["Client", "Server"];

/// Returns the number of a request method.
pub(super) fn method_number(name: &str) -> Option<u64> {
    number(&METHODS, name)
}

/// Returns the name of a request method.
pub(super) fn method_name(number: i32) -> Option<&'static str> {
    name(&METHODS, number)
}

/// Returns the number of a peer type.
pub(super) fn peer_type_number(name: &str) -> Option<u64> {
    number(&PEER_TYPES, name)
}

/// Returns the name of a peer type.
pub(super) fn peer_type_name(number: i32) -> Option<&'static str> {
    name(&PEER_TYPES, number)
}

fn number(names: &[&str], name: &str) -> Option<u64> {
    names
        .iter()
        .position(|known| *known == name)
        .map(|index| index as u64 + 1)
}

fn name(names: &[&'static str], number: i32) -> Option<&'static str> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    names.get(index).copied()
}
