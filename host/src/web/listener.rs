//! Where clients come in.
//!
//! An address is reserved while a version of the configuration is tried, by binding it: nobody is let
//! in before there is somebody who answers, and a version that is refused keeps nobody waiting. From
//! `127.0.0.1` to `0.0.0.0` the host has the port already. Linux lets two sockets of one user have it
//! if both say so while the second is bound (socket(7), `SO_REUSEPORT`); that one listens when the
//! first is closed, and shares it no more.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::sockopt::set_socket_reuseport;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

use super::unix::UnixSocket;

/// How many connections wait to be accepted; tokio's own number.
const BACKLOG: u32 = 1024;

/// How long to wait after accepting failed, which it does when files run out.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(
        "cannot listen on {address}: {error}\n  hint: is another host running? `host.listen` changes the address"
    )]
    Tcp { address: SocketAddr, error: io::Error },
    #[error(
        "cannot listen on `{}`: {error}\n  hint: its directory must be there, and this user be allowed to write to it",
        path.display()
    )]
    Unix { path: PathBuf, error: io::Error },
    #[error(
        "`{}` is in use by another process\n  hint: is another host running? `host.socket` names another place",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("cannot give `{}` to {whom}: {error}\n  hint: {hint}", path.display())]
    Owner { path: PathBuf, whom: String, error: io::Error, hint: &'static str },
}

/// A socket that listens.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Listener {
    /// For the next listener, if that is to have the same port.
    pub(crate) fn port(&self) -> Option<Port> {
        let Listener::Tcp(listener) = self else { return None };
        let (handle, address) = (listener.as_fd().try_clone_to_owned().ok()?, listener.local_addr().ok()?);
        Some(Port { handle, address })
    }

    /// Where it listens, for people; `has_tls` says what is spoken there by TCP.
    pub(crate) fn address(&self, has_tls: bool) -> String {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => url(address, has_tls),
                Err(error) => format!("an address that is not known: {error}"),
            },
            Listener::Unix(socket) => format!("unix:{}", socket.path.display()),
        }
    }

    /// Lets nobody more in. Gives those who came by TCP and were not let in yet.
    pub(super) fn close(self) -> Vec<(Accepted, IpAddr)> {
        // By the system's own call: the runtime may not know of the last of them.
        let Listener::Tcp(listener) = self else { return Vec::new() };
        let Ok(listener) = listener.into_std() else { return Vec::new() };
        let waiting = std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG as usize);
        let streams = waiting.filter_map(|(stream, address)| {
            stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).ok()?;
            Some((Accepted::Tcp(TcpStream::from_std(stream).ok()?), address.ip()))
        });
        streams.collect()
    }

    pub(super) async fn accept(&self) -> (Accepted, Option<IpAddr>) {
        loop {
            let accepted = match self {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, address)| {
                    // An answer is small and must not wait for more.
                    let _ = stream.set_nodelay(true);
                    (Accepted::Tcp(stream), Some(address.ip()))
                }),
                Listener::Unix(socket) => {
                    socket.listener.accept().await.map(|(stream, _)| (Accepted::Unix(stream), None))
                }
            };
            match accepted {
                Ok(stream) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                }
            }
        }
    }
}

/// The port of a listener at work. It keeps the port, so it has to end with its listener.
pub(crate) struct Port {
    handle: OwnedFd,
    address: SocketAddr,
}

/// A place that is the host's, where nobody is let in yet.
pub(crate) enum Reserved {
    Tcp { socket: TcpSocket, address: SocketAddr, shared: bool },
    Unix(UnixSocket),
}

impl Reserved {
    /// Takes an address, also where a listener of the host's own has its port.
    pub(crate) fn tcp(address: SocketAddr, own: Option<&Port>) -> Result<Self, ServeError> {
        let own = own.filter(|own| own.address.port() == address.port());
        let reserved = match (bound(address, false), own) {
            (Err(error), Some(own)) if error.kind() == io::ErrorKind::AddrInUse => own.share(address),
            (socket, _) => socket.map(|socket| Self::Tcp { socket, address, shared: false }),
        };
        reserved.map_err(|error| ServeError::Tcp { address, error })
    }

    /// Whether the listener that has the port now must be closed before this one can be opened.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Tcp { shared: true, .. })
    }

    /// Lets clients in; a socket takes its place from whoever has it.
    pub(crate) fn open(self) -> Result<Listener, ServeError> {
        match self {
            Self::Tcp { socket, address, shared: _ } => {
                let listener = socket.set_reuseport(false).and_then(|()| socket.listen(BACKLOG));
                listener.map(Listener::Tcp).map_err(|error| ServeError::Tcp { address, error })
            }
            Self::Unix(socket) => match socket.publish() {
                Ok(()) => Ok(Listener::Unix(socket)),
                Err(error) => Err(ServeError::Unix { path: socket.path, error }),
            },
        }
    }
}

impl Port {
    /// The URL of its listener.
    pub(crate) fn url(&self, has_tls: bool) -> String {
        url(self.address, has_tls)
    }

    fn share(&self, address: SocketAddr) -> io::Result<Reserved> {
        set_socket_reuseport(&self.handle, true)?;
        let socket = bound(address, true);
        set_socket_reuseport(&self.handle, false)?;
        Ok(Reserved::Tcp { socket: socket?, address, shared: true })
    }
}

fn url(address: SocketAddr, has_tls: bool) -> String {
    format!("http{}://{address}", if has_tls { "s" } else { "" })
}

fn bound(address: SocketAddr, shares: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shares)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A connection of which nothing was read yet.
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}
