//! The bundled returners: from layers of Salt's keys to connections and options.
//!
//! Promises: `alternative.mysql` falls back to `mysql` key by key, and that to Salt's
//! defaults. Of the keys that say where a server is, those of the more particular layer
//! hold: a profile's `host` is not lost behind another layer's socket.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{Finding, Findings};
use super::layer::{Chain, Layer};
use super::salt_keys;
use super::section::{Found, Section};
use super::settings::{
    Address, Bundled, ConnectionSettings, MongoSettings, MysqlSettings, MysqlTls, RedisSettings,
    SqliteSettings, TlsSettings,
};

/// Keys that every returner has, whatever its plugin.
pub(super) const COMMON: &[&str] = &["delivery", "limits"];

/// What every guest of ours calls its connection.
pub(super) const GUEST_CONNECTION: &str = "db";

/// What the configuration says of the bundled returners, kept for returns that ask for
/// a part of it.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    base: BTreeMap<Bundled, Layer>,
    profiles: BTreeMap<(Bundled, String), Layer>,
    /// Where SQLite keeps what no key says where to keep.
    sqlite3: PathBuf,
}

impl Declared {
    pub(super) fn read(root: &Section<'_>, sqlite3: PathBuf, findings: &mut Findings) -> Self {
        let mut declared = Declared { sqlite3, ..Declared::default() };
        for bundled in Bundled::ALL {
            root.get(bundled.name(), super::host_keys::expect_map, findings);
            let section = root.under(bundled.name());
            check_names(bundled, &section, COMMON, findings);
            let layer = Layer::read(bundled, &section, findings);
            warn_of_foreign(bundled, &layer, &section, findings);
            if keys_of(bundled).any(|key| section.has(key)) || COMMON.iter().any(|key| section.has(key)) {
                declared.base.insert(bundled, layer);
            }
        }
        for (profile, bundled) in super::profiles::find(root) {
            let section = super::profiles::section(root, &profile).under(bundled.name());
            check_names(bundled, &section, &[], findings);
            let layer = Layer::read(bundled, &section, findings);
            declared.profiles.insert((bundled, profile), layer);
        }
        declared
    }

    /// The bundled returners with keys of their own.
    pub(super) fn named(&self) -> impl Iterator<Item = Bundled> {
        self.base.keys().copied()
    }

    pub(super) fn profiles(&self) -> impl Iterator<Item = (Bundled, &str)> {
        self.profiles.keys().map(|(bundled, profile)| (*bundled, profile.as_str()))
    }

    pub(super) fn has_profile(&self, bundled: Bundled, profile: &str) -> bool {
        self.profiles.contains_key(&(bundled, profile.to_owned()))
    }

    /// The connection of a returner, and the options that come with it.
    pub(super) fn resolve(
        &self,
        bundled: Bundled,
        profile: Option<&str>,
        overrides: Option<&Layer>,
    ) -> (ConnectionSettings, BTreeMap<String, String>) {
        let defaults = self.defaults(bundled);
        let mut chain = self.chain(bundled, profile, &defaults);
        if let Some(overrides) = overrides {
            chain.0.insert(0, overrides);
        }
        (connection(bundled, &chain), options(bundled, &chain))
    }

    pub(super) fn defaults(&self, bundled: Bundled) -> Layer {
        Layer::defaults(bundled, self.sqlite3.clone())
    }

    pub(super) fn chain<'a>(
        &'a self,
        bundled: Bundled,
        profile: Option<&str>,
        defaults: &'a Layer,
    ) -> Chain<'a> {
        let profile = profile.and_then(|profile| self.profiles.get(&(bundled, profile.to_owned())));
        Chain([profile, self.base.get(&bundled), Some(defaults)].into_iter().flatten().collect())
    }
}

/// Warns of `mysq.host`: a name that nobody has, close to a bundled one's and with a key of
/// it. It could be somebody else's, so it is no error.
pub(super) fn warn_of_mistyped(root: &Section<'_>, findings: &mut Findings) {
    for (name, place) in root.names() {
        let near = |bundled: &Bundled| strsim::damerau_levenshtein(bundled.name(), name) == 1;
        let Some(bundled) = Bundled::ALL.into_iter().find(near) else { continue };
        let section = root.under(name);
        if let Some(key) = keys_of(bundled).find(|key| section.has(key)) {
            let finding = Finding::new(place, format!("`{name}.{key}` is a key of nobody here"));
            findings.warning(finding.hint(format!("did you mean `{}.{key}`?", bundled.name())));
        }
    }
}

pub(super) fn keys_of<'k>(bundled: Bundled) -> impl Iterator<Item = &'k str> {
    salt_keys::keys(bundled).iter().map(|key| key.name)
}

fn check_names(bundled: Bundled, section: &Section<'_>, more: &[&str], findings: &mut Findings) {
    let known: Vec<&str> = keys_of(bundled).chain(more.iter().copied()).collect();
    for (name, place) in section.names() {
        if known.contains(&name) || salt_keys::foreign(bundled).contains(&name) {
            continue;
        }
        let key = section.key_of(name);
        let finding = Finding::new(place, format!("unknown key `{key}`"));
        findings.error(if ["plugin", "options", "connections", "sha256"].contains(&name) {
            finding.hint(format!("`{}` is bundled: give a returner of your own another name", bundled.name()))
        } else {
            finding.hint(super::error::nearest(name, &format!("{}.", section.path), known.iter().copied()))
        });
    }
}

/// Salt's `mysql` cache has other names for the same things, which the returner does
/// not read: easily confused.
fn warn_of_foreign(bundled: Bundled, layer: &Layer, section: &Section<'_>, findings: &mut Findings) {
    for (foreign, ours) in [("password", "pass"), ("database", "db")] {
        if bundled == Bundled::Mysql && !layer.0.contains_key(ours) && section.has(foreign) {
            let place = section.names().get(foreign).map(|place| (*place).clone());
            let message =
                format!("`mysql.{foreign}` is a key of Salt's cache, which the returner does not read");
            let warning = Finding { place, ..Finding::nowhere(message) };
            findings.warning(warning.hint(format!("the returner's is `mysql.{ours}`")));
        }
    }
}

fn connection(bundled: Bundled, chain: &Chain<'_>) -> ConnectionSettings {
    match bundled {
        Bundled::Mysql => ConnectionSettings::Mysql(MysqlSettings {
            address: address(chain, chain.first_of(&["unix_socket", "host"])),
            user: chain.text("user").unwrap_or_default(),
            password: chain.secret("pass"),
            database: chain.text("db").unwrap_or_default(),
            tls: match tls(chain) {
                Some(wanted) => MysqlTls::Verified(wanted),
                None if chain.flag("ssl") == Some(false) => MysqlTls::Disabled,
                None => MysqlTls::Preferred,
            },
        }),
        Bundled::Redis => ConnectionSettings::Redis(RedisSettings {
            address: address(chain, chain.first_of(&["unix_socket_path", "host"])),
            database: chain.number("db").and_then(|number| i64::try_from(number).ok()).unwrap_or(0),
            user: chain.text("user"),
            password: chain.secret("password"),
            tls: tls(chain),
        }),
        Bundled::Mongo => ConnectionSettings::Mongo(mongo(chain)),
        Bundled::Sqlite3 => ConnectionSettings::Sqlite(SqliteSettings {
            database: chain.path("database").unwrap_or_default(),
            timeout: chain.seconds("timeout").unwrap_or_default(),
        }),
    }
}

fn mongo(chain: &Chain<'_>) -> MongoSettings {
    let place = chain.first_of(&["uri", "host"]);
    let uri = chain.secret("uri").filter(|_| place == Some("uri"));
    // The address may name a database; one that is said by itself, above it, wins.
    let of_uri = uri.as_ref().and_then(|uri| database_of(uri.expose()));
    let said_above = chain
        .0
        .iter()
        .take_while(|layer| !layer.0.contains_key("uri"))
        .any(|layer| layer.0.contains_key("db"));
    let said = chain.text("db").unwrap_or_default();
    MongoSettings {
        address: address(chain, Some("host")),
        database: of_uri.filter(|_| !said_above).unwrap_or(said),
        user: chain.text("user"),
        password: chain.secret("password"),
        tls: tls(chain),
        uri,
    }
}

/// `salt` of `mongodb://user:pass@one:27017,two/salt?replicaSet=rs0`.
fn database_of(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let database = path.split('?').next().filter(|database| !database.is_empty())?;
    Some(database.to_owned())
}

fn address(chain: &Chain<'_>, key: Option<&str>) -> Address {
    match key.and_then(|key| chain.path(key)) {
        Some(path) => Address::Unix(path),
        None => Address::Tcp {
            host: chain.text("host").unwrap_or_default(),
            port: chain.number("port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        },
    }
}

/// TLS where a certificate or `ssl: true` asks for it; `ssl: false` turns it off.
fn tls(chain: &Chain<'_>) -> Option<TlsSettings> {
    let tls = TlsSettings {
        ca: chain.path("ssl_ca"),
        certificate: chain.path("ssl_cert"),
        key: chain.path("ssl_key"),
        contents: String::new(),
    };
    let wanted = chain.flag("ssl").unwrap_or(tls != TlsSettings::default());
    let contents = contents([&tls.ca, &tls.certificate, &tls.key]);
    wanted.then_some(TlsSettings { contents, ..tls })
}

/// Tells one version of the files from another. What cannot be read is said where it is used.
pub(super) fn contents(files: [&Option<PathBuf>; 3]) -> String {
    let mut hash = blake3::Hasher::new();
    for file in files.into_iter().flatten() {
        let content = std::fs::read(file).unwrap_or_default();
        hash.update(&(content.len() as u64).to_le_bytes());
        hash.update(&content);
    }
    hash.finalize().to_hex().to_string()
}

fn options(bundled: Bundled, chain: &Chain<'_>) -> BTreeMap<String, String> {
    match bundled {
        Bundled::Mongo => {
            let indexes = chain.flag("indexes").unwrap_or(false);
            BTreeMap::from([("indexes".to_owned(), indexes.to_string())])
        }
        _ => BTreeMap::new(),
    }
}

/// Salt's default, in seconds.
const KEEP_JOBS: u64 = 86_400;

/// For how long Redis keeps what it is given, as its guest's option; 0 is for ever.
///
/// As in Salt, the older `keep_jobs` (hours) holds where `keep_jobs_seconds` says
/// nothing new.
pub(super) fn redis_ttl(root: &Section<'_>, findings: &mut Findings) -> String {
    let number = |found: &Found<'_>| found.number(0..=u64::from(u32::MAX));
    let seconds = root.get("keep_jobs_seconds", number, findings).unwrap_or(KEEP_JOBS);
    let hours = root.get("keep_jobs", number, findings).filter(|hours| *hours != KEEP_JOBS / 3600);
    let ttl = hours.filter(|_| seconds == KEEP_JOBS).map_or(seconds, |hours| hours * 3600);
    ttl.to_string()
}
