//! Where servers keep their data, and where programs are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, test_kill_process};

use crate::error::StartError;

/// A directory of one server, removed with its value.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes an empty directory.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        match Self::create(name) {
            Ok(directory) => directory,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn create(name: &str) -> Result<Self, StartError> {
        static PATH: OnceLock<PathBuf> = OnceLock::new();
        Self::under(PATH.get_or_init(|| of_this_process(target().join("test-servers"))), name)
    }

    /// As [`Directory::create`], where every user can go: the target directory may be in a home
    /// that is closed to others.
    pub(crate) fn create_for_others(name: &str) -> Result<Self, StartError> {
        static PATH: OnceLock<PathBuf> = OnceLock::new();
        let all = || of_this_process(std::env::temp_dir().join("returner-test-servers"));
        Self::under(PATH.get_or_init(all), name)
    }

    fn under(parent: &Path, name: &str) -> Result<Self, StartError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{name}-{number}"));
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(StartError::Write { path, error }),
        }
    }

    /// Its path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it, in one step for whoever watches it; gives its path.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        match fs::write(&new, content).and_then(|()| fs::rename(&new, &path)) {
            Ok(()) => path,
            Err(error) => panic!("cannot write `{}`: {error}", path.display()),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Whoever looks into a failed test wants to see what is left of it.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Servers that tests share are never dropped, nor are those of a process that was
/// killed: the next process removes what an ended one left.
fn of_this_process(all: PathBuf) -> PathBuf {
    for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if process.is_some_and(|process| test_kill_process(process).is_err()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    all.join(std::process::id().to_string())
}

/// Cargo's target directory: a test runs as `target/release/deps/<name>`, a program as
/// `target/release/<name>`.
pub(crate) fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let release = program.ancestors().find(|directory| directory.ends_with("release"));
    release.and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
}

/// What `tests/run` builds and installs that Debian does not have.
pub(crate) fn environment() -> PathBuf {
    target().join("test-env")
}

/// The host's program, as it was built with the tests.
///
/// # Panics
///
/// If it is not there.
#[must_use]
pub fn program() -> PathBuf {
    let path = target().join("release/returner");
    assert!(
        path.exists(),
        "there is no `{}`\n  hint: run `tests/run`, or `cargo build --release` before the tests",
        path.display()
    );
    path
}

/// Finds a program as a shell does, and where Debian puts servers.
pub(crate) fn find(program: &str, instead: &'static str) -> Result<PathBuf, StartError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .ok_or_else(|| StartError::Missing { program: program.to_owned(), instead })
}

/// Where `tests/run` puts something, whether it is there or not.
pub(crate) fn own(path: &str) -> PathBuf {
    environment().join(path)
}

/// Finds a program among those that `tests/run` put into the target directory.
pub(crate) fn find_own(program: &str, instead: &'static str) -> Result<PathBuf, StartError> {
    let path = own(program);
    match path.is_file() {
        true => Ok(path),
        false => Err(StartError::Missing { program: path.display().to_string(), instead }),
    }
}
