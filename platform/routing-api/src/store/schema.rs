//! The tables.

use weir_db::Migration;

pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "router groups, routes, the lock",
    statements: &[
        "create table routing_router_groups (guid {id} primary key, name {id} not null, kind {id} not null, \
         reservable_ports {text} not null, created_at {integer} not null)",
        "create unique index routing_router_groups_name on routing_router_groups (name)",
        "create table routing_http_routes (entry_key {id} primary key, content {text} not null, frontend {id}, \
         tag_guid {id} not null, tag_index {integer} not null, expires_at {integer} not null, \
         announced_at {integer} not null)",
        "create index routing_http_routes_expires on routing_http_routes (expires_at)",
        "create table routing_tcp_routes (entry_key {id} primary key, content {text} not null, frontend {id}, \
         tag_guid {id} not null, tag_index {integer} not null, expires_at {integer} not null, \
         announced_at {integer} not null)",
        "create index routing_tcp_routes_expires on routing_tcp_routes (expires_at)",
        "create index routing_tcp_routes_frontend on routing_tcp_routes (frontend)",
        // `term` grows with each change of the holder, `beat` with each sign of life of one.
        "create table routing_lock (name {id} primary key, holder {id} not null, term {integer} not null, \
         beat {integer} not null)",
    ],
}];
