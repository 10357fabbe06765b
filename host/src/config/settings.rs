//! The typed settings: what one version of the configuration says, checked.
//!
//! Everything past this point can rely on: names refer to things that exist, paths
//! are absolute or relative to the working directory (never to a file), and every
//! value is within its bounds. Secrets are [`Secret`]s: they print as
//! `[REDACTED]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access::{AccessSettings, SocketSettings};
use super::bundled::Declared;
use super::error::Place;
use super::narrowing::Narrowing;
use super::origins::Headers;
use super::places::Places;
use super::salt_events::SaltEventsSettings;
use super::secret::Secret;

/// One version of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The files it was read from, the main one first; empty for the defaults.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) host: HostSettings,
    /// Salt's `return`: the returners that store a return which names none.
    pub(crate) return_to: Vec<String>,
    /// Salt's `event_return`.
    pub(crate) event_return: Vec<String>,
    /// Salt's `master_job_cache`, or else the first of `return_to`: answers
    /// questions that name no returner.
    pub(crate) job_cache: String,
    /// The configuration names the one that answers.
    pub(crate) master_job_cache_is_set: bool,
    /// Connections by name. A bundled returner's connection has its name.
    pub(crate) connections: BTreeMap<String, ConnectionSettings>,
    /// Returners by name; `alternative.mysql` is one of its own.
    pub(crate) returners: BTreeMap<String, ReturnerSettings>,
    /// Where the file of a returner's plugin is named, by the returner's name.
    pub(crate) plugin_places: BTreeMap<String, Place>,
    /// Where the rest of it is, as far as something may be found wrong with it later.
    pub(crate) places: Places,
    /// What [`Settings::variant`] makes other returners of.
    pub(super) declared: Arc<Declared>,
}

/// The keys under `host`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostSettings {
    /// Salt's `id`, or else the machine's name: the master that an event is from
    /// which does not say so.
    pub(crate) id: String,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) socket: Option<SocketSettings>,
    pub(crate) access: AccessSettings,
    pub(crate) data: PathBuf,
    /// The largest body of a request, in bytes.
    pub(crate) max_body: u64,
    /// The size, in bytes, at which the journal takes nothing more.
    pub(crate) max_journal: u64,
    /// How long a question waits for what was accepted before it.
    pub(crate) barrier: Duration,
    /// How long stopping waits for calls in flight.
    pub(crate) drain: Duration,
    /// Whether a file that changes is read by itself, and not only when that is asked for.
    pub(crate) watch: bool,
    /// How long a return is remembered, so that a second copy of it is not stored.
    pub(crate) dedupe_window: Duration,
    /// How many returns are remembered at most.
    pub(crate) dedupe_keys: u64,
    /// The event bus of a master, to follow.
    pub(crate) salt_events: Option<SaltEventsSettings>,
}

/// A plugin with a name, options, connections and limits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReturnerSettings {
    /// The name as Salt calls it; with a profile, `alternative.mysql`.
    pub(crate) name: String,
    pub(crate) plugin: PluginSource,
    /// What the guest's `config` shows: never a credential.
    pub(crate) options: BTreeMap<String, String>,
    /// The guest's name of a connection to the host's.
    pub(crate) connections: BTreeMap<String, String>,
    /// What is granted of a connection, by the guest's name; all of it where there is none.
    pub(crate) narrowed: BTreeMap<String, Narrowing>,
    pub(crate) limits: Limits,
    pub(crate) delivery: DeliverySettings,
    /// Origins to reach by HTTP.
    pub(crate) allow_http: Vec<String>,
    /// What the host adds to the requests there, and the guest does not know.
    pub(crate) http_headers: Headers,
    /// Peers to reach by sockets of its own.
    pub(crate) allow_connect: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PluginSource {
    Bundled(Bundled),
    File {
        path: PathBuf,
        /// Lower-case hexadecimal.
        sha256: Option<String>,
    },
}

/// The plugins in the binary, named as Salt names its returners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Bundled {
    Mysql,
    Mongo,
    Redis,
    Sqlite3,
}

impl Bundled {
    pub(crate) const ALL: [Bundled; 4] = [Bundled::Mysql, Bundled::Mongo, Bundled::Redis, Bundled::Sqlite3];

    /// The returner's name, as in Salt's `return:`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Bundled::Mysql => "mysql",
            Bundled::Mongo => "mongo",
            Bundled::Redis => "redis",
            Bundled::Sqlite3 => "sqlite3",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Bundled> {
        Self::ALL.into_iter().find(|bundled| bundled.name() == name)
    }
}

/// What a plugin may use of the host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits {
    /// The linear memories and tables of an instance together, in bytes.
    pub(crate) memory: u64,
    /// The wall clock of one call, host calls included.
    pub(crate) time: Duration,
    /// The processor time of one call, host calls excluded.
    pub(crate) cpu: Duration,
    /// The wall clock of one host call (a statement, a pipeline).
    pub(crate) host_call: Duration,
    /// The bytes of one host call's answer.
    pub(crate) answer: u64,
    /// The rows, documents, keys or replies of one host call's answer.
    pub(crate) rows: u64,
    /// The bytes that the guest hands over in one host call.
    pub(crate) statement: u64,
    /// HTTP requests at once, of all instances together.
    pub(crate) requests: u64,
    /// Lines in the host's log, a second, of all instances together.
    pub(crate) log_lines: u64,
    /// Instances at once: those that store ([`DeliverySettings::workers`]), and the rest to
    /// answer questions.
    pub(crate) instances: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            time: Duration::from_secs(60),
            cpu: Duration::from_secs(10),
            host_call: Duration::from_secs(15),
            answer: 128 << 20,
            rows: 1_000_000,
            statement: 192 << 20,
            requests: 8,
            log_lines: 100,
            instances: 4,
        }
    }
}

/// How a lane hands items to its plugin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeliverySettings {
    /// The most items of one call.
    pub(crate) batch: usize,
    /// The most bytes of JSON of one call; a single larger item is a call alone.
    pub(crate) batch_bytes: usize,
    /// Calls at once; the returns of one minion never overlap.
    pub(crate) workers: usize,
    /// The longest wait between two tries.
    pub(crate) max_backoff: Duration,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self { batch: 1024, batch_bytes: 8 << 20, workers: 2, max_backoff: Duration::from_secs(60) }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ConnectionSettings {
    Mysql(MysqlSettings),
    Postgres(PostgresSettings),
    Sqlite(SqliteSettings),
    Redis(RedisSettings),
    Mongo(MongoSettings),
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// TLS to a server: certificates as paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TlsSettings {
    /// Verify the server against these instead of the public roots.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// A digest of the files: a certificate that is renewed is another setting.
    pub(crate) contents: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MysqlSettings {
    pub(crate) address: Address,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
    pub(crate) tls: MysqlTls,
}

/// Whether a connection to MySQL is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MysqlTls {
    /// Nothing is said: as MySQL's own clients do it, if the server offers it, and without
    /// looking at its certificate.
    Preferred,
    Disabled,
    Verified(TlsSettings),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PostgresSettings {
    /// A name, an address, or the directory of a Unix socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
    pub(crate) tls_mode: PostgresTls,
    pub(crate) tls: TlsSettings,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostgresTls {
    Disable,
    /// TLS if the server has it; its certificate is not looked at.
    Prefer,
    /// TLS; the certificate is not looked at.
    Require,
    /// Somebody who is trusted vouches for the certificate.
    VerifyCa,
    /// And it has the server's name.
    VerifyFull,
}

impl PostgresTls {
    pub(crate) const ALL: [PostgresTls; 5] = [
        PostgresTls::Disable,
        PostgresTls::Prefer,
        PostgresTls::Require,
        PostgresTls::VerifyCa,
        PostgresTls::VerifyFull,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            PostgresTls::Disable => "disable",
            PostgresTls::Prefer => "prefer",
            PostgresTls::Require => "require",
            PostgresTls::VerifyCa => "verify-ca",
            PostgresTls::VerifyFull => "verify-full",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SqliteSettings {
    /// The database file; `:memory:` keeps nothing.
    pub(crate) database: PathBuf,
    /// How long a statement waits for another process's lock.
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RedisSettings {
    pub(crate) address: Address,
    pub(crate) database: i64,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Option<TlsSettings>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MongoSettings {
    /// Salt's `mongo.uri`; then address, user and password are not used.
    pub(crate) uri: Option<Secret>,
    pub(crate) address: Address,
    pub(crate) database: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Option<TlsSettings>,
}

impl Settings {
    /// Who answers questions that name nobody: `master_job_cache`, or else the first of `return`
    /// that can; none where none of them can.
    pub(crate) fn answers(&self, can: impl Fn(&str) -> bool) -> Option<&str> {
        match self.master_job_cache_is_set {
            true => Some(&self.job_cache),
            false => self.return_to.iter().map(String::as_str).find(|name| can(name)),
        }
    }

    /// The names of every returner, for messages.
    pub(crate) fn returner_names(&self) -> BTreeSet<&str> {
        self.returners.keys().map(String::as_str).collect()
    }
}
