//! Where a running host listens, for the commands of its own machine: its configuration may say
//! something else by now, which it does not take, or has not taken yet.
//!
//! `listening` in the data directory has a URL on each line, that of the Unix socket first, which
//! asks for no token. It is written anew when the host listens elsewhere and removed when it ends; one
//! that a killed host left behind says where it listened last.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

const FILE: &str = "listening";

/// The file of a host's data directory, which goes when the host ends.
#[derive(Debug)]
pub(super) struct Listening {
    data: PathBuf,
}

impl Listening {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// Says where the host listens now. Where that cannot be written, commands ask as the
    /// configuration says.
    pub(super) fn note(&self, urls: &[String]) {
        if let Err(error) = self.write(urls) {
            tracing::warn!(%error, "`{}` cannot be written", self.data.join(FILE).display());
        }
    }

    fn write(&self, urls: &[String]) -> io::Result<()> {
        let (sockets, others): (Vec<_>, Vec<_>) = urls.iter().partition(|url| url.starts_with("unix:"));
        let mut file = NamedTempFile::new_in(&self.data)?;
        for url in sockets {
            // Commands may run in another directory.
            let path = std::path::absolute(url.trim_start_matches("unix:"))?;
            writeln!(file, "unix:{}", path.display())?;
        }
        for url in others {
            writeln!(file, "{url}")?;
        }
        file.persist(self.data.join(FILE))?;
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It is not there, or says where nobody listens any more: neither does harm.
        let _ = std::fs::remove_file(self.data.join(FILE));
    }
}

/// Where the host of a data directory listens, as it says itself; nothing if it does not, or only to
/// others.
pub(crate) fn noted(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data.join(FILE)).ok()?;
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_comes_first_and_an_end_leaves_nothing() {
        let data = tempfile::tempdir().expect("a directory");
        assert_eq!(noted(data.path()), None);
        let listening = Listening::new(data.path());
        listening.note(&["http://127.0.0.1:4510".to_owned(), "unix:/run/r.sock".to_owned()]);
        assert_eq!(noted(data.path()).as_deref(), Some("unix:/run/r.sock"));
        listening.note(&["http://127.0.0.1:4511".to_owned()]);
        assert_eq!(noted(data.path()).as_deref(), Some("http://127.0.0.1:4511"));
        drop(listening);
        assert_eq!(std::fs::read_dir(data.path()).expect("a directory").count(), 0);
    }
}
