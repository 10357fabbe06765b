//! Finds the Go package that generated bindings import, `go.bytecodealliance.org/pkg`.
//!
//! Go's module proxy does not have it. The crate that generates the bindings carries it, so
//! that its version is always the one that the bindings need.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const CRATE: &str = "wit-bindgen-go";

/// What of the package is the package; the rest is about its repository.
const FILES: [&str; 12] = [
    "LICENSE",
    "go.mod",
    "wit/async/async.go",
    "wit/async/empty.s",
    "wit/runtime/empty.s",
    "wit/runtime/runtime.go",
    "wit/types/future.go",
    "wit/types/option.go",
    "wit/types/result.go",
    "wit/types/stream.go",
    "wit/types/tuple.go",
    "wit/types/unit.go",
];

fn main() -> Result<(), Box<dyn Error>> {
    // What is put into the library by `include_dir!` is read again when one of these changes.
    for input in ["build.rs", "Cargo.toml", "templates", "../../wit", "../sdk/src"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let package = package()?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("go");
    for file in FILES {
        copy(&package.join(file), &out.join(file))?;
    }
    Ok(())
}

/// The folder of the Go package in the source of the crate.
fn package() -> Result<PathBuf, Box<dyn Error>> {
    let manifest = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &env::var("HOST")?]);
    let output = cargo.arg("--manifest-path").arg(manifest).output()?;
    if !output.status.success() {
        return Err(format!("`cargo metadata`: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let found = metadata["packages"].as_array().into_iter().flatten().find(|one| one["name"] == CRATE);
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.ok_or_else(|| format!("`cargo metadata` knows no `{CRATE}`"))?;
    Ok(Path::new(manifest).with_file_name("src").join("pkg"))
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let failed = |error| format!("cannot copy `{}`: {error}", from.display());
    fs::write(to, fs::read(from).map_err(failed)?).map_err(failed)?;
    Ok(())
}
