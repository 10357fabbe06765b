//! Which keys of a newer version let somebody do what nobody could, or who could not, before.

use crate::config::access::{AccessSettings, Role, SocketSettings};
use crate::config::settings::HostSettings;

/// Those of `host`'s keys that open it further. Where that cannot be told from the words, such as
/// for another group, they do.
pub(super) fn opened(old: &HostSettings, new: &HostSettings) -> Vec<&'static str> {
    let is_local = |host: &HostSettings| host.listen.is_none_or(|address| address.ip().is_loopback());
    let mut keys = Vec::new();
    keys.extend((is_local(old) && !is_local(new)).then_some("listen"));
    keys.extend(has_more_tokens(&old.access, &new.access).then_some("tokens"));
    keys.extend(takes_more_certificates(&old.access, &new.access).then_some("tls"));
    match (&old.socket, &new.socket) {
        (None, Some(_)) => keys.push("socket"),
        (Some(old), Some(new)) => keys.extend(has_more_users(old, new)),
        (_, None) => {}
    }
    keys
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
        tls.map(|tls| (tls.client_ca.clone(), tls.contents.clone(), tls.client_role))
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
    keys.extend((new.owner.is_some() && old.owner != new.owner).then_some("socket_owner"));
    keys.extend((new.group.is_some() && old.group != new.group).then_some("socket_group"));
    keys
}
