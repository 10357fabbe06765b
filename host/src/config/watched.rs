//! What a configuration was read from, and how it stood there.
//!
//! Promises: how the system shows a path is noted before the path is opened, so that whatever
//! is written from then on makes a difference, also while the rest is read. Whether something
//! stood in a file is what its reader found, and not what stands there a moment later.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the system says of each path; none where there is nothing.
pub(crate) type Seen = BTreeMap<PathBuf, Option<Identity>>;

/// Differs when another file stands there, or it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
    is_file: bool,
}

impl Identity {
    /// None where there is nothing.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_file: metadata.is_file(),
        })
    }
}

/// The files that were read, plugins, certificates and secrets included, and the directories
/// where further ones would be included from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    seen: Seen,
    /// Whether it was empty, of each file that was read.
    read: BTreeMap<PathBuf, bool>,
}

impl Watched {
    /// A path that is about to be opened.
    pub(super) fn add(&mut self, path: PathBuf) {
        let identity = Identity::of(&path);
        // Of several looks the first was before all that was read of it.
        self.seen.entry(path).or_insert(identity);
    }

    /// What stood in a file.
    pub(super) fn read(&mut self, path: &Path, content: &[u8]) {
        *self.read.entry(path.to_owned()).or_default() |= content.is_empty();
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The files in which something stood.
    pub(crate) fn full(&self) -> BTreeSet<PathBuf> {
        let full = self.seen.keys().filter(|path| self.stood_empty(path) == Some(false));
        full.cloned().collect()
    }

    /// Whether this is one of the files, and nothing stood in it.
    pub(crate) fn is_empty(&self, path: &Path) -> bool {
        self.stood_empty(path) == Some(true)
    }

    /// None of what is no file. Those that others read later are judged by their size.
    fn stood_empty(&self, path: &Path) -> Option<bool> {
        let of_its_size = || {
            let identity = self.seen.get(path).copied().flatten();
            identity.filter(|identity| identity.is_file).map(|identity| identity.size == 0)
        };
        self.read.get(path).copied().or_else(of_its_size)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_after_the_first_look_makes_a_difference() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("conf");
        let mut watched = Watched::default();
        watched.add(path.clone());
        fs::write(&path, "a").expect("a file");
        watched.add(path.clone());
        assert_ne!(watched.seen()[&path], Identity::of(&path));
    }

    #[test]
    fn a_file_is_as_empty_as_it_was_when_it_was_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let mut watched = Watched::default();
        for (name, text) in [("empty", ""), ("full", "a"), ("late", ""), ("plugin", "a"), ("nothing", "")] {
            fs::write(path(name), text).expect("a file");
            watched.add(path(name));
        }
        watched.add(directory.path().to_owned());
        // By the time it is read it may be another than when it was looked at, and back again.
        watched.read(&path("empty"), b"");
        watched.read(&path("full"), b"");
        watched.read(&path("late"), b"a");
        assert_eq!(watched.full(), BTreeSet::from([path("late"), path("plugin")]));
        let empty =
            ["empty", "full", "late", "plugin", "nothing", "."].map(|name| watched.is_empty(&path(name)));
        assert_eq!(empty, [true, true, false, false, true, false]);
    }
}
