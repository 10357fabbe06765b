//! The cache of compiled code: a directory with a file for each component.
//!
//! # Invariants
//! - The directory belongs to this process's user and is closed to everyone else
//!   (mode 0700). If it is not, the cache refuses to open: whoever can write to it
//!   can run code as the host.
//! - A file's name is the SHA-256 of the component and of everything that the
//!   compiled code depends on (wasmtime's version, the engine's settings). Its
//!   content begins with the SHA-256 of the rest, so that a torn or altered file is
//!   never loaded: it is removed and the component compiled again.
//! - A file appears whole: it is written beside and renamed.
//! - At most [`MOST`] files: those that were used last.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// How many compiled components are kept. Each version of a plugin is one, of up to 40 MB.
const MOST: usize = 64;

/// Why the cache, or a component, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory cannot be made or looked at.
    #[error("cannot use `{}` for compiled plugins: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Someone else could put code into the directory.
    #[error(
        "`{}` is not private: compiled plugins are run from it as they are\n  hint: `chown` it to this \
         user and `chmod 700` it, or remove it and let the host make it",
        path.display()
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
    },
    /// The bytes are not a component that this engine can run.
    #[error(transparent)]
    Compile(wasmtime::Error),
}

/// Compiled components in a private directory.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Opens the directory, and makes it where it is missing.
    ///
    /// # Errors
    /// If it cannot be made or is not private.
    pub fn open(directory: &Path) -> Result<Self, CacheError> {
        let failed = |error| CacheError::Directory { path: directory.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let metadata = fs::symlink_metadata(directory).map_err(failed)?;
        let own = metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || !own || metadata.mode() & 0o077 != 0 {
            return Err(CacheError::NotPrivate { path: directory.to_owned() });
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The component, from the cache if it is there, or else compiled and kept.
    ///
    /// Compiling takes from milliseconds (Rust) to ten seconds (Python, JavaScript)
    /// of every core: call it off the threads that serve.
    ///
    /// # Errors
    /// If the bytes are not a component. A file that cannot be written only costs
    /// time at the next start.
    pub fn load(&self, engine: &Engine, component: &[u8]) -> Result<Component, CacheError> {
        let path = self.directory.join(name(engine, component));
        if let Some(component) = read(engine, &path) {
            return Ok(component);
        }
        let compiled = engine.precompile_component(component).map_err(CacheError::Compile)?;
        // Not being able to keep it is no reason not to run it.
        let _ = self.write(&path, &compiled);
        deserialize(engine, &compiled).map_err(CacheError::Compile)
    }

    /// Whether it is there, as far as its name says.
    #[must_use]
    pub fn knows(&self, engine: &Engine, component: &[u8]) -> bool {
        self.directory.join(name(engine, component)).exists()
    }

    fn write(&self, path: &Path, compiled: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&Sha256::digest(compiled))?;
        file.write_all(compiled)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        self.forget()
    }

    /// Removes what was used longest ago, where there are too many.
    fn forget(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
        kept.sort_unstable();
        let too_many = kept.len().saturating_sub(MOST);
        kept[..too_many].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// SHA-256 in hexadecimal of what the compiled code depends on.
fn name(engine: &Engine, component: &[u8]) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(Sha256::digest(component));
    hex::encode(hasher.0.finalize())
}

fn read(engine: &Engine, path: &Path) -> Option<Component> {
    let mut content = Vec::new();
    let mut file = File::open(path).ok()?;
    file.read_to_end(&mut content).ok()?;
    // By which the cache knows what to keep.
    let _ = file.set_modified(SystemTime::now());
    let component = match content.split_at_checked(32) {
        Some((digest, compiled)) if Sha256::digest(compiled)[..] == *digest => {
            deserialize(engine, compiled).ok()
        }
        _ => None,
    };
    if component.is_none() {
        let _ = fs::remove_file(path);
    }
    component
}

#[allow(unsafe_code, reason = "the one kind of code that wasmtime cannot check; see the crate's invariant")]
fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what this process just compiled, or what a process of
    // the same user wrote whole into a directory that only this user can write to,
    // with a digest that fits.
    unsafe { Component::deserialize(engine, compiled) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_component_is_compiled_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("compiled")).unwrap();
        let engine = crate::engine().unwrap();
        assert!(!cache.knows(&engine, EMPTY));
        cache.load(&engine, EMPTY).unwrap();
        assert!(cache.knows(&engine, EMPTY));
        let path = cache.directory.join(name(&engine, EMPTY));
        let first = fs::metadata(&path).unwrap().ino();
        cache.load(&engine, EMPTY).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), first);
    }

    #[test]
    fn an_altered_file_is_compiled_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("compiled")).unwrap();
        let engine = crate::engine().unwrap();
        cache.load(&engine, EMPTY).unwrap();
        let path = cache.directory.join(name(&engine, EMPTY));
        let good = fs::read(&path).unwrap();
        for place in [0, 32, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, &bad).unwrap();
            cache.load(&engine, EMPTY).unwrap();
            assert_eq!(fs::read(&path).unwrap(), good, "byte {place}");
        }
        fs::write(&path, &good[..10]).unwrap();
        cache.load(&engine, EMPTY).unwrap();
        assert_eq!(fs::read(&path).unwrap(), good);
    }

    #[test]
    fn what_was_used_last_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("compiled")).unwrap();
        let engine = crate::engine().unwrap();
        let component = |number: u8| [EMPTY, &[0, 2, 1, b' ' + number]].concat();
        let path = |number| cache.directory.join(name(&engine, &component(number)));
        for number in 0..=u8::try_from(MOST).unwrap() {
            cache.load(&engine, &component(number)).unwrap();
            // The first one is used all the time.
            cache.load(&engine, &component(0)).unwrap();
        }
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), MOST);
        assert!(path(0).exists() && !path(1).exists() && path(2).exists());
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("compiled");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Cache::open(&path), Err(CacheError::NotPrivate { .. })));
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("compiled")).unwrap();
        let engine = crate::engine().unwrap();
        assert!(matches!(cache.load(&engine, b"hello"), Err(CacheError::Compile(_))));
    }
}
