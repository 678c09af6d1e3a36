//! The reverse log proxy: v2 egress over several dopplers.
