//! Looking names up on a guest's behalf.
//!
//! A name that leads to this machine, or to its network link (where clouds keep their
//! credentials), is no way there: such an address must be allowed itself, or be called
//! `localhost`.

use std::io;
use std::net::{IpAddr, SocketAddr};

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

/// This machine, or what only it can reach.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
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
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["10.0.0.1", "192.0.2.1", "2001:db8::1"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    #[tokio::test]
    async fn localhost_is_what_it_says() {
        assert!(look_up("localhost").await.unwrap().iter().all(|address| address.is_loopback()));
    }
}
