//! Checks of limits across components: each limit is valid alone, but a component may allow more clients than the next one
//! accepts.

use weir_component::Component;

use super::Plan;
use super::config::load_as;

/// Returns a description of each limit that does not fit.
pub(super) fn misfits(plan: &Plan) -> Vec<String> {
    let (Some(doppler), Some(rlp), Some(controller)) = (
        loaded::<weir_doppler_server::Server>(plan),
        loaded::<weir_rlp_server::Server>(plan),
        loaded::<weir_traffic_controller_server::Server>(plan),
    ) else {
        return Vec::new();
    };
    subscriptions(
        doppler.max_subscriptions,
        rlp.max_egress_streams,
        controller.limits.subscriptions,
    )
    .into_iter()
    .collect()
}

/// Returns the configuration of `C`, if it runs and loads. A file that does not load is reported where the component starts.
fn loaded<C: Component>(plan: &Plan) -> Option<C::Config> {
    let name = C::DESCRIPTION.name;
    plan.components.find(name)?;
    load_as::<C>(&plan.config(name)).ok()
}

/// Describes subscriptions that the RLP and the traffic controller accept and the doppler refuses, if there can be any.
fn subscriptions(doppler: usize, rlp: usize, controller: usize) -> Option<String> {
    let wanted = rlp.saturating_add(controller);
    (wanted > doppler).then(|| {
        format!(
            "a doppler takes {doppler} live subscriptions (`max_subscriptions`), and the RLP ({rlp}, `max_egress_streams`) and \
             the traffic controller ({controller}, `limits.subscriptions`) may ask for {wanted}: their clients can be refused"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::table;
    use crate::stack::Ports;
    use crate::state::StateDir;

    /// The default limit of the doppler covers those of the RLP and the traffic controller; a lower one is reported.
    #[test]
    fn the_doppler_takes_all_subscriptions_of_its_clients() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        state.create().expect("created");
        let plan = Plan::prepare(&state, table(), Ports::usual(table()), "weir.localhost").expect("prepared");
        assert_eq!(misfits(&plan), Vec::<String>::new());

        let path = plan.config("doppler");
        let text = std::fs::read_to_string(&path).expect("read");
        let less = text.replace("max_subscriptions = 4000", "max_subscriptions = 2000");
        assert_ne!(less, text);
        std::fs::write(&path, less).expect("written");
        assert_eq!(misfits(&plan).len(), 1);
    }
}
