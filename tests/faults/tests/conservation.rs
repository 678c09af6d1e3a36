//! The law of conservation under faults: what was sent is delivered, or counted where it was lost.

mod conservation {
    mod consumers;
    mod kills;
    mod neighbours;
}
