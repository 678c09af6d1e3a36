//! The checked-in bindings are what the `.proto` files give.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use weir_xtask::{proto, workspace_root};

fn contents(directory: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    fs::read_dir(directory)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), fs::read(entry.path())?))
        })
        .collect()
}

/// Generates into an empty directory: file for file and byte for byte, that is what the crate has.
#[test]
fn bindings_are_current() {
    let crate_dir = workspace_root().join(proto::CRATE);
    let scratch = tempfile::tempdir().unwrap();
    proto::generate(&crate_dir.join(proto::SOURCES), scratch.path()).unwrap();
    let fresh = contents(scratch.path()).unwrap();
    let kept = contents(&crate_dir.join(proto::GENERATED)).unwrap();
    assert!(
        fresh.keys().eq(kept.keys()),
        "other files: run `cargo run -p weir-xtask -- proto`"
    );
    for (name, bytes) in &fresh {
        assert!(
            kept[name] == *bytes,
            "{name:?} has changed: run `cargo run -p weir-xtask -- proto`"
        );
    }
}
