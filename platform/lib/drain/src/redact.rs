//! Takes secrets out of what a drain answers.
