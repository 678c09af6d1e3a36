use std::fs;
use std::path::Path;

use super::{Manifest, check, expected_name, may_use, violations};

/// A crate of `path` whose manifest ends with `dependencies`.
fn manifest(path: &str, dependencies: &str) -> Manifest {
    let name = expected_name(path);
    let text = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{dependencies}");
    Manifest::parse(path, &text).unwrap()
}

/// The violations of crate `path` with `dependencies`, in a workspace that has one crate of each sort.
fn refused(path: &str, dependencies: &str) -> Vec<String> {
    let mut manifests: Vec<Manifest> = [
        "",
        "platform/lib/error",
        "platform/lib/envelope",
        "platform/lib/rpc",
        "doppler/router",
        "rlp/server",
        "log-cache/query",
        "tests/testkit",
    ]
    .into_iter()
    .filter(|other| *other != path)
    .map(|path| manifest(path, ""))
    .collect();
    manifests.push(manifest(path, dependencies));
    violations(&manifests)
}

/// This workspace is as it should be.
#[test]
fn this_workspace_keeps_its_layers() {
    let report = check(&crate::workspace_root()).unwrap();
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
}

/// A workspace in `root` of crates at these paths, each with what follows its name in its manifest.
fn write_workspace(root: &Path, crates: &[(&str, &str)]) {
    let members: Vec<&str> = crates.iter().map(|(path, _)| *path).collect();
    let own = "[package]\nname = \"weir\"\n[lints]\nworkspace = true\n";
    fs::write(
        root.join("Cargo.toml"),
        format!("{own}[workspace]\nmembers = {members:?}\n"),
    )
    .unwrap();
    for (path, dependencies) in crates {
        fs::create_dir_all(root.join(path)).unwrap();
        let name = expected_name(path);
        let text = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{dependencies}");
        fs::write(root.join(path).join("Cargo.toml"), text).unwrap();
    }
}

/// A workspace whose base has a crate that names an envelope, in its sources or in its tests, is refused, and says why.
#[test]
fn a_base_crate_that_names_an_envelope_is_refused() {
    for section in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
        let root = tempfile::tempdir().unwrap();
        let names_envelope = format!("[{section}]\nweir-envelope.workspace = true\n");
        let crates = [
            ("platform/lib/envelope", ""),
            ("platform/lib/net", names_envelope.as_str()),
        ];
        write_workspace(root.path(), &crates);
        assert_eq!(
            check(root.path()).unwrap().violations,
            ["`platform/lib/net` depends on `platform/lib/envelope`: the base knows no envelope"]
        );
        let mended = crates.map(|(path, _)| (path, ""));
        write_workspace(root.path(), &mended);
        assert!(check(root.path()).unwrap().violations.is_empty());
    }
}

#[test]
fn arrows_point_down() {
    for (from, to) in [
        ("platform/lib/net", "platform/lib/error"),
        ("platform/lib/auth", "platform/lib/jose"),
        ("platform/lib/rpc", "platform/lib/flow"),
        // The log column may use all of the base.
        ("platform/lib/envelope", "platform/lib/error"),
        ("platform/lib/proto", "platform/lib/component"),
        ("rlp/server", "platform/lib/rpc"),
        ("platform/uaa", "platform/lib/net"),
        ("doppler/server", "doppler/router"),
        ("log-cache/server", "log-cache/query"),
        ("log-cache/query", "log-cache/store"),
        ("agents/syslog", "agents/lib"),
        ("", "rlp/server"),
        ("tests/integration", ""),
        ("tests/faults", "tests/testkit"),
        // A newcomer may use what is there, and services may use it.
        ("platform/lib/bbs-api", "platform/lib/net"),
        ("platform/rep", "platform/lib/bbs-api"),
    ] {
        assert_eq!(may_use(from, to), Ok(()), "{from} -> {to}");
    }
    for (from, to, reason) in [
        ("platform/lib/error", "platform/lib/net", "points up"),
        ("platform/lib/tls", "platform/lib/service", "points up"),
        ("platform/lib/flow", "platform/lib/rpc", "points up"),
        ("platform/lib/rpc", "rlp/server", "points up"),
        // A newcomer is used by no other crate of the base before it has a row.
        ("platform/lib/net", "platform/lib/bbs-api", "points up"),
        ("doppler/router", "doppler/server", "points up"),
        ("log-cache/store", "log-cache/query", "points up"),
        ("agents/syslog", "agents/forwarder", "points up"),
        ("rlp/server", "", "points up"),
        ("rlp/server", "tests/testkit", "points up"),
        ("platform/lib/service", "platform/lib/flow", "knows no envelope"),
        ("platform/lib/bbs-api", "platform/lib/proto", "knows no envelope"),
        ("platform/uaa", "platform/lib/flow", "knows no envelope"),
        ("rlp/server", "doppler/router", "services meet"),
        ("platform/rep", "platform/bbs", "services meet"),
        ("rlp/server", "platform/uaa", "services meet"),
    ] {
        let refused = may_use(from, to).unwrap_err();
        assert!(refused.contains(reason), "{from} -> {to}: {refused}");
    }
}

#[test]
fn the_testkit_is_for_tests() {
    assert!(refused("rlp/server", "[dev-dependencies]\nweir-testkit.workspace = true").is_empty());
    assert!(!refused("rlp/server", "[dependencies]\nweir-testkit.workspace = true").is_empty());
    assert!(refused("tests/bench", "[dependencies]\nweir-testkit.workspace = true").is_empty());
    assert!(
        !refused(
            "rlp/server",
            "[target.'cfg(unix)'.dependencies]\nweir-testkit.workspace = true"
        )
        .is_empty()
    );
}

/// A crate that names itself turns a feature on for its tests; anything else that names itself is a mistake.
#[test]
fn a_crate_may_name_itself_for_its_tests() {
    let itself = "weir-rpc = { workspace = true, features = [\"testing\"] }";
    assert!(refused("platform/lib/rpc", &format!("[dev-dependencies]\n{itself}")).is_empty());
    assert!(!refused("platform/lib/rpc", &format!("[dependencies]\n{itself}")).is_empty());
}

/// Each library that has an owner is named by its owner, and by no other crate, whatever it is called there.
#[test]
fn owned_libraries_stay_behind_one_crate() {
    for (owner, library) in [
        ("platform/lib/db", "sqlx"),
        ("platform/lib/blobstore", "object_store"),
        ("platform/lib/nats-client", "async-nats"),
        ("platform/lib/config", "serde_yaml_ng"),
        ("platform/lib/config", "saphyr-parser"),
        ("platform/sshd", "russh"),
    ] {
        let names = format!("[dependencies]\n{library}.workspace = true");
        assert_eq!(refused(owner, &names), [""; 0]);
        assert!(!refused("rlp/server", &names).is_empty(), "{library}");
    }

    assert!(refused("log-cache/query", "[dependencies]\ndatafusion = { workspace = true }").is_empty());
    assert!(!refused("rlp/server", "[dependencies]\ndatafusion-expr.workspace = true").is_empty());
    assert!(
        !refused(
            "rlp/server",
            "[dependencies]\nengine = { workspace = true, package = \"datafusion\" }"
        )
        .is_empty()
    );
}

/// A pure crate may name a runtime for its tests, and nothing else that does input or output.
#[test]
fn pure_crates_do_no_input_and_output() {
    for package in ["tokio", "tokio-util", "weir-net", "hyper"] {
        let named = format!("{package}.workspace = true");
        assert!(!refused("doppler/router", &format!("[dependencies]\n{named}")).is_empty());
        assert!(refused("rlp/server", &format!("[dependencies]\n{named}")).is_empty());
        assert!(refused("doppler/router", &format!("[dev-dependencies]\n{named}")).is_empty());
    }
}

#[test]
fn manifests_have_their_form() {
    assert!(refused("rlp/server", "[dependencies]\nbytes.workspace = true").is_empty());
    assert!(!refused("rlp/server", "[dependencies]\nbytes = \"1\"").is_empty());
    let other = Manifest::parse("rlp/server", "[package]\nname = \"rlp\"").unwrap();
    assert_eq!(violations(&[other]).len(), 2, "name and lints");
    assert!(Manifest::parse("rlp/server", "[workspace]").is_err());
}
