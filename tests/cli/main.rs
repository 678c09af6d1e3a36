//! The program as a user runs it: `weir up` and the commands around it, against a real stack on free ports.

mod commands;
mod lifecycle;
mod lines;
mod processes;
mod stack;
