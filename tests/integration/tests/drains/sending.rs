//! Makes and sends envelopes for the tests of drains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message as _;
use weir_envelope::batch::BatchBuilder;
use weir_proto::loggregator_v2::{Envelope, Log, envelope::Message, log};
use weir_testkit::Emitter;

/// The first time stamp in nanoseconds since 1970. Its fraction of a second ends in zeros.
pub(super) const START: i64 = 1_767_435_072_500_000_000;

/// Returns an envelope of `app` with these tags.
pub(super) fn envelope(app: &str, timestamp: i64, tags: &[(&str, &str)], message: Message) -> Envelope {
    Envelope {
        timestamp,
        source_id: app.to_owned(),
        instance_id: "0".to_owned(),
        tags: tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        message: Some(message),
        ..Envelope::default()
    }
}

/// Returns a log line of `app`.
pub(super) fn line(app: &str, timestamp: i64, tags: &[(&str, &str)], payload: &[u8], kind: log::Type) -> Envelope {
    let log = Log {
        payload: payload.to_vec().into(),
        r#type: kind.into(),
    };
    envelope(app, timestamp, tags, Message::Log(log))
}

/// Sends all envelopes in order.
pub(super) async fn send(emitter: &Emitter, envelopes: &[Envelope]) -> anyhow::Result<()> {
    for batch in envelopes.chunks(100) {
        let mut builder = BatchBuilder::new();
        for envelope in batch {
            builder.push(&envelope.encode_to_vec());
        }
        emitter.send(&builder.finish()).await?;
    }
    Ok(())
}

/// The lines of each file, with its name.
pub(super) type Files = Vec<(String, Vec<Vec<u8>>)>;

/// Returns the Loghub samples, if they are on this machine.
pub(super) fn loghub() -> anyhow::Result<Option<Files>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3);
    let beside = beside.map(|folder| folder.join("shared/data/loghub"));
    let Some(folder) = std::env::var_os("WEIR_LOGHUB").map(PathBuf::from).or(beside) else {
        return Ok(None);
    };
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut files = Files::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "log") {
            let name = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default();
            let text = std::fs::read(&path)?;
            let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if lines.last().is_some_and(Vec::is_empty) {
                lines.pop();
            }
            files.push((name, lines));
        }
    }
    files.sort();
    Ok(Some(files))
}
