//! TOML, environment and flags into validated values, all problems at once.
