//! The host's log. A line appears under the name that the configuration gives to
//! this returner, at the host's level of detail.

pub use crate::host::log::{Level, write};

/// What an operator does not need to know.
pub fn debug(message: &str) {
    write(Level::Debug, message, &[]);
}

/// What an operator may want to know.
pub fn info(message: &str) {
    write(Level::Info, message, &[]);
}

/// What an operator should look at, some day.
pub fn warn(message: &str) {
    write(Level::Warn, message, &[]);
}

/// What an operator should look at now.
pub fn error(message: &str) {
    write(Level::Error, message, &[]);
}
