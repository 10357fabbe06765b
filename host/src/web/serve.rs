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
mod tests {
    use std::net::SocketAddr;

    use axum::Extension;
    use axum::http::HeaderMap;
    use sha2::{Digest, Sha256};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::{AccessSettings, Role, ServerTlsSettings, TokenSettings};

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

    /// Everybody's; says whether whoever asks may read.
    async fn here(Extension(judges): Extension<Judges>, headers: HeaderMap) -> &'static str {
        let role = judges.role(Peer::Tcp { certified: false }, &headers, Role::Read);
        if role.is_ok_and(|role| role.covers(Role::Read)) { "may read here" } else { "here" }
    }

    /// Serves `/` where a token is asked for; ends when told to.
    async fn serving(seats: usize) -> (SocketAddr, Arc<Gate>, CancellationToken, JoinHandle<()>) {
        let token =
            TokenSettings { name: "t".to_owned(), digest: Sha256::digest("a").into(), role: Role::Read };
        let settings = AccessSettings { tokens: vec![token], tls: None };
        let gate = Arc::new(Gate::new(Access::new(&settings).expect("good settings")));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("it is bound");
        let router = Router::new().route("/", axum::routing::get(here));
        let stop = CancellationToken::new();
        let (stopped, served) = (stop.clone(), Arc::clone(&gate));
        let task = tokio::spawn(async move {
            let drain = watch::Sender::new(Duration::from_secs(5)).subscribe();
            let ends = Ends { stop: stopped, closed: CancellationToken::new() };
            serve_at(&Seats::new(seats), Listener::Tcp(tcp), router, served, ends, drain).await;
        });
        (address, gate, stop, task)
    }

    /// Without a token, it gets what is open to all, and nothing that came to be so later.
    #[tokio::test]
    async fn a_head_that_was_begun_before_a_change_is_not_judged_by_what_is_so_now() {
        let authority = returner_servers::Authority::new();
        let issued = authority.issue("server");
        let tls = ServerTlsSettings {
            certificate: issued.certificate.clone(),
            key: issued.key.clone(),
            client_ca: None,
            client_role: Role::Write,
            contents: String::new(),
            contents_of_ca: String::new(),
        };
        let moved = AccessSettings::default();
        let with_tls = AccessSettings { tokens: Vec::new(), tls: Some(tls) };
        for (new, stops) in [(moved, true), (with_tls, false)] {
            let (address, gate, stop, served) = serving(8).await;
            let mut slow = TcpStream::connect(address).await.expect("a connection");
            slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.expect("a write");
            // What comes after it is answered: it was read, here where all runs on one thread.
            let mut other = TcpStream::connect(address).await.expect("a connection");
            assert!(ask(&mut other, "").await.ends_with("here"));
            if stops {
                stop.cancel();
            }
            gate.change(Access::new(&new).expect("good settings"));
            slow.write_all(b"\r\n").await.expect("a write");
            let mut answer = String::new();
            slow.read_to_string(&mut answer).await.expect("an answer, and the end");
            // Where it was, it is answered as there; what it has agreed on for TLS is worth nothing.
            let expected =
                if stops { answer.ends_with("\r\n\r\nhere") } else { answer.starts_with("HTTP/1.1 503 ") };
            assert!(expected, "{answer}");
            stop.cancel();
            served.await.expect("it ends");
        }
    }

    /// Here nobody reads bodies; who sends one hears so all the same, and can go on.
    #[tokio::test]
    async fn who_is_refused_hears_so_after_all_was_sent() {
        const LENGTH: usize = 8 << 20;
        let (address, _, stop, served) = serving(8).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        for _ in 0..3 {
            let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("a write");
            stream.write_all(&vec![b' '; LENGTH]).await.expect("all of it is taken");
            let mut answer = [0; 4096];
            let read = stream.read(&mut answer).await.expect("an answer");
            assert!(answer[..read].starts_with(b"HTTP/1.1 405 "), "{}", String::from_utf8_lossy(&answer));
        }
        // Who waits to be asked for it is not asked.
        let head =
            format!("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("a write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer, and the end");
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        stop.cancel();
        served.await.expect("it ends");
    }

    /// Who sends a body without an end that nobody reads holds up no stop.
    #[tokio::test]
    async fn what_is_thrown_away_ends_with_the_listener() {
        let (address, _, stop, served) = serving(8).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("a write");
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..read].starts_with(b"HTTP/1.1 405 "), "{}", String::from_utf8_lossy(&answer));
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(3), served).await.expect("it ends soon").expect("it ends");
    }

    /// Who waited to be let in when the listener was told to stop is answered.
    #[tokio::test]
    async fn who_was_there_before_the_end_is_answered() {
        let (address, _, stop, served) = serving(8).await;
        let streams = [(); 4].map(|()| std::net::TcpStream::connect(address).expect("a connection"));
        stop.cancel();
        for stream in streams {
            stream.set_nonblocking(true).expect("a socket");
            let mut stream = TcpStream::from_std(stream).expect("a socket");
            assert!(ask(&mut stream, "").await.ends_with("here"));
        }
        served.await.expect("it ends");
        TcpStream::connect(address).await.expect_err("nobody listens");
    }

    #[tokio::test]
    async fn who_shows_no_token_shuts_nobody_out() {
        let (address, _, stop, served) = serving(8).await;
        let connect = async || TcpStream::connect(address).await.expect("a connection");
        let token = "Authorization: Bearer a\r\n";
        let mut honest = connect().await;
        assert!(ask(&mut honest, token).await.ends_with("may read here"));
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
