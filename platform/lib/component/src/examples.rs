//! Four components for tests: a roof on two walls that do not need each other, and a floor below.

use crate::{Description, Port};

pub(crate) const ROOF: Description = component("roof", &[Port::plain("roof", 3)], &["left", "right"]);
pub(crate) const LEFT: Description = component("left", &[Port::plain("left", 1)], &["floor"]);
pub(crate) const RIGHT: Description = component("right", &[Port::plain("right", 2)], &["floor"]);
pub(crate) const FLOOR: Description = component("floor", &[Port::plain("floor", 0)], &[]);

pub(crate) const fn component(
    name: &'static str,
    ports: &'static [Port],
    needs: &'static [&'static str],
) -> Description {
    Description {
        name,
        group: if needs.is_empty() { "base" } else { "upper" },
        help: "",
        server_names: &["x"],
        ports,
        needs,
    }
}
