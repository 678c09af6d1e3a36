//! The checked-in bindings are what the `.proto` files give.

use std::{collections::BTreeMap, fs, path::Path};

use weir_xtask::{proto, workspace_root};

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// Generates into an empty directory: file for file and byte for byte, that is what the crate has.
#[test]
fn bindings_are_current() {
    let crate_dir = workspace_root().join(proto::CRATE);
    let scratch = tempfile::tempdir().unwrap();
    proto::generate(&crate_dir.join(proto::SOURCES), scratch.path()).unwrap();
    let (fresh, kept) = (contents(scratch.path()), contents(&crate_dir.join(proto::GENERATED)));
    assert_eq!(
        fresh.keys().collect::<Vec<_>>(),
        kept.keys().collect::<Vec<_>>(),
        "run `cargo run -p weir-xtask -- proto`"
    );
    for (name, bytes) in &fresh {
        assert!(
            kept[name] == *bytes,
            "`{name}` is not what its sources give: run `cargo run -p weir-xtask -- proto`"
        );
    }
}
