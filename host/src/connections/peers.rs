//! The peers that a returner may reach by sockets of its own: `allow_connect`.
//!
//! # Invariants
//! - An address is reached only under a port that is listed with it, or with a name that
//!   leads to it now.
//! - A name that is not listed is not looked up: a question to a name server carries what
//!   is asked out of the sandbox.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::Url;

use super::names::{self, Names};

/// How long the addresses of a name are remembered: each datagram is asked about.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The longest that a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// As in `allow_connect`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// Those of one returner.
pub(crate) struct Peers {
    listed: Vec<Peer>,
    names: Arc<Names>,
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
}

struct Peer {
    protocol: Protocol,
    host: Host,
    port: u16,
}

enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl Peers {
    /// As the configuration has them, checked: `tcp://mail.example:25`.
    pub(crate) fn new(peers: &[String], names: &Arc<Names>) -> Self {
        let peers = peers.iter().filter_map(|peer| Peer::of(&Url::parse(peer).ok()?));
        Self { listed: peers.collect(), names: Arc::clone(names), known: Mutex::default() }
    }

    /// Whether any is by this protocol.
    pub(crate) fn uses(&self, protocol: Protocol) -> bool {
        self.listed.iter().any(|peer| peer.protocol == protocol)
    }

    /// Whether the name is one of the listed ones.
    pub(crate) fn names(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_it = |host: &Host| match host {
            Host::Name(listed) => listed.eq_ignore_ascii_case(name),
            Host::Address(address) => name.parse() == Ok(*address),
        };
        self.listed.iter().any(|peer| is_it(&peer.host))
    }

    /// The addresses of a name that is [listed](Self::names), however a guest writes it.
    pub(crate) fn look_up(
        &self,
        name: &str,
    ) -> impl Future<Output = std::io::Result<Arc<[IpAddr]>>> + Send + Sync + 'static {
        self.names.addresses(name)
    }

    pub(crate) async fn allow(&self, protocol: Protocol, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let fitting = |peer: &&Peer| peer.protocol == protocol && peer.port == address.port();
        for peer in self.listed.iter().filter(fitting) {
            let is_it = match &peer.host {
                Host::Address(listed) => *listed == ip,
                Host::Name(name) => self.addresses(name).await.contains(&ip),
            };
            if is_it {
                return true;
            }
        }
        false
    }

    /// Those that are reached by TCP: by UDP nothing can be told of one.
    pub(crate) fn hosts(&self) -> Vec<names::Host> {
        let listed = self.listed.iter().filter(|peer| peer.protocol == Protocol::Tcp);
        listed.map(|peer| names::Host::new(peer.host.to_string(), peer.port, &self.names)).collect()
    }

    async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        if let Some((at, addresses)) = self.known.lock().get(name)
            && at.elapsed() < REMEMBERED
        {
            return addresses.clone();
        }
        let found = tokio::time::timeout(LOOK_UP, self.names.look_up(name)).await;
        let found: Vec<IpAddr> = match found {
            Ok(Ok(found)) => found.into_iter().map(|address| address.to_canonical()).collect(),
            Ok(Err(_)) | Err(_) => return Vec::new(),
        };
        self.known.lock().insert(name.to_owned(), (Instant::now(), found.clone()));
        found
    }
}

impl Peer {
    fn of(url: &Url) -> Option<Self> {
        let protocol = match url.scheme() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let host = match host.parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) => Host::Name(host),
        };
        Some(Self { protocol, host, port: url.port()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(listed: &[&str]) -> Peers {
        Peers::new(&listed.iter().map(|peer| (*peer).to_owned()).collect::<Vec<_>>(), &Names::new())
    }

    async fn tcp(peers: &Peers, address: &str) -> bool {
        peers.allow(Protocol::Tcp, address.parse().unwrap()).await
    }

    #[tokio::test]
    async fn protocol_address_and_port_are_those_that_are_listed() {
        let peers = peers(&["tcp://192.0.2.1:25", "tcp://[2001:db8::1]:25", "udp://127.0.0.1:514"]);
        assert!(tcp(&peers, "192.0.2.1:25").await);
        assert!(tcp(&peers, "[::ffff:192.0.2.1]:25").await);
        assert!(tcp(&peers, "[2001:db8::1]:25").await);
        for other in ["192.0.2.1:26", "192.0.2.2:25", "127.0.0.1:514", "127.0.0.1:25", "[2001:db8::2]:25"] {
            assert!(!tcp(&peers, other).await, "{other}");
        }
        assert!(peers.allow(Protocol::Udp, "127.0.0.1:514".parse().unwrap()).await);
        assert!(!peers.allow(Protocol::Udp, "192.0.2.1:25".parse().unwrap()).await);
    }

    #[tokio::test]
    async fn a_listed_name_is_what_it_leads_to() {
        let peers = peers(&["tcp://localhost:25", "udp://mail.invalid:25"]);
        assert!(tcp(&peers, "127.0.0.1:25").await);
        assert!(!tcp(&peers, "127.0.0.1:26").await);
        assert!(peers.names("LocalHost") && peers.names("mail.invalid.") && !peers.names("evil.example"));
        assert!(!peers.allow(Protocol::Udp, "127.0.0.1:25".parse().unwrap()).await);
        assert!(peers.uses(Protocol::Tcp) && peers.uses(Protocol::Udp));
    }
}
