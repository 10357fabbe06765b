//! Looking names up on a guest's behalf.
//!
//! A name that leads to this machine, to its network link, or to where clouds keep their
//! credentials, is no way there: such an address must be allowed itself, or be called
//! `localhost`.
//!
//! # Invariants
//! - A name server that does not answer holds a thread for as long as the system waits for it,
//!   and nobody can take that back. So the threads that wait are apart from all others, and one
//!   returner has two of them at most.
//! - Of one name there is one look-up at a time, whoever asks; what came of it is the answer to
//!   all who ask meanwhile and within the second after it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// How many look-ups of one returner are under way at once.
const AT_ONCE: usize = 2;

/// How many names of one returner are looked up, wait for it, or are remembered.
const MOST_NAMES: usize = 100;

/// How many threads there are for all of them.
const THREADS: usize = 32;

/// How long the answer holds.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The threads that wait for name servers, none of them before somebody may ask.
static WAITING: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(THREADS).thread_name("names").build()
});

/// Asks the system for a name's addresses, and waits.
type Ask = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// What came of a look-up, and when.
#[derive(Clone)]
struct Found {
    at: Instant,
    addresses: Result<Arc<[IpAddr]>, Arc<str>>,
}

/// The look-ups of one returner.
pub(crate) struct Names {
    ask: Arc<Ask>,
    permits: Arc<Semaphore>,
    known: Mutex<HashMap<String, Shared<BoxFuture<'static, Found>>>>,
}

impl Names {
    pub(crate) fn new() -> Arc<Self> {
        // They are as nice as the one that begins them, which is not to be a guest's.
        LazyLock::force(&WAITING);
        Self::asking(Arc::new(|name: &str| {
            Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        }))
    }

    fn asking(ask: Arc<Ask>) -> Arc<Self> {
        Arc::new(Self { ask, permits: Arc::new(Semaphore::new(AT_ONCE)), known: Mutex::default() })
    }

    /// All addresses of a name, or of an address. Looking them up has begun when this returns, and
    /// goes on whoever waits.
    ///
    /// # Errors
    /// If it has none, or nobody answers.
    pub(crate) fn addresses(
        &self,
        name: &str,
    ) -> impl Future<Output = io::Result<Arc<[IpAddr]>>> + Send + Sync + 'static {
        let found = self.found(name);
        async move { found.await.addresses.map_err(|error| io::Error::other(&*error)) }
    }

    fn found(&self, name: &str) -> Shared<BoxFuture<'static, Found>> {
        let at_once = |addresses| {
            let found = Found { at: Instant::now(), addresses };
            std::future::ready(found).boxed().shared()
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Ok(address) = name.parse::<IpAddr>() {
            return at_once(Ok([address].into()));
        }
        let holds = |found: &Shared<BoxFuture<'static, Found>>| {
            found.peek().is_none_or(|found| found.at.elapsed() < REMEMBERED)
        };
        let mut known = self.known.lock();
        if let Some(found) = known.get(&name).filter(|found| holds(found)) {
            return found.clone();
        }
        known.retain(|_, found| holds(found));
        if known.len() >= MOST_NAMES {
            return at_once(Err("too many names are looked up at once".into()));
        }
        let found = self.look_up_aside(name.clone());
        known.insert(name, found.clone());
        found
    }

    /// Begins to, on the threads that are for it.
    fn look_up_aside(&self, name: String) -> Shared<BoxFuture<'static, Found>> {
        let (ask, permits) = (Arc::clone(&self.ask), Arc::clone(&self.permits));
        let look = async move {
            // Kept until the thread is free again.
            let _permit = permits.acquire_owned().await;
            match tokio::task::spawn_blocking(move || ask(&name)).await {
                Ok(Ok(addresses)) => Ok(addresses.into()),
                Ok(Err(error)) => Err(error.to_string().into()),
                Err(error) => Err(error.to_string().into()),
            }
        };
        let looking = WAITING.as_ref().map(|waiting| waiting.spawn(look));
        let looking = looking.map_err(|error| format!("no thread looks names up: {error}"));
        let found = async move {
            let addresses = match looking {
                Ok(looking) => looking.await.unwrap_or_else(|error| Err(error.to_string().into())),
                Err(error) => Err(error.into()),
            };
            Found { at: Instant::now(), addresses }
        };
        found.boxed().shared()
    }

    /// The addresses of a name but those that no name may lead to.
    ///
    /// # Errors
    /// If it has none, or only such.
    pub(super) async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.addresses(name).await?;
        let is_local = name.eq_ignore_ascii_case("localhost");
        let allowed: Vec<IpAddr> =
            found.iter().copied().filter(|address| is_local || !is_near(*address)).collect();
        if allowed.is_empty() {
            let message = format!(
                "`{name}` leads to this machine or its network link only, whose address must be allowed itself"
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(allowed)
    }
}

/// Where a server listens for TCP.
pub(crate) struct Host {
    /// An address or a name.
    name: String,
    port: u16,
    names: Arc<Names>,
}

impl Host {
    pub(super) fn new(name: impl Into<String>, port: u16, names: &Arc<Names>) -> Self {
        Self { name: name.into(), port, names: Arc::clone(names) }
    }

    /// Whether it can be connected to. Nothing is sent.
    pub(crate) async fn takes_connections(&self) -> bool {
        let addresses = match self.name.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.names.look_up(&self.name).await,
        };
        let Ok(addresses) = addresses else { return false };
        let addresses: Vec<SocketAddr> =
            addresses.into_iter().map(|address| (address, self.port).into()).collect();
        TcpStream::connect(&*addresses).await.is_ok()
    }
}

/// Where clouds tell a machine its credentials, beside the network link: Amazon's by IPv6,
/// Alibaba's, Oracle's and Azure's.
const OF_CLOUDS: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// This machine, or what only it can reach, or everybody at once.
fn is_near(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let inner = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => within(v6),
    };
    is_near_itself(address) || inner.is_some_and(|v4| is_near_itself(v4.into()))
}

fn is_near_itself(address: IpAddr) -> bool {
    let is_special = match address {
        // `0.x.y.z` is this network, and some systems take it for this machine.
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_special
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || OF_CLOUDS.contains(&address)
        || is_own(address)
}

/// Whether an interface of this machine has the address: what goes there comes from there, and
/// nothing else can be bound to, unless the system lets everything be.
fn is_own(address: IpAddr) -> bool {
    let (any, nobodys): (IpAddr, IpAddr) = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let binds = |address: IpAddr| UdpSocket::bind((address, 0));
    // Nothing is sent.
    let comes_from = |socket: UdpSocket| {
        socket.connect((address, 9)).and_then(|()| socket.local_addr()).map(|from| from.ip())
    };
    binds(any).and_then(comes_from).is_ok_and(|from| from == address)
        || (binds(address).is_ok() && binds(nobodys).is_err())
}

/// The address that one of version 6 stands for: behind a gateway of 6to4 (`2002::/16`) or of
/// NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`), or as it was written before those.
fn within(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let two = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0x2002, high, low, ..] => two(high, low),
        [0x64, 0xff9b, 0 | 1, .., high, low] | [0, 0, 0, 0, 0, 0, high, low] => two(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_addresses_are_known_in_every_spelling() {
        for near in [
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::",
            "0.1.2.3",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "fd00:ec2::254",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::127.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::6464:64c8",
            "64:ff9b:1::127.0.0.1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in [
            "10.0.0.1",
            "192.0.2.1",
            "2001:db8::1",
            "100.100.100.201",
            "2002:c000:201::",
            "64:ff9b::192.0.2.1",
            "fd00:ec2::253",
        ] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    /// What this machine calls itself towards others; nothing is sent.
    #[test]
    fn the_address_of_an_interface_is_near() {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        // Without a way there, the machine has no address that others know.
        if socket.connect("192.0.2.1:9").is_ok() {
            let own = socket.local_addr().expect("an address").ip();
            assert!(is_near(own), "{own}");
        }
    }

    #[tokio::test]
    async fn localhost_is_what_it_says() {
        let names = Names::new();
        assert!(names.look_up("localhost").await.unwrap().iter().all(|address| address.is_loopback()));
    }

    /// A name server that answers nobody, until it is let go.
    struct Silent {
        names: Arc<Names>,
        asked: Arc<Mutex<Vec<String>>>,
        let_go: std::sync::mpsc::Sender<()>,
    }

    fn silent() -> Silent {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (let_go, waits) = std::sync::mpsc::channel();
        let waits = Mutex::new(waits);
        let noted = Arc::clone(&asked);
        let names = Names::asking(Arc::new(move |name: &str| {
            noted.lock().push(name.to_owned());
            let _ = waits.lock().recv();
            Err(io::Error::other("nobody answers"))
        }));
        Silent { names, asked, let_go }
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_whoever_asks_and_however_often_they_leave() {
        let Silent { names, asked, let_go } = silent();
        for _ in 0..1000 {
            drop(names.addresses("Mail.example."));
        }
        until(|| !asked.lock().is_empty()).await;
        let answer = names.addresses("mail.example");
        let_go.send(()).unwrap();
        assert_eq!(answer.await.unwrap_err().to_string(), "nobody answers");
        assert!(names.look_up("mail.example").await.is_err(), "a failure is remembered");
        assert_eq!(*asked.lock(), ["mail.example"]);
    }

    #[tokio::test]
    async fn look_ups_that_hang_are_few_and_take_no_thread_of_the_hosts() {
        let Silent { names, asked, let_go } = silent();
        for number in 0..3 * MOST_NAMES {
            drop(names.addresses(&format!("host{number}.example")));
        }
        until(|| asked.lock().len() == AT_ONCE).await;
        assert_eq!(names.known.lock().len(), MOST_NAMES);
        let refused = names.addresses("one.more.example").await.unwrap_err();
        assert!(refused.to_string().contains("too many names"), "{refused}");
        // Whoever else looks names up is not kept waiting, nor are the host's own.
        assert!(Names::new().look_up("localhost").await.is_ok());
        let own = tokio::task::spawn_blocking(|| std::thread::current().name().map(str::to_owned));
        assert_ne!(own.await.unwrap().as_deref(), Some("names"));
        assert_eq!(asked.lock().len(), AT_ONCE);
        drop(let_go);
        until(|| asked.lock().len() == MOST_NAMES).await;
    }
}
