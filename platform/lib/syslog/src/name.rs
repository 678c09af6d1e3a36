//! Makes HOSTNAME and PROCID from the names of organisations, spaces, apps and source types (logging §13).

/// The longest part of a host name, in bytes.
const PART: usize = 63;

/// The longest PROCID that RFC 5424 allows, in bytes.
pub(crate) const MAX_PROCESS_ID: usize = 128;

/// Returns the host name of an app: organisation, space and app, each sanitised and cut to 63 bytes, joined by dots.
#[must_use]
pub fn hostname(org: &str, space: &str, app: &str) -> String {
    let mut out = Vec::with_capacity(org.len() + space.len() + app.len() + 2);
    put_hostname(&mut out, org, space, app);
    ascii(out)
}

/// Returns one part of a host name: each run of whitespace becomes a dash, other characters than ASCII letters, digits
/// and dashes are removed, trailing dashes too, and the result is cut to 63 bytes.
#[must_use]
pub fn sanitize_host_part(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    put_host_part(&mut out, name);
    ascii(out)
}

fn ascii(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("only ASCII is kept")
}

pub(crate) fn put_hostname(out: &mut Vec<u8>, org: &str, space: &str, app: &str) {
    put_host_part(out, org);
    out.push(b'.');
    put_host_part(out, space);
    out.push(b'.');
    put_host_part(out, app);
}

fn put_host_part(out: &mut Vec<u8>, name: &str) {
    let start = out.len();
    put_sanitized(out, name, |byte| byte == b'-' || byte.is_ascii_alphanumeric());
    out.truncate(out.len().min(start + PART));
}

/// Appends the PROCID of a log line: `[TYPE/INSTANCE]`, or `[TYPE]` without an instance, cut to 128 bytes by shortening
/// the instance.
pub(crate) fn put_process_id(out: &mut Vec<u8>, source_type: &str, instance_id: &str) {
    let start = out.len();
    out.push(b'[');
    put_sanitized(out, source_type, |byte| byte.is_ascii_graphic());
    out[start + 1..].make_ascii_uppercase();
    if instance_id.is_empty() {
        out.push(b']');
        out.truncate(out.len().min(start + MAX_PROCESS_ID));
    } else {
        // The original panics at a type that leaves no room for the instance; here the type is cut.
        out.truncate(out.len().min(start + MAX_PROCESS_ID - 2));
        out.push(b'/');
        let room = MAX_PROCESS_ID - 1 - (out.len() - start);
        out.extend_from_slice(&instance_id.as_bytes()[..instance_id.len().min(room)]);
        out.push(b']');
    }
}

/// Appends the PROCID of an envelope that is not a log: `[INSTANCE]`, cut to 128 bytes.
pub(crate) fn put_metric_process_id(out: &mut Vec<u8>, instance_id: &str) {
    let start = out.len();
    out.push(b'[');
    out.extend_from_slice(&instance_id.as_bytes()[..instance_id.len().min(MAX_PROCESS_ID)]);
    out.push(b']');
    out.truncate(out.len().min(start + MAX_PROCESS_ID));
}

/// Appends `name` with each run of whitespace replaced by one dash, without the bytes for which `keep` is false, and
/// without trailing dashes.
fn put_sanitized(out: &mut Vec<u8>, name: &str, keep: impl Fn(u8) -> bool) {
    let start = out.len();
    let mut in_space = false;
    for byte in name.bytes() {
        // `\s` in the original's regular expressions: ASCII whitespace without the vertical tab.
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c);
        if space && !in_space {
            out.push(b'-');
        } else if !space && keep(byte) {
            out.push(byte);
        }
        in_space = space;
    }
    while out.len() > start && out.last() == Some(&b'-') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process_id(source_type: &str, instance_id: &str) -> String {
        let mut out = b"before ".to_vec();
        put_process_id(&mut out, source_type, instance_id);
        ascii(out.split_off(7))
    }

    #[test]
    fn host_names_have_three_sanitised_parts() {
        for (parts, expected) in [
            (["some-org", "some-space", "some-app"], "some-org.some-space.some-app"),
            (["some_org", "some space", "some_app--"], "someorg.some-space.someapp"),
            (["a \t b", " c ", "d\u{b} e"], "a-b.-c.d-e"),
            (["a \u{1} b", "ä", "-"], "a--b.."),
            (["", "", ""], ".."),
        ] {
            assert_eq!(hostname(parts[0], parts[1], parts[2]), expected);
        }
        let long = hostname(&"a".repeat(100), &format!("{}- ", "b".repeat(62)), &"c".repeat(63));
        // Trailing dashes are removed before the cut, not after it.
        assert_eq!(
            long,
            format!("{}.{}.{}", "a".repeat(63), "b".repeat(62), "c".repeat(63))
        );
        assert_eq!(sanitize_host_part(&format!("{}-b", "a".repeat(62))).len(), 63);
    }

    #[test]
    fn process_ids_are_type_and_instance() {
        for (source_type, instance_id, expected) in [
            ("MY TASK", "2", "[MY-TASK/2]"),
            ("app/proc/web", "0", "[APP/PROC/WEB/0]"),
            ("RTR", "", "[RTR]"),
            ("", "", "[]"),
            ("", "1", "[/1]"),
            ("TASK/こんにちは", "2", "[TASK//2]"),
            ("a\u{b}b-- ", "x", "[AB/x]"),
        ] {
            assert_eq!(process_id(source_type, instance_id), expected);
        }
    }

    /// Up to a type of 125 bytes the instance is shortened, as in the original; beyond that the type is cut, where the
    /// original panics.
    #[test]
    fn process_ids_are_cut_to_128() {
        let long = "i".repeat(300);
        assert_eq!(process_id("MY TASK", &long), format!("[MY-TASK/{}]", "i".repeat(118)));
        for len in [124, 125, 126, 127, 300] {
            let cut = process_id(&"t".repeat(len), &long);
            assert_eq!(cut.len(), 128);
            let kept = len.min(125);
            assert_eq!(cut, format!("[{}/{}]", "T".repeat(kept), "i".repeat(125 - kept)));
        }
        assert_eq!(process_id(&"t".repeat(126), ""), format!("[{}]", "T".repeat(126)));
        assert_eq!(process_id(&"t".repeat(127), ""), format!("[{}", "T".repeat(127)));
        let mut metric = Vec::new();
        put_metric_process_id(&mut metric, &long);
        assert_eq!(ascii(metric), format!("[{}", "i".repeat(127)));
    }
}
