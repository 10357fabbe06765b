//! What differs between two versions of the configuration, for the operator who changes
//! a running host.
//!
//! Promises: names what changed and never a secret: of options, which a plugin's author may
//! use for one, only the names. What a returner can reach afterwards and could not before
//! is marked, and so is what lets somebody ask this host who could not. Does not know plugins: a file with the same name and another content is told
//! by whoever loads it.

mod opening;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytesize::ByteSize;

use super::access::{AccessSettings, ServerTlsSettings, SocketSettings, TokenSettings};
use super::narrowing::Narrowing;
use super::salt_events::SaltEventsSettings;
use super::settings::{
    ConnectionSettings, DeliverySettings, HostSettings, Limits, PluginSource, ReturnerSettings, Settings,
};

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What it is about: ``returner `audit` ``.
    pub(crate) subject: String,
    pub(crate) change: String,
    /// A returner can reach what it could not before, or somebody this host.
    pub(crate) widens: bool,
}

impl Difference {
    pub(crate) fn of_returner(name: &str, change: impl Into<String>) -> Self {
        Self { subject: format!("returner `{name}`"), change: change.into(), widens: false }
    }

    fn new(subject: impl Into<String>, change: impl Into<String>) -> Self {
        Self { subject: subject.into(), change: change.into(), widens: false }
    }

    fn widening(self) -> Self {
        Self { widens: true, ..self }
    }
}

impl Settings {
    /// What differs in a newer version; nothing where both say the same.
    pub(crate) fn differences(&self, newer: &Settings) -> Vec<Difference> {
        let mut found = Vec::new();
        for (key, old, new) in [
            ("return", self.return_to.join(", "), newer.return_to.join(", ")),
            ("event_return", self.event_return.join(", "), newer.event_return.join(", ")),
            ("master_job_cache", self.named_job_cache(), newer.named_job_cache()),
            ("id", self.host.id.clone(), newer.host.id.clone()),
        ] {
            found.extend((old != new).then(|| Difference::new(format!("`{key}`"), from_to(&old, &new))));
        }
        let opened = opening::opened(&self.host, &newer.host);
        for (key, old, new) in self.host.changed(&newer.host) {
            let difference = Difference::new(format!("`host.{key}`"), from_to(&old, &new));
            found.push(if opened.contains(&key) { difference.widening() } else { difference });
        }
        for (name, old, new) in pairs(&self.connections, &newer.connections) {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                let parts = old.changed(new);
                let elsewhere = parts.iter().any(|part| ELSEWHERE.contains(part));
                let change = format!("its {} changed", parts.join(", "));
                let difference = Difference::new(format!("connection `{name}`"), change);
                // Who has it reaches what it did not reach before.
                found.push(if elsewhere { difference.widening() } else { difference });
            }
        }
        for (name, old, new) in pairs(&self.returners, &newer.returners) {
            match (old, new) {
                (Some(old), Some(new)) => old.differences(new, &mut found),
                (None, Some(new)) => added(new, &mut found),
                (_, None) => {
                    found.push(Difference::of_returner(name, "removed; what it has not stored yet is kept"))
                }
            }
        }
        found
    }
}

impl Settings {
    /// Empty where none is named: then it is the first that can.
    fn named_job_cache(&self) -> String {
        if self.master_job_cache_is_set { self.job_cache.clone() } else { String::new() }
    }
}

/// What of a connection says where it leads, and as whom.
const ELSEWHERE: [&str; 4] = ["server", "database", "user", "kind"];

impl HostSettings {
    /// The keys under `host` that say something else, and both values.
    pub(crate) fn changed(&self, newer: &Self) -> Vec<(&'static str, String, String)> {
        differing(self.shown(), newer.shown()).collect()
    }

    /// Its values for people; nothing for one that is not set. Each is exact: two that differ
    /// read differently.
    fn shown(&self) -> [(&'static str, String); 18] {
        // Each is named: one that is forgotten here would change without a reload.
        let Self {
            id: _, // Told of as Salt's own key.
            listen,
            socket,
            access: AccessSettings { tokens, tls },
            data,
            max_body,
            max_journal,
            barrier,
            drain,
            watch,
            dedupe_window,
            dedupe_keys,
            salt_events,
        } = self;
        let socket = |shown: fn(&SocketSettings) -> String| socket.as_ref().map_or_else(String::new, shown);
        let events =
            |shown: fn(&SaltEventsSettings) -> String| salt_events.as_ref().map_or_else(String::new, shown);
        let listen = listen.map_or_else(|| "off".to_owned(), |address| address.to_string());
        let size = |bytes: u64| format!("{:?}", ByteSize(bytes));
        [
            ("listen", listen),
            ("socket", socket(|socket| socket.path.display().to_string())),
            ("socket_mode", socket(|socket| format!("{:04o}", socket.mode))),
            ("socket_owner", socket(|socket| socket.owner.clone().unwrap_or_default())),
            ("socket_group", socket(|socket| socket.group.clone().unwrap_or_default())),
            ("tokens", tokens.iter().map(shown_token).collect::<Vec<_>>().join(", ")),
            ("tls", tls.as_ref().map(shown_tls).unwrap_or_default()),
            ("data", data.display().to_string()),
            ("max_body", size(*max_body)),
            ("max_journal", size(*max_journal)),
            ("barrier", duration(*barrier)),
            ("drain", duration(*drain)),
            ("watch", watch.to_string()),
            ("dedupe_window", duration(*dedupe_window)),
            ("dedupe_keys", dedupe_keys.to_string()),
            ("salt_events", events(|events| events.address.to_string())),
            ("salt_event_tags", events(|events| events.tags.written())),
            ("salt_trimmed_wait", events(|events| duration(events.trimmed_wait))),
        ]
    }
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn shown_token(token: &TokenSettings) -> String {
    format!("{} ({}, {})", token.name, token.role.name(), &hex::encode(token.digest)[..16])
}

fn shown_tls(tls: &ServerTlsSettings) -> String {
    let clients = tls
        .client_ca
        .as_ref()
        .map_or_else(String::new, |ca| format!(", clients by {} ({})", ca.display(), tls.client_role.name()));
    format!("{}{clients} (contents {})", tls.certificate.display(), &tls.contents[..16])
}

impl ConnectionSettings {
    /// What differs, in words: which server, who logs in, and so on.
    fn changed(&self, newer: &Self) -> Vec<&'static str> {
        use ConnectionSettings::{Mongo, Mysql, Postgres, Redis, Sqlite};
        let parts = match (self, newer) {
            (Mysql(old), Mysql(new)) => vec![
                ("server", old.address != new.address),
                ("database", old.database != new.database),
                ("user", old.user != new.user),
                ("password", old.password != new.password),
                ("TLS settings", old.tls != new.tls),
            ],
            (Postgres(old), Postgres(new)) => vec![
                ("server", old.host != new.host || old.port != new.port),
                ("database", old.database != new.database),
                ("user", old.user != new.user),
                ("password", old.password != new.password),
                ("TLS settings", old.tls_mode != new.tls_mode || old.tls != new.tls),
            ],
            (Redis(old), Redis(new)) => vec![
                ("server", old.address != new.address),
                ("database", old.database != new.database),
                ("user", old.user != new.user),
                ("password", old.password != new.password),
                ("TLS settings", old.tls != new.tls),
            ],
            (Mongo(old), Mongo(new)) => vec![
                ("server", old.address != new.address || old.uri != new.uri),
                ("database", old.database != new.database),
                ("user", old.user != new.user),
                ("password", old.password != new.password),
                ("TLS settings", old.tls != new.tls),
            ],
            (Sqlite(old), Sqlite(new)) => {
                vec![("database", old.database != new.database), ("timeout", old.timeout != new.timeout)]
            }
            _ => vec![("kind", true)],
        };
        parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
    }
}

impl Limits {
    fn shown(&self) -> [(&'static str, String); 10] {
        let Self { memory, time, cpu, host_call, answer, rows, statement, requests, log_lines, instances } =
            self;
        let size = |bytes: &u64| format!("{:?}", ByteSize(*bytes));
        [
            ("limits.memory", size(memory)),
            ("limits.time", duration(*time)),
            ("limits.cpu", duration(*cpu)),
            ("limits.host_call", duration(*host_call)),
            ("limits.answer", size(answer)),
            ("limits.rows", rows.to_string()),
            ("limits.statement", size(statement)),
            ("limits.requests", requests.to_string()),
            ("limits.log_lines", log_lines.to_string()),
            ("limits.instances", instances.to_string()),
        ]
    }
}

impl DeliverySettings {
    fn shown(&self) -> [(&'static str, String); 4] {
        let Self { batch, batch_bytes, workers, max_backoff } = self;
        [
            ("delivery.batch", batch.to_string()),
            ("delivery.batch_bytes", batch_bytes.to_string()),
            ("delivery.workers", workers.to_string()),
            ("delivery.max_backoff", duration(*max_backoff)),
        ]
    }
}

impl ReturnerSettings {
    fn differences(&self, newer: &Self, found: &mut Vec<Difference>) {
        // Each is looked at below: one that is forgotten would change without a reload.
        let Self {
            name: _,
            plugin: _,
            options: _,
            connections: _,
            narrowed: _,
            limits: _,
            delivery: _,
            allow_http: _,
            http_headers: _,
            allow_connect: _,
        } = self;
        let mut note = |change: String| found.push(Difference::of_returner(&self.name, change));
        if self.plugin != newer.plugin {
            note(format!(
                "its plugin is another: {}",
                from_to(&source(&self.plugin), &source(&newer.plugin))
            ));
        }
        let options = pairs(&self.options, &newer.options).filter(|(_, old, new)| old != new);
        let options: Vec<String> = options.map(|(name, ..)| format!("`{name}`")).collect();
        if !options.is_empty() {
            note(format!("its options changed: {}", options.join(", ")));
        }
        let limits = differing(self.limits.shown(), newer.limits.shown());
        for (key, old, new) in limits.chain(differing(self.delivery.shown(), newer.delivery.shown())) {
            note(format!("`{key}` {}", from_to(&old, &new)));
        }
        for (guest, old, new) in pairs(&self.connections, &newer.connections) {
            match (old, new) {
                (Some(old), Some(new)) if old != new => found.push(
                    Difference::of_returner(
                        &self.name,
                        format!("its connection `{guest}` {}", from_to(old, new)),
                    )
                    .widening(),
                ),
                (Some(old), None) => found.push(Difference::of_returner(
                    &self.name,
                    format!("no longer granted the connection `{guest}` (`{old}`)"),
                )),
                (None, Some(new)) => found.push(granted(newer, guest, new)),
                _ => {}
            }
        }
        for (guest, old, new) in pairs(&self.narrowed, &newer.narrowed) {
            // A connection that is new, or gone, has been told.
            let stays = self.connections.contains_key(guest) && newer.connections.contains_key(guest);
            if stays && old != new {
                let shown =
                    |one: Option<&Narrowing>| one.map_or_else(|| "all of it".to_owned(), ToString::to_string);
                let change = format!("what it is granted of `{guest}` {}", from_to(&shown(old), &shown(new)));
                let found_one = Difference::of_returner(&self.name, change);
                found.push(if widens(old, new) { found_one.widening() } else { found_one });
            }
        }
        self.headers(newer, found);
        for (key, old, new) in [
            ("allow_http", &self.allow_http, &newer.allow_http),
            ("allow_connect", &self.allow_connect, &newer.allow_connect),
        ] {
            for gone in old.iter().filter(|peer| !new.contains(peer)) {
                found.push(Difference::of_returner(&self.name, format!("`{key}` no longer has `{gone}`")));
            }
            for peer in new.iter().filter(|peer| !old.contains(peer)) {
                found.push(allowed(&self.name, key, peer));
            }
        }
    }
}

impl ReturnerSettings {
    fn headers(&self, newer: &Self, found: &mut Vec<Difference>) {
        let none = BTreeMap::new();
        let origins: BTreeSet<&String> = self.http_headers.keys().chain(newer.http_headers.keys()).collect();
        for origin in origins {
            let [old, new] = [self, newer].map(|one| one.http_headers.get(origin).unwrap_or(&none));
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                let change = format!("the host no longer sends `{name}` to `{origin}`");
                found.push(Difference::of_returner(&self.name, change));
            }
            for (name, secret) in new {
                match old.get(name) {
                    None => found.push(sent(&self.name, name, origin)),
                    Some(known) if known != secret => {
                        let change = format!("the host sends another `{name}` to `{origin}`");
                        found.push(Difference::of_returner(&self.name, change));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// Whether the newer one lets through what the older one did not.
fn widens(old: Option<&Narrowing>, new: Option<&Narrowing>) -> bool {
    match (old, new) {
        (Some(_), None) => true,
        (Some(old), Some(new)) => !new.is_within(old),
        (None, _) => false,
    }
}

fn added(new: &ReturnerSettings, found: &mut Vec<Difference>) {
    found.push(Difference::of_returner(&new.name, format!("added, of {}", source(&new.plugin))));
    found.extend(new.connections.iter().map(|(guest, host)| granted(new, guest, host)));
    found.extend(new.allow_http.iter().map(|peer| allowed(&new.name, "allow_http", peer)));
    for (origin, headers) in &new.http_headers {
        found.extend(headers.keys().map(|header| sent(&new.name, header, origin)));
    }
    found.extend(new.allow_connect.iter().map(|peer| allowed(&new.name, "allow_connect", peer)));
}

fn granted(returner: &ReturnerSettings, guest: &str, host: &str) -> Difference {
    let narrowing = returner.narrowed.get(guest);
    let part = narrowing.map(|narrowing| format!(", of it {narrowing}")).unwrap_or_default();
    let change = format!("granted the connection `{host}` as `{guest}`{part}");
    Difference::of_returner(&returner.name, change).widening()
}

fn allowed(returner: &str, key: &str, peer: &str) -> Difference {
    Difference::of_returner(returner, format!("`{key}` has `{peer}`, too")).widening()
}

fn sent(returner: &str, header: &str, origin: &str) -> Difference {
    Difference::of_returner(returner, format!("the host sends `{header}` to `{origin}`")).widening()
}

fn source(plugin: &PluginSource) -> String {
    match plugin {
        PluginSource::Bundled(bundled) => format!("the bundled `{}`", bundled.name()),
        PluginSource::File { path, sha256: None } => format!("`{}`", path.display()),
        PluginSource::File { path, sha256: Some(sha256) } => {
            format!("`{}` (SHA-256 {})", path.display(), &sha256[..12])
        }
    }
}

fn from_to(old: &str, new: &str) -> String {
    let shown = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
    format!("was {}, becomes {}", shown(old), shown(new))
}

/// What is shown otherwise of two, under its key.
fn differing<const N: usize>(
    old: [(&'static str, String); N],
    new: [(&'static str, String); N],
) -> impl Iterator<Item = (&'static str, String, String)> {
    let both = old.into_iter().zip(new);
    both.filter(|(old, new)| old != new).map(|((key, old), (_, new))| (key, old, new))
}

/// What stands under each name of either map.
fn pairs<'m, V>(
    old: &'m BTreeMap<String, V>,
    new: &'m BTreeMap<String, V>,
) -> impl Iterator<Item = (&'m str, Option<&'m V>, Option<&'m V>)> {
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    names.into_iter().map(|name| (name, old.get(name), new.get(name)))
}
