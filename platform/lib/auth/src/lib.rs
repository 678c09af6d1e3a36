//! Who is there: bearer tokens behind one interface.
