//! Who is let in, who is judged by what, and how connections end.

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
    let token = TokenSettings { name: "t".to_owned(), digest: Sha256::digest("a").into(), role: Role::Read };
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
