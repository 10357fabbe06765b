//! The keys under `host`, and Salt's `id`. Who may talk to it is in [`access`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::access::{self, AccessSettings};
use super::error::{Finding, Findings};
use super::salt_events;
use super::section::{Found, Section};
use super::settings::HostSettings;

/// The port where nothing else is known to listen.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4510);
const DATA: &str = "./returner-data";
const MAX_BODY: u64 = 64 << 20;
const MAX_JOURNAL: u64 = 10 << 30;
const BARRIER: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(10);
const DEDUPE_WINDOW: Duration = Duration::from_secs(600);
const DEDUPE_KEYS: u64 = 1_000_000;

pub(super) const KEYS: &[&str] = &[
    "listen",
    "socket",
    "socket_mode",
    "socket_owner",
    "socket_group",
    "tokens",
    "tls",
    "data",
    "max_body",
    "max_journal",
    "barrier",
    "drain",
    "watch",
    "dedupe_window",
    "dedupe_keys",
    "salt_events",
    "salt_event_tags",
    "salt_trimmed_wait",
];

pub(super) fn read(root: &Section<'_>, findings: &mut Findings) -> HostSettings {
    root.get("host", expect_map, findings);
    let host = root.under("host");
    host.only(KEYS, findings);
    let hour = Duration::ZERO..=Duration::from_secs(3600);
    let day = Duration::ZERO..=Duration::from_secs(24 * 3600);
    let socket = access::socket(&host, findings);
    let access = access::read(&host, findings);
    let (id, salt_events) = (id(root, findings), salt_events::read(&host, findings));
    if salt_events.is_some()
        && !root.has("id")
        && let Some(found) = host.find("salt_events", findings)
    {
        let finding = found.wrong(format!("is followed, and the master is called `{id}`, as this machine"));
        findings.warning(finding.hint("`id:` says what it calls itself: `salt-run config.get id` there"));
    }
    HostSettings {
        id,
        listen: listen(&host, socket.is_some(), &access, findings),
        socket,
        access,
        data: host.get("data", Found::path, findings).unwrap_or_else(|| PathBuf::from(DATA)),
        max_body: host.get("max_body", |found| found.size(1 << 10..=512 << 20), findings).unwrap_or(MAX_BODY),
        max_journal: host
            .get("max_journal", |found| found.size(1 << 20..=1 << 50), findings)
            .unwrap_or(MAX_JOURNAL),
        barrier: host.get("barrier", |found| found.duration(hour.clone()), findings).unwrap_or(BARRIER),
        drain: host.get("drain", |found| found.duration(hour.clone()), findings).unwrap_or(DRAIN),
        watch: host.get("watch", Found::flag, findings).unwrap_or(true),
        dedupe_window: host
            .get("dedupe_window", |found| found.duration(day), findings)
            .unwrap_or(DEDUPE_WINDOW),
        dedupe_keys: host
            .get("dedupe_keys", |found| found.number(0..=100_000_000), findings)
            .unwrap_or(DEDUPE_KEYS),
        salt_events,
    }
}

pub(super) fn expect_map(found: &Found<'_>) -> Result<(), Finding> {
    match found.value {
        super::section::Value::Map(_) => Ok(()),
        _ => Err(found.wrong("is a single value or a list, expected keys below it")),
    }
}

/// `off` leaves the Unix socket alone.
fn listen(
    host: &Section<'_>,
    has_socket: bool,
    access: &AccessSettings,
    findings: &mut Findings,
) -> Option<SocketAddr> {
    let Some(found) = host.find("listen", findings) else { return Some(LISTEN) };
    let scalar = findings.take(found.scalar())?;
    if scalar.as_bool() == Some(false) {
        if !has_socket {
            let finding =
                found.wrong("is off and there is no `host.socket`: nothing could be sent to this host");
            findings.error(finding.hint("set `host.socket`, or listen on `127.0.0.1:4510`"));
        }
        return None;
    }
    match scalar.text.parse::<SocketAddr>() {
        Ok(address) => {
            access::check(address, &found, access, findings);
            Some(address)
        }
        Err(_) => {
            let finding = found.wrong(format!("is `{}`, expected an address and a port", scalar.text));
            findings.error(finding.hint("for example `127.0.0.1:4510`, or `off` with a `host.socket`"));
            None
        }
    }
}

fn id(root: &Section<'_>, findings: &mut Findings) -> String {
    let id = root.get("id", Found::text, findings).filter(|id| !id.is_empty());
    // Linux has the name there; elsewhere, or in a sandbox without it, any will do.
    let machine = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    id.or_else(|| machine().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "localhost".to_owned())
}
