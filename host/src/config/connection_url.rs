//! A connection as one text, for a plugin that is tried without a configuration.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::secret::Secret;
use super::settings::{
    Address, ConnectionSettings, MongoSettings, MysqlSettings, MysqlTls, PostgresSettings, PostgresTls,
    RedisSettings, SqliteSettings, TlsSettings,
};

const FORMS: &str = "`sqlite::memory:`, `sqlite:FILE`, `mysql://USER:PASSWORD@HOST/DATABASE`, \
                     `postgres://USER:PASSWORD@HOST/DATABASE`, \
                     `redis://HOST/NUMBER` or `mongodb://HOST/DATABASE`";

impl ConnectionSettings {
    /// Reads a connection's URL.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without what it says: there may be a password in it.
    pub(crate) fn of_url(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            let timeout = Duration::from_secs(5);
            return Ok(Self::Sqlite(SqliteSettings { database: PathBuf::from(path), timeout }));
        }
        let wrong = |what: &str| format!("{what}\n  hint: it is {FORMS}");
        let url = Url::parse(text).map_err(|error| wrong(&format!("it is no URL: {error}")))?;
        let port = |usual| url.port().unwrap_or(usual);
        let address = |usual| {
            let host = url.host_str().ok_or_else(|| wrong("there is no host in it"))?;
            Ok::<_, String>(Address::Tcp { host: host.to_owned(), port: port(usual) })
        };
        let user = Some(plain(url.username())).filter(|user| !user.is_empty());
        let password = url.password().map(|password| Secret::from(plain(password)));
        let database = plain(url.path().trim_start_matches('/'));
        match url.scheme() {
            "mysql" if database.is_empty() => Err(wrong("there is no database in it")),
            "mysql" => Ok(Self::Mysql(MysqlSettings {
                address: address(3306)?,
                user: user.unwrap_or_default(),
                password,
                database,
                tls: MysqlTls::Preferred,
            })),
            "postgres" | "postgresql" if database.is_empty() => Err(wrong("there is no database in it")),
            "postgres" | "postgresql" => Ok(Self::Postgres(PostgresSettings {
                host: url.host_str().ok_or_else(|| wrong("there is no host in it"))?.to_owned(),
                port: port(5432),
                user: user.unwrap_or_default(),
                password,
                database,
                tls_mode: PostgresTls::Prefer,
                tls: TlsSettings::default(),
            })),
            "redis" => {
                let number = if database.is_empty() { Ok(0) } else { database.parse() };
                let database = number.map_err(|_| wrong("its database is no number"))?;
                Ok(Self::Redis(RedisSettings {
                    address: address(6379)?,
                    database,
                    user,
                    password,
                    tls: None,
                }))
            }
            "mongodb" if database.is_empty() => Err(wrong("there is no database in it")),
            "mongodb" => Ok(Self::Mongo(MongoSettings {
                uri: Some(Secret::from(text)),
                address: address(27017)?,
                database,
                user: None,
                password: None,
                tls: None,
            })),
            _ => Err(wrong("it is of an unknown kind")),
        }
    }
}

fn plain(encoded: &str) -> String {
    let pair = format!("x={}", encoded.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_url() {
        let mysql = ConnectionSettings::of_url("mysql://salt:p%40ss+w@db:3307/salt").expect("a URL");
        let ConnectionSettings::Mysql(mysql) = mysql else { panic!("{mysql:?}") };
        assert_eq!(mysql.address, Address::Tcp { host: "db".to_owned(), port: 3307 });
        assert_eq!(mysql.password.as_ref().map(Secret::expose), Some("p@ss+w"));
        assert_eq!((mysql.user.as_str(), mysql.database.as_str()), ("salt", "salt"));
        let redis = ConnectionSettings::of_url("redis://127.0.0.1/3").expect("a URL");
        assert!(matches!(redis, ConnectionSettings::Redis(RedisSettings { database: 3, .. })), "{redis:?}");
        let sqlite = ConnectionSettings::of_url("sqlite::memory:").expect("a URL");
        let ConnectionSettings::Sqlite(sqlite) = sqlite else { panic!("{sqlite:?}") };
        assert_eq!(sqlite.database, PathBuf::from(":memory:"));
        assert!(ConnectionSettings::of_url("mongodb://db/salt").is_ok());
        let postgres = ConnectionSettings::of_url("postgresql://salt:geheim@db/salt").expect("a URL");
        assert!(
            matches!(&postgres, ConnectionSettings::Postgres(PostgresSettings { port: 5432, .. })),
            "{postgres:?}"
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password() {
        for wrong in
            ["", "sqlite:", "db", "mysql://u:geheim@db", "redis://:geheim@db/x", "ftp://u:geheim@db/x"]
        {
            let message = ConnectionSettings::of_url(wrong).expect_err("it is wrong");
            assert!(message.contains("hint: ") && !message.contains("geheim"), "{wrong}: {message}");
        }
    }
}
