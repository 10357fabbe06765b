//! Files that are no plugins: each is refused with what it is and what to do.

use std::process::Command;

use returner_servers::{Directory, Run, program, returner};

/// What every component starts with.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// What every core module starts with.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component that exports an empty instance under this name.
fn exporting(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("the name is short");
    // Section 5: one instance, made of no exports.
    let mut bytes = [COMPONENT, &[5, 3, 1, 1, 0]].concat();
    // Section 11: one export; a plain name; instance 0; no type.
    let export = [&[1, 0, length], name.as_bytes(), &[5, 0, 0]].concat();
    bytes.extend([11, u8::try_from(export.len()).expect("the section is short")]);
    bytes.extend(export);
    bytes
}

fn check(file: &[u8]) -> Run {
    let directory = Directory::new("plugin");
    directory.write("audit.wasm", file);
    directory.write("returner.yaml", "return: audit\naudit.plugin: audit.wasm\nhost.data: data\n");
    returner(directory.path(), &["check", "--config", "returner.yaml"])
}

#[track_caller]
fn refuses(file: &[u8], words: &[&str]) {
    let run = check(file);
    run.expect(2);
    for part in words.iter().chain(&["returner.yaml:2: ", "audit.wasm", "hint: "]) {
        assert!(run.stderr.contains(part), "nothing of `{part}`:\n{}", run.stderr);
    }
}

#[test]
fn a_file_that_is_no_webassembly() {
    refuses(b"#!/bin/sh\necho hello\n", &["not WebAssembly"]);
    refuses(b"", &["not WebAssembly"]);
}

#[test]
fn a_core_module() {
    refuses(MODULE, &["core module", "wasm32-wasip2"]);
}

#[test]
fn a_component_that_is_cut_short() {
    let whole = exporting("salt:returner/returns@0.1.0");
    refuses(&whole[..whole.len() - 7], &["cut short"]);
}

#[test]
fn a_component_without_returns() {
    refuses(COMPONENT, &["does not export `salt:returner/returns`"]);
    refuses(
        &exporting("example:other/thing@1.0.0"),
        &["does not export `salt:returner/returns`", "example:other/thing"],
    );
}

#[test]
fn a_component_of_a_newer_contract() {
    refuses(&exporting("salt:returner/returns@0.9.0"), &["0.9.0", "0.1.0", "upgrade the host"]);
}

#[test]
fn a_component_that_does_not_fit_the_contract() {
    refuses(&exporting("salt:returner/returns@0.1.0"), &["does not fit the contract"]);
}

#[test]
fn a_file_that_is_not_there() {
    let directory = Directory::new("plugin");
    directory.write("returner.yaml", "return: audit\naudit.plugin: audit.wasm\n");
    let run = returner(directory.path(), &["check", "--config", "returner.yaml"]);
    for part in ["returner.yaml:2: ", "`audit.plugin`", "audit.wasm", "hint: "] {
        assert!(run.expect(2).stderr.contains(part), "nothing of {part}: {}", run.stderr);
    }
}

#[test]
fn a_file_other_than_the_pinned_one() {
    let directory = Directory::new("plugin");
    directory.write("audit.wasm", COMPONENT);
    let pinned = "0".repeat(64);
    directory.write(
        "returner.yaml",
        format!("return: audit\naudit.plugin: audit.wasm\naudit.sha256: '{pinned}'\n"),
    );
    let run = returner(directory.path(), &["check", "--config", "returner.yaml"]);
    assert!(run.expect(2).stderr.contains(&pinned), "{}", run.stderr);
}

#[test]
fn the_program_itself_runs() {
    let output = Command::new(program()).arg("--version").output().expect("the program can be run");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("returner "));
}
