//! Life cycle: named tasks, health, ordered shutdown, the clock.
