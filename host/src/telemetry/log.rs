//! The host's log: lines on stderr, by level and module from `RETURNER_LOG` (for
//! example `debug`, or `returner::delivery=trace`), `info` otherwise.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Begins to log. A second call changes nothing.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("RETURNER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    if let Err(error) = log {
        tracing::debug!(%error, "logging has begun already");
    }
}
