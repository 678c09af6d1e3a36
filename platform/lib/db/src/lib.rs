//! One database layer for SQLite, PostgreSQL and MySQL.
