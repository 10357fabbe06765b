//! Who asks, and whether they may: the Unix socket, tokens, client certificates.
//!
//! Promises: each path has a role that it needs and is reached through [`require`] only;
//! the body of a request is not read before that. A token is compared by its digest, in a
//! time that says nothing of the digest. What changes here holds for the next request. A
//! connection that began under another TLS, or where the host listens no more, ends with the
//! request that is under way, which gets nothing by what came later: see [`Judges`]. What a
//! web page has its reader's browser send is refused: a browser that is on this machine, or
//! has a certificate, would lend the page its rights.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::App;
use super::problem::Problem;
use super::tls::{ServerTlsError, Tls};
use crate::config::{AccessSettings, Role, ServerTlsSettings, TokenSettings};

/// What one version of the configuration says.
pub(crate) struct Access {
    tokens: Vec<TokenSettings>,
    tls: Option<Tls>,
    tls_settings: Option<ServerTlsSettings>,
    /// Ends the connections that began under this TLS, or under none.
    stale: CancellationToken,
    /// What a client may do that shows a certificate; none if they are not asked for one.
    certified: Option<Role>,
}

/// What is in force now.
pub(crate) struct Gate(ArcSwap<Access>);

/// How a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// By the Unix socket, whose mode says who may.
    Socket,
    Tcp {
        /// It showed a certificate of the configured authority.
        certified: bool,
    },
}

/// What one request is judged by.
#[derive(Clone)]
pub(super) struct Judges {
    /// What is in force.
    pub(super) now: Arc<Access>,
    /// What was when its connection came in, where the host listens no more: it is asked, too, for
    /// what is open now where it listens need not be for who comes from there.
    pub(super) before: Option<Arc<Access>>,
}

impl Judges {
    fn both(&self) -> impl Iterator<Item = &Access> {
        [Some(&self.now), self.before.as_ref()].into_iter().flatten().map(|access| &**access)
    }

    /// As what whoever asks may do what needs a role, or not; or why that is not known.
    pub(super) fn role(&self, peer: Peer, headers: &HeaderMap, needed: Role) -> Result<Role, &'static str> {
        let roles = self.both().map(|access| access.role(peer, headers));
        let roles = roles.collect::<Result<Vec<_>, _>>()?;
        let lacking = roles.iter().find(|role| !role.covers(needed));
        lacking.or(roles.first()).copied().ok_or("nobody knows who may ask")
    }
}

impl Access {
    pub(crate) fn new(settings: &AccessSettings) -> Result<Self, ServerTlsError> {
        let AccessSettings { tokens, tls } = settings;
        let asked = tls.as_ref().filter(|tls| tls.client_ca.is_some());
        Ok(Self {
            certified: asked.map(|tls| tls.client_role),
            // A token is as good as a certificate.
            tls: tls.as_ref().map(|tls| Tls::new(tls, tokens.is_empty())).transpose()?,
            tls_settings: tls.clone(),
            stale: CancellationToken::new(),
            tokens: tokens.clone(),
        })
    }

    /// The TLS of a new connection.
    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Ends when another TLS is in force.
    pub(super) fn stale(&self) -> &CancellationToken {
        &self.stale
    }

    /// Whether a request shows who asks, or nobody is asked.
    pub(super) fn knows(&self, peer: Peer, headers: &HeaderMap) -> bool {
        self.role(peer, headers).is_ok()
    }

    fn asks_nobody(&self) -> bool {
        self.tokens.is_empty() && self.certified.is_none()
    }

    /// Why a request may be one of a web page's; none if it is not. A page says where it is from,
    /// or asks for a name of its own that leads here.
    fn of_a_page(&self, peer: Peer, headers: &HeaderMap) -> Option<String> {
        if peer == Peer::Socket {
            return None;
        }
        let shown = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let host = headers.get(HOST).map(shown);
        if let Some(origin) = headers.get(ORIGIN).map(shown) {
            let from = origin.split_once("://").map(|(_, from)| from.to_ascii_lowercase());
            if from.is_none() || from != host.as_deref().map(str::to_ascii_lowercase) {
                return Some(format!("a web page of `{origin}` has no business here"));
            }
        }
        let host = host.filter(|host| self.asks_nobody() && !is_this_machine(host))?;
        Some(format!(
            "`{host}` is no name of this machine's that is known, and a web page may have chosen it"
        ))
    }

    /// What whoever asks may do; or why that is not known.
    fn role(&self, peer: Peer, headers: &HeaderMap) -> Result<Role, &'static str> {
        let Peer::Tcp { certified } = peer else { return Ok(Role::Admin) };
        if self.asks_nobody() {
            return Ok(Role::Admin);
        }
        if let Some(value) = headers.get(AUTHORIZATION) {
            let token = value.as_bytes().strip_prefix(b"Bearer ");
            let token = token.ok_or("the header `Authorization` is not `Bearer TOKEN`")?;
            return self.role_of(token.trim_ascii()).ok_or("the token is not known");
        }
        self.certified.filter(|_| certified).ok_or("the request shows no token")
    }

    /// Looks at all of them, whichever it is.
    fn role_of(&self, token: &[u8]) -> Option<Role> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.tokens.iter().fold(None, |role, known| {
            if bool::from(known.digest.ct_eq(&digest)) { Some(known.role) } else { role }
        })
    }
}

impl Gate {
    pub(crate) fn new(access: Access) -> Self {
        Self(ArcSwap::from_pointee(access))
    }

    pub(crate) fn change(&self, mut access: Access) {
        let old = self.0.load_full();
        if old.tls_settings == access.tls_settings {
            access.stale = old.stale.clone();
        } else {
            // First: whoever finds the new access finds that the old connections are over.
            old.stale.cancel();
        }
        self.0.store(Arc::new(access));
    }

    /// What is in force now.
    pub(super) fn access(&self) -> Arc<Access> {
        self.0.load_full()
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.0.load().tls.is_some()
    }
}

/// Whether a header `Host` names it by an address, as `localhost`, by its own name, or as Salt's
/// `salt`. Any other name may be one that somebody else has lead here, also one without a domain:
/// a name server that is asked first may complete it.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    if name.parse::<IpAddr>().is_ok() {
        return true;
    }
    let own = own_name();
    let short = own.split('.').next().unwrap_or_default();
    !name.is_empty()
        && ["localhost", "salt", &own, short].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// As the kernel has it at hand; empty where it cannot be asked.
fn own_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| String::new(), |name| name.trim().to_owned())
}

/// Lets a request through to what needs a role.
pub(super) async fn require(
    State((app, needed)): State<(Arc<App>, Role)>,
    Extension(peer): Extension<Peer>,
    Extension(judges): Extension<Judges>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(reason) = judges.both().find_map(|access| access.of_a_page(peer, request.headers())) {
        app.metrics.denied("origin");
        return Err(Problem::new(StatusCode::FORBIDDEN, reason)
            .hint("ask for `localhost`, an address or the machine's own name, without the header `Origin`; where `host.tokens` are declared, any name will do"));
    }
    match judges.role(peer, request.headers(), needed) {
        Ok(role) if role.covers(needed) => Ok(next.run(request).await),
        Ok(role) => {
            app.metrics.denied("role");
            let (has, needs) = (role.name(), needed.name());
            let detail = format!("this needs the role `{needs}`, and the token or certificate has `{has}`");
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
        Err(reason) => {
            app.metrics.denied("unknown");
            Err(Problem::new(StatusCode::UNAUTHORIZED, reason)
                .challenge()
                .hint("send `Authorization: Bearer TOKEN`; `returner token` makes tokens"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(tokens: &[(&str, Role)], certified: Option<Role>) -> Access {
        let token = |(text, role): &(&str, Role)| TokenSettings {
            name: "t".to_owned(),
            digest: Sha256::digest(text).into(),
            role: *role,
        };
        let (tls, tls_settings, stale) = (None, None, CancellationToken::new());
        Access { tokens: tokens.iter().map(token).collect(), tls, tls_settings, stale, certified }
    }

    fn bearer(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn who_shows_a_token_has_its_role_and_who_shows_a_wrong_one_none() {
        let access = access(&[("a", Role::Write), ("b", Role::Read)], Some(Role::Admin));
        let by = |certified, headers: &HeaderMap| access.role(Peer::Tcp { certified }, headers).ok();
        assert_eq!(by(false, &bearer("Bearer a")), Some(Role::Write));
        assert_eq!(by(false, &bearer("Bearer b ")), Some(Role::Read));
        assert_eq!(by(true, &bearer("Bearer a")), Some(Role::Write), "the token is what it asks as");
        assert_eq!(by(true, &HeaderMap::new()), Some(Role::Admin));
        for headers in [bearer("Bearer c"), bearer("Bearer "), bearer("Basic a"), bearer("a")] {
            assert_eq!(by(false, &headers), None);
            assert_eq!(by(true, &headers), None);
        }
        assert_eq!(by(false, &HeaderMap::new()), None);
        assert_eq!(access.role(Peer::Socket, &HeaderMap::new()), Ok(Role::Admin));
    }

    #[test]
    fn a_certificate_is_worth_nothing_where_none_is_asked_for() {
        let access = access(&[("a", Role::Write)], None);
        assert!(access.role(Peer::Tcp { certified: true }, &HeaderMap::new()).is_err());
    }

    #[test]
    fn on_loopback_without_tokens_nobody_is_asked() {
        let access = access(&[], None);
        assert_eq!(access.role(Peer::Tcp { certified: false }, &HeaderMap::new()), Ok(Role::Admin));
    }

    /// Where the host listens no more, what was in force there is asked, too.
    #[test]
    fn what_was_in_force_is_asked_with_what_is() {
        let (open, asks) = (access(&[], None), access(&[("a", Role::Write)], None));
        let (open, asks) = (Arc::new(open), Arc::new(asks));
        let peer = Peer::Tcp { certified: false };
        for (now, before) in [(&open, &asks), (&asks, &open)] {
            let judges = Judges { now: Arc::clone(now), before: Some(Arc::clone(before)) };
            assert!(judges.role(peer, &HeaderMap::new(), Role::Read).is_err());
            assert!(judges.role(peer, &bearer("Bearer b"), Role::Write).is_err());
            assert!(judges.role(peer, &bearer("Bearer a"), Role::Write).unwrap().covers(Role::Write));
            assert_eq!(judges.role(peer, &bearer("Bearer a"), Role::Admin), Ok(Role::Write));
        }
        let alone = Judges { now: open, before: None };
        assert_eq!(alone.role(peer, &HeaderMap::new(), Role::Read), Ok(Role::Admin));
    }

    #[test]
    fn a_web_page_is_refused() {
        let headers = |pairs: &[(&'static str, &str)]| {
            let pair = |(name, value): &(&'static str, &str)| {
                (axum::http::HeaderName::from_static(name), value.parse().unwrap())
            };
            pairs.iter().map(pair).collect::<HeaderMap>()
        };
        let (open, asks) = (access(&[], None), access(&[("a", Role::Write)], None));
        let refused = |access: &Access, pairs: &[(&'static str, &str)]| {
            access.of_a_page(Peer::Tcp { certified: false }, &headers(pairs)).is_some()
        };
        for host in ["127.0.0.1:4510", "localhost", "LocalHost:4510", "salt:4510", "[::1]:4510", "192.0.2.1"]
        {
            assert!(!refused(&open, &[("host", host)]), "{host}");
        }
        assert!(!refused(&open, &[("host", &own_name())]), "its own name");
        for host in
            ["evil.example:4510", "wpad:4510", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"]
        {
            assert!(refused(&open, &[("host", host)]), "{host}");
            assert!(!refused(&asks, &[("host", host)]), "{host}");
        }
        assert!(!refused(&open, &[]));
        for access in [&open, &asks] {
            let host = ("host", "127.0.0.1:4510");
            for origin in ["https://evil.example", "http://127.0.0.1", "http://localhost:4510", "null"] {
                assert!(refused(access, &[host, ("origin", origin)]), "{origin}");
            }
            assert!(!refused(access, &[host, ("origin", "http://127.0.0.1:4510")]));
        }
        let page = headers(&[("host", "evil.example"), ("origin", "http://evil.example")]);
        assert_eq!(open.of_a_page(Peer::Socket, &page), None);
        assert!(open.of_a_page(Peer::Tcp { certified: false }, &page).is_some(), "its name leads here");
    }

    #[test]
    fn a_role_covers_itself_and_admin_covers_all() {
        for needed in Role::ALL {
            assert!(needed.covers(needed) && Role::Admin.covers(needed));
        }
        assert!(!Role::Write.covers(Role::Read) && !Role::Read.covers(Role::Write));
        assert!([Role::Write, Role::Read].iter().all(|needed| Role::Master.covers(*needed)));
        for role in [Role::Write, Role::Read] {
            assert!(!role.covers(Role::Master) && !role.covers(Role::Admin));
        }
        assert!(!Role::Master.covers(Role::Admin));
    }
}
