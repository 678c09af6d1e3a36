# Daily chores. `just` alone lists them.

_list:
    @just --list --unsorted

# Start a stack from source
up *ARGS:
    cargo run -- up {{ARGS}}

# Everything that needs no other tool
test *ARGS:
    cargo test --workspace {{ARGS}}

# Lints and formatting, as CI checks them
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Format the code
fmt:
    cargo fmt --all

# Regenerate the protobuf bindings from platform/lib/proto/proto
proto:
    cargo run -p weir-xtask -- proto

# Who depends on whom
structure:
    cargo run -p weir-xtask -- structure-check

# Licences, sources, advisories (needs cargo-deny)
deny:
    cargo deny --workspace check

# Dependencies that nobody uses (needs cargo-shear)
unused:
    cargo shear

# The API documentation of the workspace
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# What CI runs
ci:
    .ci/run
