//! Plugins that tests bring along, built with the toolchain that builds the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::directory::{Directory, find_own, own, program};
use crate::run::Run;

/// On a machine that builds something else meanwhile, and fetches what it needs.
const TO_BUILD: Duration = Duration::from_secs(900);

/// A plugin of `tests/guests`, by its name; built once a process.
///
/// # Panics
///
/// If it does not build.
pub async fn guest(name: &'static str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let build = move || {
        // Held meanwhile: whoever wants the same one waits for it.
        let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests").join(name);
        built.entry(name).or_insert_with(|| build_plugin(&source, name, &["--locked"])).clone()
    };
    match tokio::task::spawn_blocking(build).await {
        Ok(path) => path,
        Err(error) => panic!("the plugin `{name}`: {error}"),
    }
}

/// The same component as another file: its digest differs.
///
/// # Panics
///
/// If it cannot be read.
#[must_use]
pub fn another_build(plugin: &Path, mark: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(plugin).expect("a plugin that was built can be read");
    // A custom section (number 0): its length, then a name with its length, and no content.
    let name = u8::try_from(mark.len()).ok().filter(|length| *length < 64).expect("a short mark");
    bytes.extend([0, name + 1, name]);
    bytes.extend(mark.bytes());
    bytes
}

/// A component around a module with one function: so many locals, which go around in loops in
/// loops. What a compiler takes for it grows with their product; it is no returner.
#[must_use]
pub fn compile_bomb(locals: u32, loops: u32) -> Vec<u8> {
    // LEB128, as WebAssembly has numbers.
    fn number(mut value: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        bytes.push(value.to_le_bytes()[0]);
        bytes
    }
    let long = |content: &[u8]| {
        let length = u32::try_from(content.len()).expect("a section is short");
        [number(length), content.to_vec()].concat()
    };
    let section = |id: u8, content: &[u8]| [vec![id], long(content)].concat();
    let mut body = [vec![1], number(locals), vec![0x7f]].concat();
    (0..loops).for_each(|_| body.extend([0x03, 0x40]));
    for local in 1..=locals {
        let local = number(local);
        // local.get; local.get 0; i32.add; local.set
        body.extend([&[0x20][..], &local, &[0x20, 0, 0x6a, 0x21], &local].concat());
    }
    // local.get 0; br_if 0; end
    (0..loops).for_each(|_| body.extend([0x20, 0, 0x0d, 0, 0x0b]));
    body.push(0x0b);
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 0]),
        section(3, &[1, 0]),
        section(7, &[1, 1, b'f', 0, 0]),
        section(10, &[vec![1], long(&body)].concat()),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module.concat())].concat()
}

/// Builds the package of this name in a directory, with cargo's `arguments`, such as
/// `--locked`; gives the component.
///
/// # Panics
///
/// If it does not build.
#[must_use]
pub fn build_plugin(source: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let target = guests();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(source).args(["build", "--release", "--target", "wasm32-wasip2"]);
    cargo.args(arguments).arg("--target-dir").arg(&target);
    // What was set for the tests is not meant for the plugin.
    for inherited in ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTFLAGS"] {
        cargo.env_remove(inherited);
    }
    let directory = Directory::new("build");
    let run = Run::within(TO_BUILD, cargo, directory.path());
    assert!(
        run.code == Some(0),
        "the plugin `{name}` did not build; `rustup toolchain install` (no arguments) installs its target\n{}",
        run.stderr
    );
    target.join(format!("wasm32-wasip2/release/{name}.wasm"))
}

/// Where cargo builds plugins. Of its own: whoever runs the tests may hold the lock of the usual
/// directory.
fn guests() -> PathBuf {
    program().parent().and_then(Path::parent).expect("the host is in `target/release`").join("guests")
}

/// Runs `make` in the folder of a plugin, with the toolchains that `tests/run` has installed
/// where the machine has none. What cargo has built on the way for one folder is there for the
/// next.
///
/// # Panics
///
/// If it does not end.
#[must_use]
pub fn make(folder: &Path, arguments: &[&str]) -> Run {
    let mut path: Vec<PathBuf> = ["go/bin", "node/bin"].map(own).into();
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).expect("directories without colons");
    let mut make = Command::new("make");
    make.current_dir(folder).args(arguments).env("PATH", path);
    make.env("CARGO_BUILD_BUILD_DIR", guests().join("begun"));
    for inherited in
        ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTFLAGS", "MAKEFLAGS"]
    {
        make.env_remove(inherited);
    }
    Run::within(TO_BUILD, make, folder)
}

/// Builds the module `app` of a directory, in Python, to `NAME.wasm` beside the directory.
///
/// # Panics
///
/// If it does not build.
#[must_use]
pub fn build_python_plugin(source: &Path, name: &str) -> PathBuf {
    const INSTEAD: &str = "put a virtual environment with componentize-py==0.25.1 there";
    let program =
        find_own("componentize/bin/componentize-py", INSTEAD).unwrap_or_else(|error| panic!("{error}"));
    let component = source.with_file_name(format!("{name}.wasm"));
    let mut command = Command::new(program);
    command.args([
        "-d",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"),
        "-w",
        "returner",
        "componentize",
        "-p",
    ]);
    command.arg(source).args(["app", "-o"]).arg(&component);
    let directory = Directory::new("build");
    let run = Run::within(TO_BUILD, command, directory.path());
    assert!(run.code == Some(0), "the plugin `{name}` did not build:\n{}", run.stderr);
    component
}
