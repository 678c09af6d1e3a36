//! Whether the limits of the components fit together: each is valid alone, and the clients of one are refused by the next.

use weir_component::Component;

use super::Plan;
use super::config::load_as;

/// What does not fit, in words.
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

/// The configuration of `C`, if it runs. What cannot be loaded is told where the component starts.
fn loaded<C: Component>(plan: &Plan) -> Option<C::Config> {
    let name = C::DESCRIPTION.name;
    plan.components.find(name)?;
    load_as::<C>(&plan.config(name)).ok()
}

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

    /// A doppler has room for all that its faces take by default; one that has less is found.
    #[test]
    fn a_doppler_has_room_for_its_faces() {
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
