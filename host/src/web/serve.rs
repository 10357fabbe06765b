//! Serving a router on a TCP or a Unix socket, until told to stop.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The time that a client has to send the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// The most connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 1024;

/// How long to wait after accepting failed, which it does when files run out.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(
        "cannot listen on {address}: {error}\n  hint: is another host running? `host.listen` changes the address"
    )]
    Tcp { address: SocketAddr, error: io::Error },
    #[error("cannot listen on `{}`: {error}", path.display())]
    Unix { path: PathBuf, error: io::Error },
    #[error("`{}` is in use by another process", path.display())]
    InUse { path: PathBuf },
}

/// A socket that listens already.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(crate) async fn tcp(address: SocketAddr) -> Result<Self, ServeError> {
        let bound = TcpListener::bind(address).await;
        Ok(Self::Tcp(bound.map_err(|error| ServeError::Tcp { address, error })?))
    }

    pub(crate) fn unix(path: &Path) -> Result<Self, ServeError> {
        Ok(Self::Unix(bind_unix(path)?, path.to_owned()))
    }

    /// Where it listens, for people.
    pub(crate) fn address(&self) -> String {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}"),
                Err(error) => format!("an address that is not known: {error}"),
            },
            Listener::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    async fn accept(&self) -> Box<dyn Stream> {
        loop {
            let accepted: io::Result<Box<dyn Stream>> = match self {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // An answer is small and must not wait for more.
                    let _ = stream.set_nodelay(true);
                    Box::new(stream) as Box<dyn Stream>
                }),
                Listener::Unix(listener, _) => {
                    listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>)
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

/// Only this user may talk to it, until the configuration can say otherwise.
fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |error| ServeError::Unix { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            if StdUnixStream::connect(path).is_ok() {
                return Err(ServeError::InUse { path: path.to_owned() });
            }
            // A host that did not stop cleanly left it.
            fs::remove_file(path).map_err(failed)?;
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves until the token is cancelled, then lets requests under way end, for so long
/// at most.
pub(crate) async fn serve(listener: Listener, router: Router, stop: CancellationToken, drain: Duration) {
    let graceful = GracefulShutdown::new();
    let permits = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = std::sync::Arc::clone(&permits).acquire_owned().await else { break };
        let stream: Box<dyn Stream> = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that breaks off is no news.
            let _ = connection.await;
            drop(permit);
        });
    }
    if let Listener::Unix(_, path) = &listener {
        let _ = fs::remove_file(path);
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and were broken off");
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
