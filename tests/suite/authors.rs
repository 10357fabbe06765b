//! Returners of one's own, as their authors make them, from their sources and with the tools of
//! each language.

mod authoring;
mod conformance;
mod examples;
