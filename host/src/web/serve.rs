//! Serving a router on a TCP or a Unix socket, until told to stop.
//!
//! Whether a TCP connection is TLS, and who may do what, is asked of the [`Gate`] for each
//! one: that can change while it listens. Where there are too many, [`Seats`] says who goes.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::access::{Access, Gate, Judges, Peer};
use super::listener::{Accepted, Listener};
use super::problem::Problem;
use super::seats::{Held, Seats};
use super::stalled::Stalling;
use super::tls::Tls;
use super::unread::Unread;

/// The time that a client has to send the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// The time in which a client must have taken some of its answer.
const TAKEN: Duration = Duration::from_secs(30);

/// What hyper holds of a request's head, and of a body before it is read, in bytes.
const HELD: usize = 64 << 10;

/// The most connections at once.
const CONNECTIONS: usize = 1024;

/// The time that a connection has to end which has to go: for an answer under way.
const LEAVING: Duration = Duration::from_secs(10);

/// How long a connection that came in as the host left may take to begin its request.
const LATE: Duration = Duration::from_millis(500);

impl Accepted {
    /// Agrees with the client on keys, where that is asked for.
    async fn begin(self, tls: Option<Tls>) -> io::Result<(Box<dyn Stream>, Peer)> {
        match (self, tls) {
            (Accepted::Unix(stream), _) => Ok((Box::new(Stalling::new(stream, TAKEN)), Peer::Socket)),
            (Accepted::Tcp(stream), None) => {
                Ok((Box::new(Stalling::new(stream, TAKEN)), Peer::Tcp { certified: false }))
            }
            (Accepted::Tcp(stream), Some(tls)) => {
                let stream = tls.accept(Stalling::new(stream, TAKEN)).await?;
                // The verifier has let through only those of the configured authority.
                let certified = stream.get_ref().1.peer_certificates().is_some();
                Ok((Box::new(stream), Peer::Tcp { certified }))
            }
        }
    }
}

/// Serves until it is to stop, then lets requests under way end, for so long
/// at most as is said by then.
pub(crate) async fn serve(
    listener: Listener,
    router: Router,
    gate: Arc<Gate>,
    ends: Ends,
    drain: watch::Receiver<Duration>,
) {
    let seats = Seats::new(CONNECTIONS);
    serve_at(&seats, listener, router, gate, ends, drain).await;
}

/// How a listener ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// It is to let nobody more in.
    pub(crate) stop: CancellationToken,
    /// It is closed; requests may be under way.
    pub(crate) closed: CancellationToken,
}

async fn serve_at(
    seats: &Arc<Seats>,
    listener: Listener,
    router: Router,
    gate: Arc<Gate>,
    Ends { stop, closed }: Ends,
    drain: watch::Receiver<Duration>,
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
        let came_in = CameIn { access: gate.access(), stop: stop.clone() };
        let (router, gate) = (router.clone(), Arc::clone(&gate));
        connections.spawn(connection(accepted, came_in, router, gate, held));
    }
    if let Listener::Unix(socket) = &listener {
        socket.remove();
    }
    // Closed, the listener would reset them.
    let waiting = listener.close();
    closed.cancel();
    for (accepted, address) in waiting {
        let Some(held) = seats.take(Some(address)).now_or_never().flatten() else { continue };
        let came_in = CameIn { access: gate.access(), stop: stop.clone() };
        connections.spawn(connection(accepted, came_in, router.clone(), Arc::clone(&gate), held));
    }
    connections.close();
    let drain = *drain.borrow();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not end in time and were broken off");
    }
}

/// How it was when a connection came in, and whether it takes no more requests.
struct CameIn {
    access: Arc<Access>,
    /// The host listens there no more.
    stop: CancellationToken,
}

impl CameIn {
    async fn ended(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.access.stale().cancelled() => {}
        }
    }

    /// What a request is judged by; none where what the connection was let in for is not so now.
    fn judges(&self, peer: Peer, gate: &Gate) -> Option<Judges> {
        // In this order: whoever finds what came later finds the connection ended. A head that was
        // begun before and ends now would else be judged as if it had come in by the new way.
        let now = gate.access();
        let before = self.stop.is_cancelled().then(|| Arc::clone(&self.access));
        // Its certificate may be none now, and the socket's mode may be another.
        let lost = self.access.stale().is_cancelled() || (before.is_some() && peer == Peer::Socket);
        (!lost).then_some(Judges { now, before })
    }
}

/// Who speaks on a connection, as far as it is known.
struct Client {
    peer: Peer,
    gate: Arc<Gate>,
    came_in: CameIn,
    held: Held,
    known: AtomicBool,
    /// A request has begun whose body is not there.
    receives: AtomicBool,
    /// Cancelled when a request has come.
    asked: CancellationToken,
}

/// Told by whoever reads the body of a request that it is there.
#[derive(Clone)]
pub(super) struct Arrival(Arc<Client>);

impl Arrival {
    pub(super) fn arrived(&self) {
        self.0.receives.store(false, Ordering::Relaxed);
        self.0.held.begins(self.0.known.load(Ordering::Relaxed));
    }
}

impl Client {
    /// Nobody is to go on with the connection.
    async fn ended(self: Arc<Self>) {
        tokio::select! {
            () = self.came_in.ended() => {}
            () = self.held.leave.cancelled() => {}
        }
    }

    async fn answer(
        self: Arc<Self>,
        router: Router,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        self.asked.cancel();
        let (head, body) = request.into_parts();
        let body = Unread::new(&head, body, Arc::clone(&self).ended());
        let mut request = Request::from_parts(head, body);
        let Some(judges) = self.came_in.judges(self.peer, &self.gate) else {
            let gone = "this connection began where the host listens no more, or asks otherwise who asks";
            return Ok(Problem::busy(gone).into_response());
        };
        let known = self.known.load(Ordering::Relaxed) || judges.now.knows(self.peer, request.headers());
        self.known.store(known, Ordering::Relaxed);
        match request.body().is_end_stream() {
            true => self.held.begins(known),
            false => {
                self.receives.store(true, Ordering::Relaxed);
                self.held.waits(known);
                request.extensions_mut().insert(Arrival(Arc::clone(&self)));
            }
        }
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(judges);
        if let Some(origin) = self.held.from {
            request.extensions_mut().insert(origin);
        }
        let answer = router.oneshot(request).await;
        self.receives.store(false, Ordering::Relaxed);
        self.held.ends();
        answer
    }
}

/// One connection. When it has ended, the request under way is its last.
async fn connection(accepted: Accepted, came_in: CameIn, router: Router, gate: Arc<Gate>, held: Held) {
    let leave = held.leave.clone();
    let begun = tokio::select! {
        // What needs no keys has begun, also where it came in last.
        biased;
        begun = accepted.begin(came_in.access.tls()) => begun,
        () = came_in.ended() => return,
        () = leave.cancelled() => return,
    };
    let (stream, peer) = match begun {
        Ok(begun) => begun,
        Err(error) => return tracing::debug!(%error, "a client could not agree on TLS"),
    };
    let client = Arc::new(Client {
        peer,
        gate,
        came_in,
        held,
        known: AtomicBool::new(false),
        receives: AtomicBool::new(false),
        asked: CancellationToken::new(),
    });
    let answers = Arc::clone(&client);
    let service = service_fn(move |request| Arc::clone(&answers).answer(router.clone(), request));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HELD);
    // An answer that waits is not copied: it counts as waiting as long as it is held.
    server.writev(true);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // A client that breaks off is no news.
    let leaves = tokio::select! {
        _ = &mut connection => return,
        () = client.came_in.ended() => false,
        () = leave.cancelled() => true,
    };
    // Another has its place: who is not known, or sends nothing, has no time to end anything.
    let is_at_work = client.known.load(Ordering::Relaxed) && !client.receives.load(Ordering::Relaxed);
    if leaves && !is_at_work {
        return;
    }
    if !leaves {
        // One that has asked nothing yet would be closed without a word.
        tokio::select! {
            _ = &mut connection => return,
            () = client.asked.cancelled() => {}
            () = tokio::time::sleep(LATE) => {}
        }
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
#[path = "serve_tests.rs"]
mod tests;
