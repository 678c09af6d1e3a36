//! The components of a stack. A new one is a crate whose server implements [`weir_component::Component`], and one line here.

use std::sync::LazyLock;

use weir_flow::LogContext;

/// A component of the table.
pub(crate) type Entry = weir_component::Entry<LogContext>;
/// A table of components.
pub(crate) type Table = weir_component::Table<LogContext>;

/// Every component, in the order of `weir --help`.
const COMPONENTS: [Entry; 17] = [
    Entry::of::<weir_platform_uaa_server::Server>(),
    Entry::of::<weir_agents_forwarder::Server>(),
    Entry::of::<weir_agents_loggregator::Server>(),
    Entry::of::<weir_agents_syslog::Server>(),
    Entry::of::<weir_agents_binding_cache::Server>(),
    Entry::of::<weir_doppler_server::Server>(),
    Entry::of::<weir_rlp_server::Server>(),
    Entry::of::<weir_rlp_gateway::Server>(),
    Entry::of::<weir_traffic_controller_server::Server>(),
    Entry::of::<weir_log_cache_server::Server>(),
    Entry::of::<weir_log_cache_syslog::Server>(),
    Entry::of::<weir_platform_nats::Server>(),
    Entry::of::<weir_platform_gorouter_proxy::Server>(),
    Entry::of::<weir_platform_routing_api::Server>(),
    Entry::of::<weir_platform_tcp_router::Server>(),
    Entry::of::<weir_platform_route_registrar::Server>(),
    Entry::of::<weir_platform_names_proxy::Server>(),
];

/// Returns the table of all components.
pub(crate) fn table() -> &'static Table {
    static TABLE: LazyLock<Table> =
        LazyLock::new(|| Table::new(&COMPONENTS).expect("the table is constant, and every test of a command reads it"));
    &TABLE
}

#[cfg(test)]
mod tests;
