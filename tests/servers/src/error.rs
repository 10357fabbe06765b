//! Why a server is not there.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a test cannot get its server, and how it would.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A program is not installed.
    #[error("there is no `{program}` here\n  hint: run `tests/run`, which installs it; or {instead}")]
    Missing {
        /// What was looked for.
        program: String,
        /// What else would do.
        instead: &'static str,
    },
    /// A directory or file of the server cannot be made.
    #[error("cannot write `{}`: {error}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The program cannot be run.
    #[error("cannot run {name}: {error}\n  hint: `setpriv` of util-linux must be there, too")]
    Spawn {
        /// The server.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The program ran and failed.
    #[error("{name} failed ({status}); it wrote:\n{log}")]
    Failed {
        /// The server.
        name: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote.
        log: String,
    },
    /// The program runs, but does not answer.
    #[error("{name} did not answer within {limit:?}: {last}\nit wrote:\n{log}")]
    Silent {
        /// The server.
        name: String,
        /// How long was waited.
        limit: Duration,
        /// What came of the last try.
        last: String,
        /// The end of what it wrote.
        log: String,
    },
    /// What the environment names instead cannot be used.
    #[error(
        "`{variable}` does not name a server that can be used: {reason}\n  hint: unset it, and one is started"
    )]
    Given {
        /// The variable.
        variable: &'static str,
        /// Why; never with a password.
        reason: String,
    },
}
