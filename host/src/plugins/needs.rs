//! What a component imports that does nothing until the configuration grants something.

use super::load::Plugin;

/// A capability that needs a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    Sql,
    Redis,
    Mongo,
    Http,
    /// Runtimes of some languages import them whether or not anything uses them.
    WasiHttp,
    WasiSockets,
}

impl Need {
    pub(crate) const ALL: [Need; 6] =
        [Need::Sql, Need::Redis, Need::Mongo, Need::Http, Need::WasiHttp, Need::WasiSockets];

    /// The interface, without its version.
    pub(crate) fn interface(self) -> &'static str {
        match self {
            Need::Sql => "salt:returner/sql",
            Need::Redis => "salt:returner/redis",
            Need::Mongo => "salt:returner/mongo",
            Need::Http => "salt:returner/http",
            Need::WasiHttp => "wasi:http/outgoing-handler",
            Need::WasiSockets => "wasi:sockets/tcp",
        }
    }

    /// What the configuration would have to grant.
    pub(crate) fn grant(self) -> &'static str {
        match self {
            Need::Sql => "a connection for sql",
            Need::Redis => "a connection to redis",
            Need::Mongo => "a connection to mongo",
            Need::Http => "`allow_http`",
            Need::WasiHttp => "`allow_http`, if it makes requests of its own",
            Need::WasiSockets => "`allow_connect`, if it opens sockets of its own",
        }
    }

    /// Whether importing it says that it is used.
    pub(crate) fn is_telling(self) -> bool {
        !matches!(self, Need::WasiHttp | Need::WasiSockets)
    }

    /// The capability that a kind of connection is for.
    pub(crate) fn of_connection(kind: &str) -> Option<Self> {
        match kind {
            "mysql" | "postgres" | "sqlite" => Some(Need::Sql),
            "redis" => Some(Need::Redis),
            "mongo" => Some(Need::Mongo),
            _ => None,
        }
    }
}

impl Plugin {
    pub(crate) fn needs(&self) -> Vec<Need> {
        let imports = |need: &Need| {
            let is_it = |import: &String| import.split('@').next() == Some(need.interface());
            self.imports.iter().any(is_it)
        };
        Need::ALL.into_iter().filter(imports).collect()
    }
}
