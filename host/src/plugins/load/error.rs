//! Why a file is not a plugin, and what to do about it.

use std::path::PathBuf;

use returner_engine::CacheError;

use crate::plugins::compile::CompileError;
use crate::plugins::contract::PACKAGE;
use crate::plugins::instance::CallError;
use crate::plugins::parts::TooMuch;
use crate::plugins::words;

/// Why a file is not a plugin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "cannot read the plugin `{}`: {error}\n  hint: a path in a configuration is seen from the directory of its file",
        path.display()
    )]
    Read { path: PathBuf, error: std::io::Error },
    #[error(
        "`{what}` is not WebAssembly\n  hint: a plugin is a component, a `.wasm` file; the README shows how to make one"
    )]
    NotWasm { what: String },
    #[error(
        "`{what}` is a core module, not a component\n  hint: Rust builds one for `wasm32-wasip2`; of what C and Go \
         build, `returner plugins componentize` makes one"
    )]
    CoreModule { what: String },
    #[error("`{what}` is damaged or cut short: {reason}\n  hint: build or copy it again")]
    Damaged { what: String, reason: String },
    #[error("`{what}` {reason}\n  hint: no tool makes such a one: look where the file comes from")]
    TooMuch { what: String, reason: TooMuch },
    #[error(
        "`{what}` does not export `{PACKAGE}/returns`, which every returner must\n  hint: build it for a world of `wit/`, such as `returner`; it exports {}",
        list(exports)
    )]
    NoReturns { what: String, exports: Vec<String> },
    #[error(
        "`{what}` was built against the contract `{PACKAGE}@{found}`; this host speaks {}\n  hint: {}",
        spoken.join(", "), upgrade(found, spoken)
    )]
    OtherContract { what: String, found: String, spoken: Vec<&'static str> },
    #[error(
        "`{what}` imports {}, which this host does not have\n  hint: this host has `{PACKAGE}` {} and WASI 0.2",
        list(missing), spoken.join(", ")
    )]
    Import { what: String, missing: Vec<String>, spoken: Vec<&'static str> },
    #[error("`{what}` does not fit the contract: {reason}\n  hint: build it against the `wit/` of this host")]
    Contract { what: String, reason: String },
    #[error(
        "`{}` has the SHA-256 {found}, but the configuration pins {pinned}\n  hint: if the file is the one you mean, \
         change `sha256`",
        path.display()
    )]
    Digest { path: PathBuf, found: String, pinned: String },
    #[error("`{what}` cannot say what it is: {error}")]
    About { what: String, error: CallError },
    #[error("compiling `{what}` {error}\n  hint: {}", error.hint())]
    Compile { what: String, error: CompileError },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("wasmtime does not run here: {0}")]
    Engine(wasmtime::Error),
    #[error("there are no threads for plugins: {0}\n  hint: the system bounds them (`ulimit -u`)")]
    Threads(std::io::Error),
}

/// What to do about a plugin of another version.
fn upgrade(found: &str, spoken: &[&str]) -> &'static str {
    let number = |text: &str| semver::Version::parse(text).ok();
    match (number(found), spoken.first().and_then(|oldest| number(oldest))) {
        (Some(found), Some(oldest)) if found < oldest => {
            "build the plugin against the `wit/` of this host: it speaks that version no more"
        }
        _ => "upgrade the host, or build the plugin against the `wit/` of this one",
    }
}

/// The most names that are told.
const TOLD: usize = 20;

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => {
            let told: Vec<String> =
                names.iter().take(TOLD).map(|name| format!("`{}`", words::short(name))).collect();
            match names.len().saturating_sub(TOLD) {
                0 => told.join(", "),
                more => format!("{} and {more} more", told.join(", ")),
            }
        }
    }
}
