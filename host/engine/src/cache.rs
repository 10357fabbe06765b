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
//! - Files are reached by the directory that was opened and looked at, never by its path,
//!   which may lead elsewhere by then; and only one of this user's, which nobody else can
//!   write to, is taken.
//! - At most [`MOST`] files: those that were used last.

use std::ffi::CStr;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, open, openat, renameat, statat, unlinkat};
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
    directory: Arc<OwnedFd>,
}

impl Cache {
    /// Opens the directory, and makes it where it is missing.
    ///
    /// # Errors
    /// If it cannot be made or is not private.
    pub fn open(directory: &Path) -> Result<Self, CacheError> {
        let failed = |error| CacheError::Directory { path: directory.to_owned(), error };
        let not_private = || CacheError::NotPrivate { path: directory.to_owned() };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        if fs::symlink_metadata(directory).map_err(failed)?.is_symlink() {
            return Err(not_private());
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open(directory, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        // Of what was opened, and not of what the path leads to.
        let metadata = File::from(opened.try_clone().map_err(failed)?).metadata().map_err(failed)?;
        if !is_own(&metadata) || metadata.mode() & 0o077 != 0 {
            return Err(not_private());
        }
        Ok(Self { directory: Arc::new(opened) })
    }

    /// The component, from the cache if it is there, or else compiled and kept.
    ///
    /// `compile` makes of a component what [`precompile`](crate::precompile) makes of it: what it
    /// gives is run as it is. It takes from milliseconds (Rust) to ten seconds (Python,
    /// JavaScript) of every core: call this off the threads that serve.
    ///
    /// # Errors
    /// Those of `compile`, and if the code does not fit the engine. A file that cannot be
    /// written only costs time at the next start.
    pub fn load<E: From<CacheError>>(
        &self,
        engine: &Engine,
        component: &[u8],
        compile: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Component, E> {
        let name = name(engine, component);
        if let Some(component) = self.read(engine, &name) {
            return Ok(component);
        }
        let compiled = compile(component)?;
        // Not being able to keep it is no reason not to run it.
        let _ = self.write(&name, &compiled);
        deserialize(engine, &compiled).map_err(|error| CacheError::Compile(error).into())
    }

    /// Whether it is there, as far as its name says.
    #[must_use]
    pub fn knows(&self, engine: &Engine, component: &[u8]) -> bool {
        statat(&self.directory, name(engine, component), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn read(&self, engine: &Engine, name: &str) -> Option<Component> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(&self.directory, name, flags, Mode::empty());
        let component = opened.ok().and_then(|file| take(engine, File::from(file)));
        if component.is_none() {
            let _ = self.remove(name);
        }
        component
    }

    fn write(&self, name: &str, compiled: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let new = format!("{}.{}.new", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Of an earlier process with the same number.
        let _ = self.remove(&new);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, &new, flags, Mode::RUSR | Mode::WUSR)?;
        let written = fill(File::from(file), compiled);
        let kept = written.and_then(|()| Ok(renameat(&self.directory, &new, &self.directory, name)?));
        if kept.is_err() {
            let _ = self.remove(&new);
        }
        kept.and_then(|()| self.forget())
    }

    /// Removes what was used longest ago, where there are too many.
    fn forget(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let name = entry?.file_name().to_owned();
            if name.as_c_str() != c"." && name.as_c_str() != c".." {
                let stat = statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                kept.push((stat.st_mtime, stat.st_mtime_nsec, name));
            }
        }
        kept.sort_unstable();
        let too_many = kept.len().saturating_sub(MOST);
        kept[..too_many].iter().try_for_each(|(_, _, name)| self.remove::<&CStr>(name))
    }

    fn remove<N: rustix::path::Arg>(&self, name: N) -> io::Result<()> {
        Ok(unlinkat(&self.directory, name, AtFlags::empty())?)
    }
}

fn is_own(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

fn fill(mut file: File, compiled: &[u8]) -> io::Result<()> {
    file.write_all(&Sha256::digest(compiled))?;
    file.write_all(compiled)?;
    file.sync_all()
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

/// What a file holds, if it is this user's and whole.
fn take(engine: &Engine, mut file: File) -> Option<Component> {
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || !is_own(&metadata) || metadata.mode() & 0o022 != 0 {
        return None;
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).ok()?;
    // By which the cache knows what to keep.
    let _ = file.set_modified(SystemTime::now());
    let (digest, compiled) = content.split_at_checked(32)?;
    if Sha256::digest(compiled)[..] != *digest {
        return None;
    }
    deserialize(engine, compiled).ok()
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
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    struct Kept {
        cache: Cache,
        engine: Engine,
        path: PathBuf,
        _parent: TempDir,
    }

    fn kept() -> Kept {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("compiled");
        Kept { cache: Cache::open(&path).unwrap(), engine: crate::engine().unwrap(), path, _parent: parent }
    }

    impl Kept {
        fn load(&self, component: &[u8]) -> Result<Component, CacheError> {
            let compile = |bytes: &[u8]| crate::precompile(&self.engine, bytes).map_err(CacheError::Compile);
            self.cache.load(&self.engine, component, compile)
        }

        fn file(&self, component: &[u8]) -> PathBuf {
            self.path.join(name(&self.engine, component))
        }
    }

    #[test]
    fn a_component_is_compiled_once() {
        let kept = kept();
        assert!(!kept.cache.knows(&kept.engine, EMPTY));
        kept.load(EMPTY).unwrap();
        assert!(kept.cache.knows(&kept.engine, EMPTY));
        let again = |_: &[u8]| -> Result<Vec<u8>, CacheError> { panic!("it is kept") };
        kept.cache.load(&kept.engine, EMPTY, again).unwrap();
    }

    #[test]
    fn an_altered_file_is_compiled_again() {
        let kept = kept();
        kept.load(EMPTY).unwrap();
        let path = kept.file(EMPTY);
        let good = fs::read(&path).unwrap();
        for place in [0, 32, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, &bad).unwrap();
            kept.load(EMPTY).unwrap();
            assert_eq!(fs::read(&path).unwrap(), good, "byte {place}");
        }
        fs::write(&path, &good[..10]).unwrap();
        kept.load(EMPTY).unwrap();
        assert_eq!(fs::read(&path).unwrap(), good);
    }

    #[test]
    fn what_was_used_last_is_kept() {
        let kept = kept();
        let component = |number: u8| [EMPTY, &[0, 2, 1, b' ' + number]].concat();
        for number in 0..=u8::try_from(MOST).unwrap() {
            kept.load(&component(number)).unwrap();
            // The first one is used all the time.
            kept.load(&component(0)).unwrap();
        }
        let is_there = |number| kept.file(&component(number)).exists();
        assert_eq!(fs::read_dir(&kept.path).unwrap().count(), MOST);
        assert!(is_there(0) && !is_there(1) && is_there(2));
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("compiled");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Cache::open(&path), Err(CacheError::NotPrivate { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(Cache::open(&link), Err(CacheError::NotPrivate { .. })));
    }

    /// Nothing is run that somebody else may have written, or that stands elsewhere.
    #[test]
    fn a_file_that_others_can_write_to_and_a_link_are_not_taken() {
        let kept = kept();
        kept.load(EMPTY).unwrap();
        let path = kept.file(EMPTY);
        let is_taken = || {
            let mut compiled = false;
            let compile = |bytes: &[u8]| {
                compiled = true;
                crate::precompile(&kept.engine, bytes).map_err(CacheError::Compile)
            };
            kept.cache.load(&kept.engine, EMPTY, compile).unwrap();
            !compiled
        };
        assert!(is_taken());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(!is_taken() && is_taken());
        let elsewhere = kept.path.join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(!is_taken() && is_taken());
        assert!(elsewhere.exists());
    }

    /// The directory is the one that was opened, whatever is put in its place.
    #[test]
    fn another_directory_in_its_place_is_not_looked_into() {
        let kept = kept();
        kept.load(EMPTY).unwrap();
        let moved = kept.path.with_file_name("moved");
        fs::rename(&kept.path, &moved).unwrap();
        fs::create_dir(&kept.path).unwrap();
        assert!(kept.cache.knows(&kept.engine, EMPTY));
        kept.load(&[EMPTY, &[0, 2, 1, b'x']].concat()).unwrap();
        assert_eq!(fs::read_dir(&moved).unwrap().count(), 2);
        assert_eq!(fs::read_dir(&kept.path).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_component_is_refused() {
        assert!(matches!(kept().load(b"hello"), Err(CacheError::Compile(_))));
    }
}
