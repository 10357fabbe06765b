//! Looking names up on a guest's behalf.
//!
//! A name that leads to this machine, to its network link, or to where clouds keep their
//! credentials, is no way there: such an address must be allowed itself, or be called
//! `localhost`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tokio::net::TcpStream;

/// The addresses of a name but those that no name may lead to.
///
/// # Errors
/// If it has none, or only such.
pub(super) async fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    let is_local = name.eq_ignore_ascii_case("localhost");
    let allowed: Vec<IpAddr> =
        found.map(|address| address.ip()).filter(|address| is_local || !is_near(*address)).collect();
    if allowed.is_empty() {
        let message = format!(
            "`{name}` leads to this machine or its network link only, whose address must be allowed itself"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(allowed)
}

/// Where a server listens for TCP.
pub(crate) struct Host {
    /// An address or a name.
    name: String,
    port: u16,
}

impl Host {
    pub(super) fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port }
    }

    /// Whether it can be connected to. Nothing is sent.
    pub(crate) async fn takes_connections(&self) -> bool {
        let addresses = match self.name.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => look_up(&self.name).await,
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
        assert!(look_up("localhost").await.unwrap().iter().all(|address| address.is_loopback()));
    }
}
