//! Serving a router on a TCP or a Unix socket, until told to stop.
//!
//! Whether a TCP connection is TLS, and who may do what, is asked of the [`Gate`] for each
//! one: that can change while it listens.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::access::{Gate, Peer};
use super::tls::Tls;
use super::unix::UnixSocket;

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
    #[error("cannot give `{}` to {whom}: {error}\n  hint: {hint}", path.display())]
    Owner { path: PathBuf, whom: String, error: io::Error, hint: &'static str },
}

/// A socket that listens already.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Listener {
    pub(crate) async fn tcp(address: SocketAddr) -> Result<Self, ServeError> {
        let bound = TcpListener::bind(address).await;
        Ok(Self::Tcp(bound.map_err(|error| ServeError::Tcp { address, error })?))
    }

    /// Where it listens, for people.
    pub(crate) fn address(&self, has_tls: bool) -> String {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http{}://{address}", if has_tls { "s" } else { "" }),
                Err(error) => format!("an address that is not known: {error}"),
            },
            Listener::Unix(socket) => format!("unix:{}", socket.path.display()),
        }
    }

    /// Takes the place where clients look for it, from whoever has it.
    pub(crate) fn publish(&self) {
        if let Listener::Unix(socket) = self
            && let Err(error) = socket.publish()
        {
            tracing::error!(%error, "`{}` cannot have its place", socket.path.display());
        }
    }

    async fn accept(&self) -> Accepted {
        loop {
            let accepted = match self {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // An answer is small and must not wait for more.
                    let _ = stream.set_nodelay(true);
                    Accepted::Tcp(stream)
                }),
                Listener::Unix(socket) => {
                    socket.listener.accept().await.map(|(stream, _)| Accepted::Unix(stream))
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

/// A connection of which nothing was read yet.
enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// Agrees with the client on keys, where that is asked for.
    async fn begin(self, tls: Option<Tls>) -> io::Result<(Box<dyn Stream>, Peer)> {
        match (self, tls) {
            (Accepted::Unix(stream), _) => Ok((Box::new(stream), Peer::Socket)),
            (Accepted::Tcp(stream), None) => Ok((Box::new(stream), Peer::Tcp { certified: false })),
            (Accepted::Tcp(stream), Some(tls)) => {
                let stream = tls.accept(stream).await?;
                // The verifier has let through only those of the configured authority.
                let certified = stream.get_ref().1.peer_certificates().is_some();
                Ok((Box::new(stream), Peer::Tcp { certified }))
            }
        }
    }
}

/// Serves until the token is cancelled, then lets requests under way end, for so long
/// at most.
pub(crate) async fn serve(
    listener: Listener,
    router: Router,
    gate: Arc<Gate>,
    stop: CancellationToken,
    drain: Duration,
) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tls, stale) = gate.tls();
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let ended = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = stale.cancelled() => {}
                }
            };
            connection(accepted, tls, router, ended).await;
            drop(permit);
        });
    }
    if let Listener::Unix(socket) = &listener {
        socket.remove();
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not end in time and were broken off");
    }
}

/// One connection. When it is `ended`, the request under way is its last.
async fn connection(accepted: Accepted, tls: Option<Tls>, router: Router, ended: impl Future<Output = ()>) {
    let mut ended = pin!(ended);
    let begun = tokio::select! {
        () = &mut ended => return,
        begun = accepted.begin(tls) => begun,
    };
    let (stream, peer) = match begun {
        Ok(begun) => begun,
        Err(error) => return tracing::debug!(%error, "a client could not agree on TLS"),
    };
    let named = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(named)));
    // A client that breaks off is no news.
    tokio::select! {
        _ = &mut connection => return,
        () = ended => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
