//! Generates the bindings of `weir-proto`: protox parses, prost and tonic write. No protoc is needed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The crate that holds sources and bindings, relative to the workspace root.
pub const CRATE: &str = "platform/lib/proto";
/// Where the `.proto` files are, relative to the crate.
pub const SOURCES: &str = "proto";
/// Where the bindings are, relative to the crate.
pub const GENERATED: &str = "src/generated";

/// Generates bindings of every `.proto` file below `sources` into the directory `out`, one file per protobuf package.
///
/// Returns the names of the files written, sorted. The same sources always give the same bytes.
///
/// # Errors
/// When a source cannot be read or parsed, or `out` cannot be written.
pub fn generate(sources: &Path, out: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    collect(sources, &mut files).with_context(|| format!("sources `{}`", sources.display()))?;
    files.sort();
    fs::create_dir_all(out).with_context(|| format!("output `{}`", out.display()))?;
    let generator = || tonic_prost_build::configure().out_dir(out).btree_map(".").bytes(".");
    // What imports another package names it by the module that the crate's root gives it; an external package is not
    // written, so the second run is for those that are imported.
    let (importing, imported): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| {
        file.strip_prefix(sources)
            .is_ok_and(|file| file.starts_with("logcache"))
    });
    generator()
        .extern_path(".loggregator.v2", "crate::loggregator_v2")
        .compile_fds(protox::compile(importing, [sources])?)
        .context("code generation")?;
    generator()
        .compile_fds(protox::compile(imported, [sources])?)
        .context("code generation")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(out)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
