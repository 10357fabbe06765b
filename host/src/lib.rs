//! The program `returner`: a host for Salt returners as WebAssembly components.
//!
//! `ARCHITECTURE.md` beside the manifest tells how the parts fit together; the
//! modules below are in the order in which they may use each other.

#![forbid(unsafe_code)]

mod items;

mod config;
mod telemetry;

mod journal;

mod connections;

mod plugins;

mod conformance;
mod delivery;

mod intake;
mod job_cache;
mod web;

mod daemon;

mod cli;

pub use cli::main;
