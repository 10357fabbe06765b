//! A small disk: a tmpfs that can be full, or read-only.
//!
//! Mounting wants root, or `sudo` without a password; without either a test fails and
//! says so. A mount that a killed process left is taken away by the next one.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs, unmounted with its value.
#[derive(Debug)]
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one on a directory, which is made.
    ///
    /// # Panics
    ///
    /// If it cannot be mounted; the message says what is needed.
    pub(crate) fn mount(at: &Path, bytes: u64) -> Self {
        unmount_left_over();
        fs::create_dir_all(at).expect("a test's directory can be written to");
        // Whose the directory was: a host uses no directory of another user, nor an open one.
        let owner = fs::metadata(at).expect("it was made").uid();
        let options = format!("size={bytes},uid={owner},mode=0700");
        as_root(&["mount", "-t", "tmpfs", "-o", &options, "returner-faults", &at.display().to_string()]);
        Self(at.to_owned())
    }

    /// Mounts it again so that nothing can be written; nobody may have a file of it open.
    pub(crate) fn read_only(&self) {
        as_root(&["mount", "-o", "remount,ro", &self.0.display().to_string()]);
    }

    /// Mounts it again so that it can be written.
    pub(crate) fn writable(&self) {
        as_root(&["mount", "-o", "remount,rw", &self.0.display().to_string()]);
    }

    /// Fills it to the last byte with a file.
    pub(crate) fn fill(&self) -> Ballast {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("a full disk has room for a name");
        let mut piece = vec![0; 64 << 10];
        while !piece.is_empty() {
            // In part is in full: the rest goes with a smaller piece.
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        Ballast(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = command(&["umount", "--lazy", &self.0.display().to_string()]).status();
    }
}

/// A file that takes up room; removed with its value.
#[derive(Debug)]
pub(crate) struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Directories of tests are named after the process that made them.
fn unmount_left_over() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines().filter(|line| line.starts_with("returner-faults ")) {
        let Some(path) = line.split(' ').nth(1) else { continue };
        let process = path.split("/test-servers/").nth(1).and_then(|rest| rest.split('/').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            as_root(&["umount", "--lazy", path]);
        }
    }
}

fn as_root(arguments: &[&str]) {
    let output = command(arguments).output();
    let said = match &output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    panic!(
        "`{}`: {said}\n  hint: this test mounts a small tmpfs; run it as root, or allow `sudo -n mount` and \
         `sudo -n umount`",
        arguments.join(" ")
    );
}

fn command(arguments: &[&str]) -> Command {
    let is_root = fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")));
    let mut command = match is_root {
        true => Command::new(arguments[0]),
        false => Command::new("sudo"),
    };
    if !is_root {
        command.args(["-n", arguments[0]]);
    }
    command.args(&arguments[1..]);
    command
}
