//! Whether what the configuration was read from is still what was read.
//!
//! It looks every half second at what the system says of each file and directory. That
//! sees every editor's way of saving, a link that is swapped (as Kubernetes does for what it
//! mounts), and files on a network, which notifications of the system's do not all see; and
//! a burst of changes is one, because it waits until nothing changes any more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Identity, Seen};

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(500);

/// The most looks at changes that go on and on.
const MOST_LOOKS: u32 = 10;

pub(crate) struct Watch {
    seen: Seen,
}

impl Watch {
    /// Of what was seen before it was read.
    pub(super) fn new(seen: Seen) -> Self {
        Self { seen }
    }

    /// Of paths that are read after this.
    pub(crate) fn of(paths: BTreeSet<PathBuf>) -> Self {
        let seen = |path: PathBuf| {
            let identity = Identity::of(&path);
            (path, identity)
        };
        Self::new(paths.into_iter().map(seen).collect())
    }

    /// Of these, too, as they were seen before they were read.
    pub(super) fn with(mut self, seen: &Seen) -> Self {
        self.seen.extend(seen.iter().map(|(path, identity)| (path.clone(), *identity)));
        self
    }

    pub(super) fn paths(&self) -> BTreeSet<PathBuf> {
        self.seen.keys().cloned().collect()
    }

    /// Waits for a change, and until it is over; but not for ever, where something is written
    /// again and again.
    pub(crate) async fn changed(&self) {
        let (mut last, mut looks) = (None, 0);
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.look().await;
            if now != self.seen {
                looks += 1;
                if last.as_ref() == Some(&now) || looks >= MOST_LOOKS {
                    return;
                }
            }
            last = Some(now);
        }
    }

    /// A file on a network can keep a thread waiting, which must not be one that serves.
    async fn look(&self) -> Seen {
        let paths = self.paths();
        let look = tokio::task::spawn_blocking(move || Self::of(paths).seen).await;
        look.unwrap_or_else(|_| self.seen.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Whether it sees the change within some looks.
    async fn sees(watch: &Watch) -> bool {
        tokio::time::timeout(EVERY * 6, watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_written_again_and_again_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf");
        fs::write(&path, "a").unwrap();
        let watch = Watch::of([path.clone()].into());
        let writes = async {
            let mut text = String::new();
            loop {
                text.push('a');
                fs::write(&path, &text).unwrap();
                tokio::time::sleep(EVERY / 10).await;
            }
        };
        tokio::select! {
            seen = tokio::time::timeout(EVERY * MOST_LOOKS * 4, watch.changed()) => assert!(seen.is_ok()),
            () = writes => {}
        }
    }

    #[tokio::test]
    async fn every_way_of_saving_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("one")).unwrap();
        fs::create_dir(path("two")).unwrap();
        fs::write(path("one/conf"), "a").unwrap();
        fs::write(path("two/conf"), "a").unwrap();
        symlink("one", path("data")).unwrap();
        symlink("data/conf", path("mounted")).unwrap();
        fs::write(path("plain"), "a").unwrap();
        let paths: BTreeSet<PathBuf> = ["mounted", "plain", "absent", "one"].into_iter().map(path).collect();

        let watch = Watch::of(paths.clone());
        assert!(!sees(&watch).await, "nothing changed");
        // Written in place, with the same length.
        fs::write(path("plain"), "b").unwrap();
        assert!(sees(&watch).await);
        let watch = Watch::of(paths.clone()).with(&watch.seen);
        assert!(sees(&watch).await, "it changed before it was read");
        let watch = Watch::of(paths.clone());
        // Renamed over.
        fs::write(path("new"), "b").unwrap();
        fs::rename(path("new"), path("plain")).unwrap();
        assert!(sees(&watch).await);
        let watch = Watch::of(paths.clone());
        // A link to the directory, swapped.
        symlink("two", path("swap")).unwrap();
        fs::rename(path("swap"), path("data")).unwrap();
        assert!(sees(&watch).await);
        let watch = Watch::of(paths.clone());
        fs::write(path("absent"), "").unwrap();
        assert!(sees(&watch).await, "it is there now");
        let watch = Watch::of(paths);
        fs::write(path("one/more"), "").unwrap();
        assert!(sees(&watch).await, "a file beside");
    }
}
