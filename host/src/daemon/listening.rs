//! Where a running host listens, for the commands of its own machine: its configuration may say
//! something else by now, which it does not take, or has not taken yet.
//!
//! `listening` in the data directory has a URL on each line, that of the Unix socket first, which
//! asks for no token. It is written anew when the host listens elsewhere and removed when it ends.
//!
//! Promise: it counts only while its host runs, which holds a lock on it: who is led to where a host
//! was would show its token to whoever is there now.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::NamedTempFile;

const FILE: &str = "listening";

/// The file of a host's data directory, which goes when the host ends.
#[derive(Debug)]
pub(super) struct Listening {
    data: PathBuf,
    /// The file that is there now, locked.
    noted: Option<File>,
}

impl Listening {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), noted: None }
    }

    /// Says where the host listens now. Where that cannot be written, commands ask as the
    /// configuration says.
    pub(super) fn note(&mut self, urls: &[String]) {
        if let Err(error) = self.write(urls) {
            tracing::warn!(%error, "`{}` cannot be written", self.data.join(FILE).display());
        }
    }

    fn write(&mut self, urls: &[String]) -> io::Result<()> {
        let (sockets, others): (Vec<_>, Vec<_>) = urls.iter().partition(|url| url.starts_with("unix:"));
        let mut file = NamedTempFile::new_in(&self.data)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        for url in sockets {
            // Commands may run in another directory.
            let path = std::path::absolute(url.trim_start_matches("unix:"))?;
            writeln!(file, "unix:{}", path.display())?;
        }
        for url in others {
            writeln!(file, "{url}")?;
        }
        self.noted = Some(file.persist(self.data.join(FILE))?);
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It is not there, or says where nobody listens any more: neither does harm.
        let _ = std::fs::remove_file(self.data.join(FILE));
    }
}

/// Where the host of a data directory listens, as it says itself; nothing if none runs, or if it says
/// so only to others.
pub(crate) fn noted(data: &Path) -> Option<String> {
    // Another takes its place while it is looked at.
    (0..3).find_map(|_| {
        let mut file = File::open(data.join(FILE)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.read_to_string(&mut text).ok()?;
                text.lines().next().map(str::to_owned)
            }
            Ok(()) | Err(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_comes_first_and_an_end_leaves_nothing() {
        let data = tempfile::tempdir().expect("a directory");
        assert_eq!(noted(data.path()), None);
        let mut listening = Listening::new(data.path());
        listening.note(&["http://127.0.0.1:4510".to_owned(), "unix:/run/r.sock".to_owned()]);
        assert_eq!(noted(data.path()).as_deref(), Some("unix:/run/r.sock"));
        listening.note(&["http://127.0.0.1:4511".to_owned()]);
        assert_eq!(noted(data.path()).as_deref(), Some("http://127.0.0.1:4511"));
        let left = std::fs::read_to_string(data.path().join(FILE)).expect("it is there");
        drop(listening);
        assert_eq!(std::fs::read_dir(data.path()).expect("a directory").count(), 0);
        // As a host leaves it that was killed.
        std::fs::write(data.path().join(FILE), left).expect("a directory");
        assert_eq!(noted(data.path()), None);
    }
}
