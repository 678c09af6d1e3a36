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

#[test]
fn arrows_point_down() {
    for (from, to) in [
        ("platform/lib/rpc", "platform/lib/error"),
        ("platform/lib/telemetry", "platform/lib/service"),
        ("rlp/server", "platform/lib/rpc"),
        ("doppler/server", "doppler/router"),
        ("log-cache/server", "log-cache/query"),
        ("log-cache/query", "log-cache/store"),
        ("", "rlp/server"),
        ("tests/integration", ""),
        ("tests/faults", "tests/testkit"),
        // A newcomer may use what is there, but is used by none before it has a row.
        ("platform/lib/newcomer", "platform/lib/rpc"),
    ] {
        assert!(may_use(from, to), "{from} -> {to}");
    }
    for (from, to) in [
        ("platform/lib/error", "platform/lib/rpc"),
        ("platform/lib/tls", "platform/lib/config"),
        ("platform/lib/rpc", "rlp/server"),
        ("platform/lib/rpc", "platform/lib/newcomer"),
        ("doppler/router", "doppler/server"),
        ("rlp/server", "doppler/router"),
        ("log-cache/store", "log-cache/query"),
        ("rlp/server", ""),
        ("rlp/server", "tests/testkit"),
    ] {
        assert!(!may_use(from, to), "{from} -> {to}");
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

#[test]
fn datafusion_stays_behind_one_crate() {
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

#[test]
fn manifests_have_their_form() {
    assert!(refused("rlp/server", "[dependencies]\nbytes.workspace = true").is_empty());
    assert!(!refused("rlp/server", "[dependencies]\nbytes = \"1\"").is_empty());
    let other = Manifest::parse("rlp/server", "[package]\nname = \"rlp\"").unwrap();
    assert_eq!(violations(&[other]).len(), 2, "name and lints");
    assert!(Manifest::parse("rlp/server", "[workspace]").is_err());
}
