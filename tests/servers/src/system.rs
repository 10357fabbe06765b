//! A system that fails under the host: flushes that fail, a disk that becomes read-only, a
//! wall clock that jumps.
//!
//! A small library in C ([`SOURCE`]) stands between the host and the C library. It is a
//! fake because no real disk fails when it is asked to, and nobody may set the clock of
//! the machine that others work on.

use std::fs;
use std::process::Command;

use crate::directory::Directory;

/// What stands in between.
const SOURCE: &str = include_str!("system.c");

/// A system for one host.
#[derive(Debug)]
pub struct System(Directory);

impl System {
    /// A system that does not fail yet.
    ///
    /// # Panics
    ///
    /// If there is no C compiler, which `tests/run` installs.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it runs a compiler")]
    pub fn new() -> Self {
        let directory = Directory::new("system");
        let source = directory.write("system.c", SOURCE);
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(directory.path().join("system.so"));
        let output = compiler.arg(source).arg("-ldl").output();
        let output = output.expect("a C compiler can be run; `tests/run` installs one");
        assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        Self(directory)
    }

    /// Makes every flush fail, or no more.
    pub fn fail_flushes(&self, fail: bool) {
        self.set("flush", fail);
    }

    /// Makes every file one that can only be read, or no more.
    pub fn make_read_only(&self, read_only: bool) {
        self.set("read-only", read_only);
    }

    fn set(&self, name: &str, there: bool) {
        let file = self.0.path().join(name);
        if there {
            fs::write(file, "").expect("a test's directory can be written to");
        } else {
            let _ = fs::remove_file(file);
        }
    }

    /// Sets the wall clock off by so many seconds.
    pub fn shift_clock(&self, seconds: i64) {
        self.0.write("clock", seconds.to_string());
    }

    /// The environment of a process that is to run on it.
    pub(crate) fn environment(&self) -> [String; 2] {
        let path = self.0.path().display();
        [format!("LD_PRELOAD={path}/system.so"), format!("SYSTEM_FAULTS={path}")]
    }
}
