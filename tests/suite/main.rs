//! Black-box tests: the host as a process, on real servers.
//!
//! They see what a user sees: the HTTP interface, the command line, and what stands in
//! the stores. `tests/run` builds the host and installs the servers that they start.

mod access;
mod authors;
mod bad_input;
mod bad_plugins;
mod command_line;
mod compiling;
mod dead_letters;
mod faults;
mod greedy;
mod hang;
mod hostile;
mod journal;
mod main_job;
mod odd;
mod oracle;
mod order;
mod outages;
mod readme;
mod recovery;
mod reload;
mod salt;
mod sandbox;
mod servers;
mod status;
mod stores;
mod system;
mod trial;
