//! Who may talk to the host: `host.tokens`, `host.tls`, and whose the Unix socket is.
//!
//! Promises: a token's digest is one and no other token has it, a role exists, and what is beyond loopback asks who
//! it is. Does not look into certificates, only at which files they are in.

use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as SocketPath;
use std::path::PathBuf;

use super::bundled::contents;
use super::error::{Finding, Findings, nearest};
use super::host_keys::expect_map;
use super::section::{Found, Section};

/// Who may talk to the host, and as what.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct AccessSettings {
    /// What a client shows that comes by TCP; where there are none, it shows nothing.
    pub(crate) tokens: Vec<TokenSettings>,
    pub(crate) tls: Option<ServerTlsSettings>,
}

impl AccessSettings {
    /// Whoever reaches the host by TCP may do everything.
    pub(crate) fn asks_nobody(&self) -> bool {
        self.tokens.is_empty() && self.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none())
    }
}

/// A token that the host knows by its digest only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenSettings {
    /// For messages.
    pub(crate) name: String,
    /// SHA-256.
    pub(crate) digest: [u8; 32],
    pub(crate) role: Role,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerTlsSettings {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Who signs the certificates of clients; they are not asked for one where there is none.
    pub(crate) client_ca: Option<PathBuf>,
    /// What a client with such a certificate may do.
    pub(crate) client_role: Role,
    /// A digest of the files: a certificate that is renewed is another setting.
    pub(crate) contents: String,
    /// The same of the authority of clients alone.
    pub(crate) contents_of_ca: String,
}

/// What a client may do: to each request there is one that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Send returns, loads and events.
    Write,
    /// Ask what was stored, and how the host is doing.
    Read,
    /// Both, and have old jobs removed: what a master asks of its job cache.
    Master,
    /// Everything: what changes or removes something, too.
    Admin,
}

impl Role {
    pub(crate) const ALL: [Role; 4] = [Role::Write, Role::Read, Role::Master, Role::Admin];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Write => "write",
            Role::Read => "read",
            Role::Master => "master",
            Role::Admin => "admin",
        }
    }

    /// Whether who has this role may do what needs the other one.
    pub(crate) fn covers(self, needed: Role) -> bool {
        match self {
            Role::Admin => true,
            Role::Master => needed != Role::Admin,
            Role::Write | Role::Read => self == needed,
        }
    }

    fn read(found: &Found<'_>) -> Result<Self, Finding> {
        let text = found.text()?;
        let known = || Self::ALL.map(Role::name);
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            found.wrong(format!("is `{text}`, which is no role")).hint(nearest(&text, "", known()))
        })
    }
}

/// The mode and the owner of the Unix socket: who may connect to it may do everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketSettings {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
    /// Names or numbers; the host's own where they are not given.
    pub(crate) owner: Option<String>,
    pub(crate) group: Option<String>,
}

pub(super) const TOKEN: [&str; 2] = ["sha256", "role"];

pub(super) const TLS: &[&str] = &["certificate", "key", "client_ca", "client_role"];

/// Only this user.
const MODE: u32 = 0o600;

pub(super) fn read(host: &Section<'_>, findings: &mut Findings) -> AccessSettings {
    AccessSettings { tokens: tokens(host, findings), tls: tls(host, findings) }
}

fn tokens(host: &Section<'_>, findings: &mut Findings) -> Vec<TokenSettings> {
    host.get("tokens", expect_map, findings);
    let tokens = host.under("tokens");
    let mut read: Vec<TokenSettings> = Vec::new();
    for (name, place) in tokens.names() {
        tokens.get(name, expect_map, findings);
        let token = tokens.under(name);
        token.only(&TOKEN, findings);
        let digest = token.get("sha256", digest, findings);
        let role = token.get("role", Role::read, findings);
        for missing in TOKEN.into_iter().filter(|key| !token.has(key)) {
            let finding = Finding::new(place, format!("`{}` is missing", token.key_of(missing)));
            findings.error(
                finding.hint(format!("`returner token {name} --role ROLE` makes a token and its lines")),
            );
        }
        if let Some(digest) = digest
            && let Some(same) = read.iter().find(|known| known.digest == digest)
        {
            // Whoever shows it would have a role that nobody can see in the file.
            let (this, that) = (token.key_of("sha256"), tokens.under(&same.name).key_of("sha256"));
            let finding = Finding::new(place, format!("`{this}` is the same as `{that}`"));
            findings.error(finding.hint("one token has one role: take one of them out"));
        }
        if let (Some(digest), Some(role)) = (digest, role) {
            read.push(TokenSettings { name: name.to_owned(), digest, role });
        }
    }
    read
}

/// An error does not quote it: it may be the token itself.
fn digest(found: &Found<'_>) -> Result<[u8; 32], Finding> {
    let text = found.text()?;
    hex::decode(&text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        found
            .wrong("is no SHA-256 digest, which has 64 hexadecimal digits")
            .hint("the token itself does not belong here; `returner token` prints its digest")
    })
}

fn tls(host: &Section<'_>, findings: &mut Findings) -> Option<ServerTlsSettings> {
    let found = host.find("tls", findings)?;
    findings.take(expect_map(&found))?;
    let tls = host.under("tls");
    tls.only(TLS, findings);
    let mut file = |name: &str| {
        let path = tls.get(name, |found| found.path(), findings);
        findings.watch(path.clone());
        tls.get(name, |found| found.file(), findings)
    };
    let [certificate, key, client_ca] = ["certificate", "key", "client_ca"].map(&mut file);
    for missing in ["certificate", "key"].into_iter().filter(|key| !tls.has(key)) {
        let finding = Finding::new(&found.place, format!("`host.tls.{missing}` is missing"));
        findings.error(finding.hint("name the PEM files of the certificate and of its key"));
    }
    let client_role = tls.get("client_role", Role::read, findings).unwrap_or(Role::Write);
    let (all, of_ca) = (contents([&certificate, &key, &client_ca]), contents([&None, &None, &client_ca]));
    Some(ServerTlsSettings {
        certificate: certificate?,
        key: key?,
        client_ca,
        client_role,
        contents: all,
        contents_of_ca: of_ca,
    })
}

pub(super) fn socket(host: &Section<'_>, findings: &mut Findings) -> Option<SocketSettings> {
    let path = host.get("socket", socket_path, findings);
    let mode = host.get("socket_mode", mode, findings);
    let mut text = |name: &str| host.get(name, |found| found.text(), findings);
    let (owner, group) = (text("socket_owner"), text("socket_group"));
    for key in ["socket_mode", "socket_owner", "socket_group"] {
        if path.is_none()
            && !host.has("socket")
            && let Some(found) = host.find(key, findings)
        {
            findings.error(found.wrong("is given, and there is no `host.socket`"));
        }
    }
    Some(SocketSettings { path: path?, mode: mode.unwrap_or(MODE), owner, group })
}

/// The system has a bound for the path of a socket, and nobody could connect to a longer one.
fn socket_path(found: &Found<'_>) -> Result<PathBuf, Finding> {
    let path = found.path()?;
    match SocketPath::from_pathname(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(found
            .wrong(format!("is `{}`, where nobody could connect: {error}", path.display()))
            .hint("name a place with a shorter path, such as `/run/returner/returner.sock`")),
    }
}

/// Octal, with or without quotes: `0660`.
fn mode(found: &Found<'_>) -> Result<u32, Finding> {
    let text = found.text()?;
    let digits = text.strip_prefix("0o").unwrap_or(&text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777 && digits.len() <= 4);
    mode.ok_or_else(|| found.wrong(format!("is `{text}`, expected a mode such as `0660`")))
}

/// What is beyond loopback must ask who it is.
pub(super) fn check(
    address: SocketAddr,
    found: &Found<'_>,
    access: &AccessSettings,
    findings: &mut Findings,
) {
    if address.ip().is_loopback() {
        return;
    }
    if access.asks_nobody() {
        let finding = found.wrong(format!("is `{address}`: beyond loopback, anyone could send returns"));
        findings.error(finding.hint(
            "declare `host.tokens` (`returner token NAME --role write` makes one) or `host.tls.client_ca`; or listen \
             on loopback or on `host.socket` only",
        ));
    } else if access.tls.is_none() {
        let finding = found.wrong(format!(
            "is `{address}`, and without `host.tls` tokens and returns can be read on the way"
        ));
        findings.warning(finding.hint("set `host.tls.certificate` and `host.tls.key`"));
    }
}
