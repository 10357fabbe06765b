//! Returners of one's own, as their authors make them, from their sources and with the tools of
//! each language. These tests compile where the others wait: `tests/run` runs them beside the
//! others, which it knows by the name of this module.

mod authoring;
mod conformance;
mod examples;
