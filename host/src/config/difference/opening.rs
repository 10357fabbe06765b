//! Which keys of a newer version let somebody do what nobody could, or who could not, before.

use std::net::SocketAddr;

use crate::config::access::{AccessSettings, Role, SocketSettings};
use crate::config::settings::HostSettings;

/// Those of `host`'s keys that open it further. Where that cannot be told from the words, such as
/// for another group, they do.
pub(super) fn opened(old: &HostSettings, new: &HostSettings) -> Vec<&'static str> {
    let mut keys = Vec::new();
    keys.extend(is_reached_by_more(old.listen, new.listen).then_some("listen"));
    keys.extend(has_more_tokens(&old.access, &new.access).then_some("tokens"));
    keys.extend(takes_more_certificates(&old.access, &new.access).then_some("tls"));
    match (&old.socket, &new.socket) {
        (None, Some(_)) => keys.push("socket"),
        (Some(old), Some(new)) => keys.extend(has_more_users(old, new)),
        (_, None) => {}
    }
    keys
}

/// Unless it is where it was, nowhere, or a part of it, somebody may reach the host who could not.
fn is_reached_by_more(old: Option<SocketAddr>, new: Option<SocketAddr>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return new.is_some() };
    let (old, new) = (old.ip(), new.ip());
    let is_part = old.is_unspecified() && (old.is_ipv6() || new.is_ipv4());
    !(old == new || is_part || old.is_loopback() && new.is_loopback())
}

/// A token is another one, or may do more. Without any, and without certificates, nobody has to show
/// one.
fn has_more_tokens(old: &AccessSettings, new: &AccessSettings) -> bool {
    let is_known =
        |digest, role: Role| old.tokens.iter().any(|token| token.digest == digest && token.role.covers(role));
    let has_new = new.tokens.iter().any(|token| !is_known(token.digest, token.role));
    !old.asks_nobody() && (new.asks_nobody() || has_new)
}

/// Certificates of others are good for something, or for more.
fn takes_more_certificates(old: &AccessSettings, new: &AccessSettings) -> bool {
    let by_certificate = |access: &AccessSettings| {
        let tls = access.tls.as_ref().filter(|tls| tls.client_ca.is_some());
        tls.map(|tls| (tls.client_ca.clone(), tls.contents_of_ca.clone(), tls.client_role))
    };
    match (by_certificate(old), by_certificate(new)) {
        _ if old.asks_nobody() => false,
        (_, None) => false,
        (None, Some(_)) => true,
        (Some((ca, contents, role)), Some((new_ca, new_contents, new_role))) => {
            ca != new_ca || contents != new_contents || !role.covers(new_role)
        }
    }
}

fn has_more_users(old: &SocketSettings, new: &SocketSettings) -> Vec<&'static str> {
    let mut keys = Vec::new();
    keys.extend((new.mode & !old.mode != 0).then_some("socket_mode"));
    keys.extend((old.owner != new.owner).then_some("socket_owner"));
    keys.extend((old.group != new.group).then_some("socket_group"));
    keys
}
