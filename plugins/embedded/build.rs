//! Builds the four bundled plugins as components (`wasm32-wasip2`) and compiles
//! each to code for this machine, so that the host starts without compiling.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PLUGINS: [&str; 4] = ["mysql", "mongo", "redis", "sqlite"];

/// What the plugins are made of, from the workspace's root.
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "wit", "plugins/sdk", "plugins/sql"];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let workspace = manifest.join("../..").canonicalize()?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    for plugin in PLUGINS {
        println!("cargo::rerun-if-changed={}", workspace.join("plugins").join(plugin).display());
    }
    let components = components_directory(&out);
    build_components(&workspace, &components)?;

    let engine = returner_engine::engine()?;
    for plugin in PLUGINS {
        let built = format!("wasm32-wasip2/guest/returner_{plugin}.wasm");
        let component = fs::read(components.join(built))?;
        let compiled = returner_engine::precompile(&engine, &component)?;
        fs::write(out.join(format!("{plugin}.wasm")), component)?;
        fs::write(out.join(format!("{plugin}.cwasm")), compiled)?;
    }
    Ok(())
}

/// Beside the directories of all build scripts, of which this one has several: clippy, for
/// example, runs it for itself, and would build the plugins again.
fn components_directory(out: &Path) -> PathBuf {
    // target/release/build/returner-embedded-HASH/out
    out.ancestors().nth(3).unwrap_or(out).join("bundled")
}

/// Runs cargo in a target directory of its own: the outer cargo holds the lock of
/// the usual one.
fn build_components(workspace: &Path, target: &Path) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", "guest", "--target", "wasm32-wasip2"])
        .arg("--target-dir")
        .arg(target);
    for plugin in PLUGINS {
        cargo.args(["--package", &format!("returner-{plugin}")]);
    }
    // What the outer cargo set for the host's processor, or for clippy, is not meant
    // for the plugins.
    for inherited in [
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ] {
        cargo.env_remove(inherited);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err("the bundled plugins did not build; `rustup toolchain install` (no arguments) installs \
                    the target `wasm32-wasip2`"
            .into());
    }
    Ok(())
}
