//! Plugins that tests bring along, built with the toolchain that builds the host.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::directory::program;

/// Builds the package of this name in a directory, with cargo's `arguments`, such as
/// `--locked`; gives the component.
///
/// # Panics
///
/// If it does not build.
#[must_use]
pub fn build_plugin(source: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    // Of its own: whoever runs the tests may hold the lock of the usual one.
    let target =
        program().parent().and_then(Path::parent).expect("the host is in `target/release`").join("guests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(source).args(["build", "--release", "--target", "wasm32-wasip2"]);
    cargo.args(arguments).arg("--target-dir").arg(&target);
    // What was set for the tests is not meant for the plugin.
    for inherited in ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTFLAGS"] {
        cargo.env_remove(inherited);
    }
    let output = cargo.output().expect("cargo can be run");
    assert!(
        output.status.success(),
        "the plugin `{name}` did not build; `rustup toolchain install` (no arguments) installs its target\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join(format!("wasm32-wasip2/release/{name}.wasm"))
}
