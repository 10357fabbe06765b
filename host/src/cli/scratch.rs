//! A runtime for commands that load plugins without a host.

use std::ops::Deref;

use tempfile::TempDir;

use super::Failure;
use crate::plugins::Runtime;

/// Not with the host's own cache: a command must not write where the host does.
pub(super) struct Scratch {
    runtime: Runtime,
    _compiled: TempDir,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, Failure> {
        let compiled = tempfile::tempdir().map_err(|error| Failure::failed(error.to_string()))?;
        let runtime = Runtime::new(&compiled.path().join("compiled"));
        let runtime = runtime.map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { runtime, _compiled: compiled })
    }
}

impl Deref for Scratch {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.runtime
    }
}
