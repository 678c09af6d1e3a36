//! Golden files: the messages of every kind of envelope with every option, and the envelopes that are read back from
//! them.
//!
//! `golden/write/NAME.txt` has the framed output of the formatter, and `golden/write/NAME.json` the envelopes that the
//! mapper reads from it, one in each line. The texts were compared with the output of the original's converter when
//! they were made. `golden/read/NAME.txt` has messages of other senders, one in each line, and `NAME.json` the
//! envelopes that they become. `WEIR_BLESS=1 cargo test -p weir-syslog --test golden` writes the files anew; review the
//! difference before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use weir_envelope::encode::Writer;
use weir_envelope::json::write_envelope;
use weir_envelope::view::{EnvelopeView, Stream};
use weir_syslog::decode::{Decoder, Item};
use weir_syslog::envelope::Mapper;
use weir_syslog::{Formatter, Framing};

struct Case {
    name: &'static str,
    hostname: &'static str,
    metadata: bool,
    framing: Framing,
    build: fn(&mut Writer<'_>),
}

impl Case {
    const fn new(name: &'static str, build: fn(&mut Writer<'_>)) -> Self {
        Self {
            name,
            hostname: "org.space.app",
            metadata: true,
            framing: Framing::OctetCounted,
            build,
        }
    }

    const fn hostname(self, hostname: &'static str) -> Self {
        Self { hostname, ..self }
    }

    const fn bare(self) -> Self {
        Self {
            metadata: false,
            ..self
        }
    }

    const fn framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }
}

const GUID: &str = "7a1b3c5d-0000-4000-8000-00000000cafe";

/// Writes a line of an app as a cell sends it.
fn app(envelope: &mut Writer<'_>) {
    envelope
        .timestamp(1_767_435_072_345_678_901)
        .source_id(GUID)
        .instance_id("3")
        .tags([
            ("source_id", GUID),
            ("instance_id", "3"),
            ("app_id", GUID),
            ("app_name", "my app"),
            ("space_name", "dev_space"),
            ("organization_name", "ACME Inc."),
            ("process_type", "web"),
            ("source_type", "APP/PROC/WEB"),
            ("origin", "rep"),
        ]);
}

/// Writes an envelope that has only a time and a source.
fn plain<'a, 'o>(envelope: &'a mut Writer<'o>) -> &'a mut Writer<'o> {
    envelope.timestamp(12_345_000).source_id("app").instance_id("0")
}

fn log(envelope: &mut Writer<'_>) {
    app(envelope);
    envelope.log(b"GET /index.html 200", Stream::Out);
}

fn counter(envelope: &mut Writer<'_>) {
    app(envelope);
    envelope.counter("requests", 5, 18_446_744_073_709_551_615);
}

fn gauge(envelope: &mut Writer<'_>) {
    app(envelope);
    envelope.gauge(&[
        ("cpu", "percentage", 0.23),
        ("memory", "bytes", 1_073_741_824.0),
        ("zero", "", 0.0),
        ("small", "s", 0.000_012_5),
        ("odd", "", f64::NAN),
        ("most", "", f64::INFINITY),
        ("least", "", f64::NEG_INFINITY),
    ]);
}

fn timer(envelope: &mut Writer<'_>) {
    app(envelope);
    envelope.timer("http", 1_767_435_072_000_000_001, -17);
}

fn event(envelope: &mut Writer<'_>) {
    app(envelope);
    envelope.event("App \"my app\" crashed", "two\nlines with ] and \\");
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        Case::new("log-out", log),
        Case::new("log-err", |e| { app(e); e.log(b"oh no", Stream::Err); }),
        Case::new("log-bare", log).bare(),
        Case::new("log-without-framing", log).framing(Framing::None),
        Case::new("log-lines", |e| { plain(e).log(b"\ttwo\nlines ", Stream::Out); }),
        Case::new("log-lines-newline-framing", |e| { plain(e).log(b"\ttwo\nlines ", Stream::Out); }).framing(Framing::NonTransparent),
        Case::new("log-empty", |e| { plain(e).log(b"", Stream::Out); }),
        Case::new("log-ends-with-newline", |e| { plain(e).log(b"line\n", Stream::Out); }),
        Case::new("log-nuls", |e| { plain(e).log(b"a\0b\0", Stream::Out); }),
        Case::new("log-bytes", |e| { plain(e).log(b"\xff\xfe not UTF-8, \xc3\xa4 is", Stream::Out); }),
        Case::new("log-router", |e| { plain(e).tag("source_type", "RTR").log(b"x", Stream::Out); }),
        Case::new("log-task", |e| { plain(e).tag("source_type", "APP/TASK/my  task -").log(b"x", Stream::Out); }),
        Case::new("log-type-without-instance", |e| { plain(e).instance_id("").tag("source_type", "APP/PROC/WEB").log(b"x", Stream::Out); }),
        Case::new("log-tags-escaped", |e| { plain(e).tags([("b", "\"]\\"), ("a", ""), ("", "no key"), ("c", "ä\n")]).log(b"x", Stream::Out); }),
        Case::new("log-long-names", |e| {
            let long = "n".repeat(300);
            e.timestamp(0).source_id(&long).instance_id(&long);
            e.tags([("source_type", "APP"), ("source_id", &long), ("instance_id", &long), (&long, "v"), ("app_name", &long), ("space_name", &long), ("organization_name", &long)]);
            e.log(b"x", Stream::Out);
        }),
        Case::new("log-instance-with-slash", |e| { plain(e).instance_id("a/b").tag("source_type", "APP").log(b"x", Stream::Out); }),
        Case::new("host-of-binding", |e| { plain(e).log(b"x", Stream::Out); }).hostname("my-org.my-space.my-app"),
        Case::new("host-none", |e| { plain(e).log(b"x", Stream::Out); }).hostname(""),
        Case::new("host-of-one-tag", |e| { plain(e).tag("space_name", " - s p\t- ").log(b"x", Stream::Out); }),
        Case::new("time-second", |e| { plain(e).timestamp(1_000_000_000).log(b"x", Stream::Out); }),
        Case::new("time-tenth", |e| { plain(e).timestamp(951_782_400_100_000_000).log(b"x", Stream::Out); }),
        Case::new("time-before-1970", |e| { plain(e).timestamp(-1).log(b"x", Stream::Out); }),
        Case::new("counter", counter),
        Case::new("counter-bare", counter).bare(),
        Case::new("counter-zero", |e| { plain(e).counter("", 0, 0); }),
        Case::new("gauge", gauge),
        Case::new("gauge-bare", gauge).bare(),
        Case::new("gauge-empty", |e| { plain(e).gauge(&[]); }),
        Case::new("timer", timer),
        Case::new("timer-bare", timer).bare(),
        Case::new("event", event),
        Case::new("event-bare", event).bare(),
        Case::new("event-newline-framing", event).framing(Framing::NonTransparent),
        Case::new("nothing", |e| { plain(e); }),
    ]
}

#[test]
fn written_messages_equal_the_golden_files_and_read_back() {
    let directory = directory("write");
    let mut differences = Vec::new();
    for case in cases() {
        let mut envelope = Vec::new();
        (case.build)(&mut Writer::new(&mut envelope));
        let mut formatter = Formatter::new(case.hostname, case.metadata);
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        formatter
            .write(EnvelopeView::new(&envelope), case.framing, &mut text, &mut ends)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        compare(&directory.join(format!("{}.txt", case.name)), &text, &mut differences);
        // Without framing, the messages of a stream cannot be separated.
        if case.framing != Framing::None {
            let read = read(case.framing, &text);
            compare(
                &directory.join(format!("{}.json", case.name)),
                read.as_bytes(),
                &mut differences,
            );
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn messages_of_other_senders_become_the_golden_envelopes() {
    let directory = directory("read");
    let mut differences = Vec::new();
    let mut texts: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the directory is part of the repository")
        .map(|entry| entry.expect("it is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    texts.sort();
    assert!(!texts.is_empty());
    for path in texts {
        let read = read(Framing::NonTransparent, &fs::read(&path).expect("it is readable"));
        compare(&path.with_extension("json"), read.as_bytes(), &mut differences);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Returns the envelopes and faults of a stream, one in each line.
fn read(framing: Framing, stream: &[u8]) -> String {
    let mut decoder = Decoder::new(framing, 66_560);
    let mut mapper = Mapper::new();
    let mut lines = Vec::new();
    let mut rest = stream;
    while let Some(item) = decoder.next(&mut rest) {
        let mut envelope = Vec::new();
        match item {
            Item::Message(message) => match mapper.map(message, 0, &mut envelope) {
                Ok(()) => write_envelope(&EnvelopeView::new(&envelope), &mut lines),
                Err(error) => lines.extend_from_slice(format!("refused: {error}").as_bytes()),
            },
            Item::Fault(fault) => lines.extend_from_slice(format!("fault: {fault}").as_bytes()),
        }
        lines.push(b'\n');
    }
    assert!(rest.is_empty(), "the stream ends within a message");
    String::from_utf8(lines).expect("JSON is text")
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn compare(path: &Path, found: &[u8], differences: &mut Vec<String>) {
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(path, found).expect("it is writable");
        return;
    }
    let expected = fs::read(path).unwrap_or_default();
    if expected != found {
        differences.push(format!(
            "{}\nexpected: {}\nfound:    {}",
            path.display(),
            String::from_utf8_lossy(&expected).escape_debug(),
            String::from_utf8_lossy(found).escape_debug()
        ));
    }
}
