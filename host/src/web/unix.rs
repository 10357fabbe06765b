//! The Unix socket: whose it is, and who may connect.
//!
//! It is bound in a directory that is closed to others, given its owner and mode there,
//! and moved to its place when it is served: so there is no moment at which others may
//! connect than those of the settings, and one socket takes another's place at once.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::UnixListener;

use super::listener::ServeError;
use crate::config::SocketSettings;

pub(crate) struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Where it is until it has its place.
    bound: PathBuf,
    closed: TempDir,
    /// Device and inode.
    file: (u64, u64),
}

impl UnixSocket {
    /// `ours`: what is at its place now is this host's, and is to be replaced.
    pub(crate) fn bind(settings: &SocketSettings, ours: bool) -> Result<Self, ServeError> {
        let path = &settings.path;
        let failed = |error| ServeError::Unix { path: path.clone(), error };
        // It is bound under a short name, which says nothing of whether its own can be connected to.
        SocketAddr::from_pathname(path).map_err(failed)?;
        if !ours {
            check_place(path)?;
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let closed =
            tempfile::Builder::new().prefix(".s").rand_bytes(4).tempdir_in(parent).map_err(failed)?;
        let bound = closed.path().join("s");
        let listener = UnixListener::bind(&bound).map_err(failed)?;
        give(settings, &bound)?;
        fs::set_permissions(&bound, Permissions::from_mode(settings.mode)).map_err(failed)?;
        let metadata = fs::metadata(&bound).map_err(failed)?;
        let file = (metadata.dev(), metadata.ino());
        Ok(Self { listener, path: path.clone(), bound, closed, file })
    }

    /// Moves it to its place.
    pub(super) fn publish(&self) -> io::Result<()> {
        fs::rename(&self.bound, &self.path)?;
        // Not only when this ends: a host that is killed would leave it.
        let _ = fs::remove_dir(self.closed.path());
        Ok(())
    }

    /// Leaves its place, if another has not taken it.
    pub(super) fn remove(&self) {
        let is_ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A host that did not stop cleanly leaves its socket, which may go; nothing else may.
fn check_place(path: &Path) -> Result<(), ServeError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "something is there that is no socket");
        return Err(ServeError::Unix { path: path.to_owned(), error });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ServeError::InUse { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// Gives the socket to whom the settings name.
fn give(settings: &SocketSettings, bound: &Path) -> Result<(), ServeError> {
    let SocketSettings { path, owner, group, .. } = settings;
    let failed = |whom: &str, error, hint| ServeError::Owner {
        path: path.clone(),
        whom: whom.to_owned(),
        error,
        hint,
    };
    let id = |name: &Option<String>, file: &str| match name {
        None => Ok(None),
        Some(name) => name.parse().ok().or_else(|| in_file(file, name)).map(Some).ok_or_else(|| {
            let error = io::Error::new(io::ErrorKind::NotFound, format!("`{file}` does not have that name"));
            failed(&format!("`{name}`"), error, "give the number, where a directory service has the name")
        }),
    };
    let (user, members) = (id(owner, "/etc/passwd")?, id(group, "/etc/group")?);
    if user.is_none() && members.is_none() {
        return Ok(());
    }
    let named = [owner, group].into_iter().flatten().map(|name| format!("`{name}`"));
    chown(bound, user, members).map_err(|error| {
        let hint = "only root gives files away, and others only to groups that they are in";
        failed(&named.collect::<Vec<_>>().join(" and "), error, hint)
    })
}

/// The number behind a name in `/etc/passwd` or `/etc/group` (passwd(5), group(5)): its
/// third field.
fn in_file(file: &str, name: &str) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The system has a bound for the paths of sockets; a path below it can be connected to.
    #[tokio::test]
    async fn a_path_that_nobody_could_connect_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let settings = |length: usize| {
            let name = "s".repeat(length - directory.path().as_os_str().len() - 1);
            SocketSettings { path: directory.path().join(name), mode: 0o600, owner: None, group: None }
        };
        let longest = settings(107);
        let socket = UnixSocket::bind(&longest, false).unwrap();
        socket.publish().unwrap();
        assert!(UnixStream::connect(&longest.path).is_ok());
        let refused = UnixSocket::bind(&settings(108), false).err().expect("it is too long");
        assert!(matches!(refused, ServeError::Unix { .. }), "{refused}");
    }

    #[test]
    fn names_have_numbers() {
        assert_eq!(in_file("/etc/passwd", "root"), Some(0));
        assert_eq!(in_file("/etc/group", "root"), Some(0));
        assert_eq!(in_file("/etc/passwd", "no such user"), None);
        assert_eq!(in_file("/etc/passwd", ""), None);
    }
}
