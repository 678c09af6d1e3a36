//! Error kinds and hints shared by every component.
