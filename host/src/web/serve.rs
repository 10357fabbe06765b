//! Serving a router on a TCP or a Unix socket, until told to stop.
//!
//! Whether a TCP connection is TLS, and who may do what, is asked of the [`Gate`] for each
//! one: that can change while it listens. Where there are too many, [`Seats`] says who goes.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::access::{Gate, Peer};
use super::seats::{Held, Seats};
use super::tls::Tls;
use super::unix::UnixSocket;

/// The time that a client has to send the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// The most connections at once.
const CONNECTIONS: usize = 1024;

/// The time that a connection has to end which has to go: for an answer under way.
const LEAVING: Duration = Duration::from_secs(10);

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

    async fn accept(&self) -> (Accepted, Option<IpAddr>) {
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
    let seats = Seats::new(CONNECTIONS);
    serve_at(&seats, listener, router, gate, stop, drain).await;
}

async fn serve_at(
    seats: &Arc<Seats>,
    listener: Listener,
    router: Router,
    gate: Arc<Gate>,
    stop: CancellationToken,
    drain: Duration,
) {
    let connections = TaskTracker::new();
    let next = async || {
        let (accepted, address) = listener.accept().await;
        let held = seats.take(address).await;
        if held.is_none() {
            tracing::debug!(?address, "too many connections from one address");
        }
        held.map(|held| (accepted, held))
    };
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            next = next() => next,
        };
        let Some((accepted, held)) = next else { continue };
        let (tls, stale) = gate.tls();
        let (router, gate, stop) = (router.clone(), Arc::clone(&gate), stop.clone());
        connections.spawn(async move {
            let ended = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = stale.cancelled() => {}
                }
            };
            connection(accepted, tls, router, gate, held, ended).await;
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

/// Who speaks on a connection, as far as it is known.
struct Client {
    peer: Peer,
    gate: Arc<Gate>,
    held: Held,
    known: AtomicBool,
}

impl Client {
    async fn answer(
        self: Arc<Self>,
        router: Router,
        mut request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let known = self.known.load(Ordering::Relaxed) || self.gate.knows(self.peer, request.headers());
        self.known.store(known, Ordering::Relaxed);
        self.held.begins(known);
        request.extensions_mut().insert(self.peer);
        let answer = router.oneshot(request).await;
        self.held.ends();
        answer
    }
}

/// One connection. When it is `ended`, the request under way is its last.
async fn connection(
    accepted: Accepted,
    tls: Option<Tls>,
    router: Router,
    gate: Arc<Gate>,
    held: Held,
    ended: impl Future<Output = ()>,
) {
    let (mut ended, leave) = (pin!(ended), held.leave.clone());
    let begun = tokio::select! {
        () = &mut ended => return,
        () = leave.cancelled() => return,
        begun = accepted.begin(tls) => begun,
    };
    let (stream, peer) = match begun {
        Ok(begun) => begun,
        Err(error) => return tracing::debug!(%error, "a client could not agree on TLS"),
    };
    let client = Arc::new(Client { peer, gate, held, known: AtomicBool::new(false) });
    let answers = Arc::clone(&client);
    let service = service_fn(move |request| Arc::clone(&answers).answer(router.clone(), request));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // A client that breaks off is no news.
    let leaves = tokio::select! {
        _ = &mut connection => return,
        () = ended => false,
        () = leave.cancelled() => true,
    };
    if leaves && !client.known.load(Ordering::Relaxed) {
        return;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = async { leave.cancelled().await; tokio::time::sleep(LEAVING).await } => {}
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::{AccessSettings, Role, TokenSettings};
    use crate::web::Access;

    /// The answer to a request; nothing where the connection is closed.
    async fn ask(stream: &mut TcpStream, more: &str) -> String {
        let mut answer = [0; 4096];
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{more}\r\n");
        let read = match stream.write_all(request.as_bytes()).await {
            Ok(()) => stream.read(&mut answer).await.unwrap_or(0),
            Err(_) => 0,
        };
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[tokio::test]
    async fn who_shows_no_token_shuts_nobody_out() {
        use sha2::{Digest, Sha256};
        let token =
            TokenSettings { name: "t".to_owned(), digest: Sha256::digest("a").into(), role: Role::Read };
        let settings = AccessSettings { tokens: vec![token], tls: None };
        let gate = Arc::new(Gate::new(Access::new(&settings).expect("good settings")));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("it is bound");
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        let (seats, stop) = (Seats::new(8), CancellationToken::new());
        let served = tokio::spawn({
            let stop = stop.clone();
            async move { serve_at(&seats, Listener::Tcp(tcp), router, gate, stop, Duration::from_secs(5)).await }
        });
        let connect = async || TcpStream::connect(address).await.expect("a connection");
        let token = "Authorization: Bearer a\r\n";
        let mut honest = connect().await;
        assert!(ask(&mut honest, token).await.ends_with("here"));
        let mut others = Vec::new();
        for _ in 0..30 {
            let mut other = connect().await;
            assert!(ask(&mut other, "").await.ends_with("here"));
            others.push(other);
        }
        assert!(ask(&mut honest, token).await.ends_with("here"), "it stays");
        let mut another = connect().await;
        assert!(ask(&mut another, token).await.ends_with("here"), "there is room");
        assert!(ask(&mut others[29], "").await.ends_with("here"));
        assert_eq!(ask(&mut others[0], "").await, "", "it had to go");
        stop.cancel();
        served.await.expect("it ends");
    }
}
