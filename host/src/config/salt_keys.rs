//! The keys of the bundled returners, as Salt's own returner modules name them.
//!
//! From Salt 3007.15: `salt/returners/mysql.py`, `mongo_future_return.py`,
//! `redis_return.py` and `sqlite3_return.py`, their defaults, those of
//! `salt/modules/config.py`, and what other modules of Salt keep under the same names.
//! What Salt lacks is marked "ours".

use super::settings::Bundled;

/// One key of a bundled returner.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) by_return: ByReturn,
}

/// What a key's value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A server's name or address, and not what a URL would say beside it.
    Host,
    /// [`Kind::Host`], or the directory of a Unix socket.
    HostOrDirectory,
    Secret,
    Port,
    /// Redis's number of a database.
    Number,
    Flag,
    /// [`Kind::Flag`], or a map that is the business of Salt's `mysql` pillar.
    FlagOrForeign,
    Path,
    /// [`Kind::Path`] of a file that is there.
    File,
    Seconds,
}

/// Whether a single return may set the key by its `ret_kwargs`.
///
/// Whoever may send a return is not whoever wrote the configuration: it must not make
/// the host hand a configured secret to a server of the sender's choice, nor open
/// files of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ByReturn {
    Free,
    /// It says which server: only together with all of [`credentials`].
    WithCredentials,
    Never,
}

const fn key(name: &'static str, kind: Kind, by_return: ByReturn) -> Key {
    Key { name, kind, by_return }
}

const MYSQL: &[Key] = &[
    key("host", Kind::Host, ByReturn::WithCredentials),
    key("port", Kind::Port, ByReturn::WithCredentials),
    // Of Salt's `mysql` execution module.
    key("unix_socket", Kind::Path, ByReturn::WithCredentials),
    key("user", Kind::Text, ByReturn::Free),
    key("pass", Kind::Secret, ByReturn::Free),
    key("db", Kind::Text, ByReturn::Free),
    // Ours.
    key("ssl", Kind::FlagOrForeign, ByReturn::Never),
    key("ssl_ca", Kind::File, ByReturn::Never),
    key("ssl_cert", Kind::File, ByReturn::Never),
    key("ssl_key", Kind::File, ByReturn::Never),
];

const MONGO: &[Key] = &[
    key("host", Kind::Host, ByReturn::WithCredentials),
    key("port", Kind::Port, ByReturn::WithCredentials),
    key("uri", Kind::Secret, ByReturn::Never),
    key("user", Kind::Text, ByReturn::Free),
    key("password", Kind::Secret, ByReturn::Free),
    key("db", Kind::Text, ByReturn::Free),
    key("indexes", Kind::Flag, ByReturn::Free),
    key("ssl", Kind::Flag, ByReturn::Never),
    // Ours.
    key("ssl_ca", Kind::File, ByReturn::Never),
    key("ssl_cert", Kind::File, ByReturn::Never),
    key("ssl_key", Kind::File, ByReturn::Never),
];

const REDIS: &[Key] = &[
    key("host", Kind::Host, ByReturn::WithCredentials),
    key("port", Kind::Port, ByReturn::WithCredentials),
    key("unix_socket_path", Kind::Path, ByReturn::WithCredentials),
    // Ours: Salt knows no users of Redis 6 and later, and no TLS.
    key("user", Kind::Text, ByReturn::Free),
    key("password", Kind::Secret, ByReturn::Free),
    key("db", Kind::Number, ByReturn::Free),
    key("ssl", Kind::Flag, ByReturn::Never),
    key("ssl_ca", Kind::File, ByReturn::Never),
    key("ssl_cert", Kind::File, ByReturn::Never),
    key("ssl_key", Kind::File, ByReturn::Never),
    key("cluster_mode", Kind::Flag, ByReturn::Never),
];

const SQLITE3: &[Key] =
    &[key("database", Kind::Path, ByReturn::Never), key("timeout", Kind::Seconds, ByReturn::Free)];

/// Of Salt's returner `pgjsonb` (`salt/returners/pgjsonb.py`), under `returner.pgjsonb`.
pub(super) const PGJSONB: &[Key] = &[
    key("host", Kind::HostOrDirectory, ByReturn::Never),
    key("port", Kind::Port, ByReturn::Never),
    key("user", Kind::Text, ByReturn::Never),
    key("pass", Kind::Secret, ByReturn::Never),
    key("db", Kind::Text, ByReturn::Never),
    key("sslmode", Kind::Text, ByReturn::Never),
    key("sslrootcert", Kind::File, ByReturn::Never),
    key("sslcert", Kind::File, ByReturn::Never),
    key("sslkey", Kind::File, ByReturn::Never),
    key("sslcrl", Kind::Text, ByReturn::Never),
];

/// Of Salt's returner `postgres` (`salt/returners/postgres.py`), under `returner.postgres`.
pub(super) const POSTGRES: &[Key] = &[
    key("host", Kind::HostOrDirectory, ByReturn::Never),
    key("port", Kind::Port, ByReturn::Never),
    key("user", Kind::Text, ByReturn::Never),
    key("passwd", Kind::Secret, ByReturn::Never),
    key("db", Kind::Text, ByReturn::Never),
    // Ours.
    key("sslmode", Kind::Text, ByReturn::Never),
    key("sslrootcert", Kind::File, ByReturn::Never),
    key("sslcert", Kind::File, ByReturn::Never),
    key("sslkey", Kind::File, ByReturn::Never),
];

pub(super) fn keys(bundled: Bundled) -> &'static [Key] {
    match bundled {
        Bundled::Mysql => MYSQL,
        Bundled::Mongo => MONGO,
        Bundled::Redis => REDIS,
        Bundled::Sqlite3 => SQLITE3,
    }
}

/// What must come along with another server: all of what would be sent to it.
pub(super) fn credentials(bundled: Bundled) -> &'static [&'static str] {
    match bundled {
        Bundled::Mysql => &["user", "pass"],
        Bundled::Mongo => &["user", "password"],
        Bundled::Redis => &["password"],
        Bundled::Sqlite3 => &[],
    }
}

/// Keys under the same name that Salt's other modules read: of the `mysql` execution
/// module and the `mysql` cache, and of Redis clusters.
pub(super) fn foreign(bundled: Bundled) -> &'static [&'static str] {
    match bundled {
        Bundled::Mysql => &[
            "charset",
            "connect_timeout",
            "conv",
            "database",
            "default_file",
            "default_group",
            "fresh_connection",
            "password",
            "table_name",
            "use_unicode",
        ],
        Bundled::Redis => &["cluster"],
        Bundled::Mongo | Bundled::Sqlite3 => &[],
    }
}

/// Other names by which Salt knows the bundled returners.
pub(super) const ALIASES: &[(&str, &str)] =
    &[("redis_return", "redis"), ("mongo_return", "mongo"), ("mongo_future_return", "mongo")];

/// The [`ALIASES`] of a returner.
pub(crate) fn other_names(returner: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |(_, name)| *name == returner).map(|(other, _)| *other)
}

/// Salt's other returners: a configuration that names one means Salt's own.
pub(super) const OTHER_RETURNERS: &[&str] = &[
    "appoptics",
    "carbon",
    "cassandra_cql",
    "couchbase",
    "couchdb",
    "elasticsearch",
    "etcd",
    "highstate",
    "influxdb",
    "kafka",
    "librato",
    "local",
    "local_cache",
    "mattermost",
    "memcache",
    "multi_returner",
    "nagios_nrdp",
    "odbc",
    "pgjsonb",
    "postgres",
    "postgres_local_cache",
    "pushover",
    "rawfile_json",
    "salt_cache",
    "sentry",
    "slack",
    "slack_webhook",
    "sms",
    "smtp",
    "splunk",
    "syslog",
    "telegram",
    "xmpp",
    "zabbix",
];

/// Whether Salt itself has a returner of this name that is none of the bundled ones: 3007 has all of
/// them, and 3008 six.
pub(crate) fn is_salts(returner: &str) -> bool {
    OTHER_RETURNERS.contains(&returner)
}

/// Whether no returner can have this name, because its keys would be Salt's.
pub(crate) fn is_section(name: &str) -> bool {
    NO_PROFILES.contains(&name)
}

/// Salt's keys below which any name can stand: `cache.redis.host` is Salt's Redis
/// cache, `mine_functions: {mysql.status: []}` a function. No profiles.
pub(super) const NO_PROFILES: &[&str] = &[
    "beacons",
    "cache",
    "discovery",
    "engines",
    "ext_pillar",
    "extmod_blacklist",
    "extmod_whitelist",
    "external_auth",
    "features",
    "file_roots",
    "global_state_conditions",
    "grains",
    "jinja_env",
    "jinja_sls_env",
    "log_granular_levels",
    "master_roots",
    "master_tops",
    "mine_functions",
    "nodegroups",
    "peer",
    "peer_run",
    "pillar",
    "pillar_roots",
    "providers",
    "publisher_acl",
    "publisher_acl_blacklist",
    "reactor",
    "schedule",
    "ssh_list_nodegroups",
    "vault",
];
