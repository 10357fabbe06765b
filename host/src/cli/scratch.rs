//! A runtime for commands that load plugins without a host.

use std::env;
use std::ops::Deref;
use std::path::PathBuf;

use tempfile::TempDir;

use super::Failure;
use crate::plugins::Runtime;

/// Not with the host's own cache: a command must not write where the host does. With one of
/// the user's own, because compiling what was written in Python or JavaScript takes ten
/// seconds.
pub(super) struct Scratch {
    runtime: Runtime,
    /// Where the user has no place for a cache.
    _compiled: Option<TempDir>,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, Failure> {
        if let Some(runtime) = cache().and_then(|directory| Runtime::new(&directory).ok()) {
            return Ok(Self { runtime, _compiled: None });
        }
        let compiled = tempfile::tempdir().map_err(|error| Failure::failed(error.to_string()))?;
        let runtime = Runtime::new(&compiled.path().join("compiled"));
        let runtime = runtime.map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { runtime, _compiled: Some(compiled) })
    }
}

/// The user's, by the XDG base directory specification.
fn cache() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("returner/compiled"))
}

impl Deref for Scratch {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.runtime
    }
}
