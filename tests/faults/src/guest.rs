//! The hostile plugins of `tests/guests`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use returner_servers::build_plugin;

/// The plugin that traps on poison, built once a process.
///
/// # Panics
///
/// If it does not build.
pub(crate) fn trapping() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/trapping");
    BUILT.get_or_init(|| build_plugin(&source, "trapping", &["--locked"])).clone()
}
