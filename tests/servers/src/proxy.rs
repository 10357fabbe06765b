//! A network that fails: a TCP proxy in front of a server on loopback.
//!
//! What it promises: while it [passes](Weather::Clear), client and server do not notice
//! it. What fails, fails at a byte that the test chooses: in the middle of a statement,
//! at a COMMIT before the server has it, or after the server has it and before the
//! client knows. It knows of MySQL's protocol and of PostgreSQL's how a COMMIT looks, and nothing
//! else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A COMMIT of MySQL's text protocol (the length, the number of the packet, the command), and one of
/// PostgreSQL's (a query, the length, the text).
const COMMITS: [&[u8]; 2] = [b"\x07\0\0\0\x03COMMIT", b"Q\0\0\0\x0bCOMMIT\0"];

/// A chunk of this size is part of a statement that is worth cutting.
const STATEMENT: usize = 512;

/// The bit of MySQL's first packet that offers encryption; in an encrypted connection
/// nobody sees a COMMIT.
const SSL: u8 = 0x08;

/// How the network behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes at once.
    Clear,
    /// Everything passes, each chunk this much later.
    Late(Duration),
    /// Everything passes, this many bytes at a time with a millisecond between them.
    Trickle(usize),
    /// Nothing passes, and nothing is lost: it all arrives when the weather changes.
    Stalled,
    /// Everything is lost and nobody is told. Connections that lost something are cut
    /// when the weather changes.
    Silent,
}

/// Where a connection is cut, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In the middle of a statement: half of it is with the server.
    InStatement,
    /// At a COMMIT, which the server does not get.
    BeforeCommit,
    /// At a COMMIT, whose answer the client does not get.
    AfterCommit,
    /// At a COMMIT, which the server does not get, nor hears it that the client is gone: its side
    /// stays open until the proxy ends.
    HalfOpen,
}

/// A proxy; it ends with its value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
    accepting: JoinHandle<()>,
}

/// What the connections share.
#[derive(Debug)]
struct Network {
    server: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Changes when all connections are to be cut.
    cuts: watch::Sender<u64>,
    armed: Mutex<Option<Cut>>,
    /// The sides of servers that were not told.
    left_open: Mutex<Vec<OwnedWriteHalf>>,
}

/// One connection, seen from both of its pumps.
#[derive(Debug, Default)]
struct Connection {
    /// It is cut before the server's next word.
    deaf: AtomicBool,
    /// It lost bytes: what comes later makes no sense.
    torn: AtomicBool,
}

impl Proxy {
    /// Starts a proxy in front of a server's port.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, crate::free_port())).await;
        let listener = listener.expect("a port that was free just now");
        let port = listener.local_addr().expect("a listener has an address").port();
        let network = Arc::new(Network {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, server)),
            weather: watch::channel(Weather::Clear).0,
            cuts: watch::channel(0).0,
            armed: Mutex::default(),
            left_open: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&network)));
        Self { port, network, accepting }
    }

    /// Starts a proxy in front of a server that Salt's options name; gives the returner's lines
    /// of configuration that lead through it.
    ///
    /// # Panics
    ///
    /// If there is no port among the options, or it cannot listen.
    pub async fn in_front_of(returner: &str, options: &[(&'static str, String)]) -> (Self, String) {
        let port = options.iter().find(|(name, _)| *name == "port");
        let port = port.and_then(|(_, port)| port.parse().ok());
        let proxy = Self::start(port.expect("a server that was started here has a port")).await;
        let line = |(key, value): &(&'static str, String)| match *key {
            "port" => format!("{returner}.port: '{}'\n", proxy.port),
            key => format!("{returner}.{key}: '{value}'\n"),
        };
        let lines = options.iter().map(line).collect();
        (proxy, lines)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes how the network behaves, for connections that are there and for new ones.
    pub fn set(&self, weather: Weather) {
        self.network.weather.send_replace(weather);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.network.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts the next connection that comes to this point.
    pub fn arm(&self, cut: Cut) {
        *self.network.armed() = Some(cut);
    }

    /// Whether a cut that was armed has not happened yet.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.network.armed().is_some()
    }

    /// Takes an armed cut back.
    pub fn disarm(&self) {
        *self.network.armed() = None;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Network {
    fn armed(&self) -> std::sync::MutexGuard<'_, Option<Cut>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cut that a chunk of the client's calls for; it is not armed any more then.
    fn spring(&self, chunk: &[u8]) -> Option<Cut> {
        let mut armed = self.armed();
        let meant = match (*armed)? {
            Cut::InStatement => chunk.len() >= STATEMENT,
            Cut::BeforeCommit | Cut::AfterCommit | Cut::HalfOpen => COMMITS
                .iter()
                .any(|commit| chunk.windows(commit.len()).any(|bytes| bytes.eq_ignore_ascii_case(commit))),
        };
        if meant { armed.take() } else { None }
    }
}

async fn accept(listener: TcpListener, network: Arc<Network>) {
    loop {
        // An error is of one connection that was gone before it was here.
        if let Ok((client, _)) = listener.accept().await {
            let network = Arc::clone(&network);
            tokio::spawn(async move {
                let _ = serve(client, &network).await;
            });
        }
    }
}

/// Serves a connection to its end: both sides are closed when this returns.
async fn serve(client: TcpStream, network: &Network) -> io::Result<()> {
    let mut cuts = network.cuts.subscribe();
    let server = TcpStream::connect(network.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let connection = Connection::default();
    tokio::select! {
        ended = forth(from_client, to_server, network, &connection) => ended,
        ended = back(from_server, to_client, network, &connection) => ended,
        _ = cuts.changed() => Ok(()),
        () = cleared(network, &connection) => Ok(()),
    }
}

/// Client to server.
async fn forth(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    network: &Network,
    connection: &Connection,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let chunk = &buffer[..read];
        match network.spring(chunk) {
            Some(Cut::InStatement) => {
                to.write_all(&chunk[..read / 2]).await?;
                return to.flush().await;
            }
            Some(Cut::BeforeCommit) => return Ok(()),
            Some(Cut::HalfOpen) => {
                network.left_open.lock().unwrap_or_else(PoisonError::into_inner).push(to);
                return Ok(());
            }
            Some(Cut::AfterCommit) => connection.deaf.store(true, Ordering::SeqCst),
            None => {}
        }
        pass(chunk, &mut to, network, connection).await?;
    }
}

/// Server to client.
async fn back(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    network: &Network,
    connection: &Connection,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut is_first = true;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 || connection.deaf.load(Ordering::SeqCst) {
            return Ok(());
        }
        let chunk = &mut buffer[..read];
        if std::mem::take(&mut is_first) {
            offer_no_encryption(chunk);
        }
        pass(chunk, &mut to, network, connection).await?;
    }
}

async fn pass(
    chunk: &[u8],
    to: &mut OwnedWriteHalf,
    network: &Network,
    connection: &Connection,
) -> io::Result<()> {
    let mut weather = network.weather.subscribe();
    let current = *weather.borrow_and_update();
    match current {
        Weather::Clear => to.write_all(chunk).await,
        Weather::Late(by) => {
            tokio::time::sleep(by).await;
            to.write_all(chunk).await
        }
        Weather::Trickle(bytes) => {
            for (sent, piece) in chunk.chunks(bytes.max(1)).enumerate() {
                // What is left of a long chunk need not trickle in better weather.
                if *weather.borrow() != current {
                    return to.write_all(&chunk[sent * bytes.max(1)..]).await;
                }
                to.write_all(piece).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        }
        Weather::Stalled => {
            let _ = weather.wait_for(|weather| *weather != Weather::Stalled).await;
            to.write_all(chunk).await
        }
        Weather::Silent => {
            connection.torn.store(true, Ordering::SeqCst);
            Ok(())
        }
    }
}

/// Ends a connection that lost bytes, when the silence does.
async fn cleared(network: &Network, connection: &Connection) {
    let mut weather = network.weather.subscribe();
    loop {
        if *weather.borrow_and_update() != Weather::Silent && connection.torn.load(Ordering::SeqCst) {
            return;
        }
        if weather.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// In the greeting of MySQL's server (the length, number 0, version 10): the text of its
/// version ends with a zero; behind it are 13 bytes, and what it is capable of.
fn offer_no_encryption(chunk: &mut [u8]) {
    let is_greeting = chunk.get(3..5) == Some(&[0, 10]);
    let end = chunk.iter().skip(5).position(|byte| *byte == 0);
    if let (true, Some(end)) = (is_greeting, end)
        && let Some(upper) = chunk.get_mut(5 + end + 1 + 13 + 1)
    {
        *upper &= !SSL;
    }
}
