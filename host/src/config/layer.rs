//! One layer of a bundled returner's keys: what the configuration says under `mysql`
//! or `alternative.mysql`, what a return says by `ret_kwargs`, or Salt's defaults.
//!
//! Promises: every value is of its key's type. A key that is empty is not in the layer,
//! so that the next layer is asked, as in Salt. Layers on top of one another are a
//! [`Chain`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Finding, Findings};
use super::salt_keys::{self, Key, Kind};
use super::secret::{self, Secret};
use super::section::{Found, Section, Value as Written};
use super::settings::Bundled;

/// The longest wait of SQLite for another process.
const MAX_SECONDS: Duration = Duration::from_secs(3600);
/// Redis has 16 databases unless it is told otherwise.
const MAX_NUMBER: u64 = 65_535;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, said on purpose: `mysql.pass: None` is no password, where an empty one
    /// asks the next layer.
    Nothing,
    Text(String),
    Secret(Secret),
    Number(u64),
    Flag(bool),
    Path(PathBuf),
    Seconds(Duration),
}

/// Values by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Layer(pub(super) BTreeMap<&'static str, Value>);

impl Layer {
    /// What stands in a section. The names in it have been checked.
    pub(super) fn read(bundled: Bundled, section: &Section<'_>, findings: &mut Findings) -> Self {
        let layer = Self::of_keys(salt_keys::keys(bundled), section, findings);
        layer.check(bundled, section, findings);
        layer
    }

    /// What stands in a section under these keys.
    pub(super) fn of_keys(keys: &'static [Key], section: &Section<'_>, findings: &mut Findings) -> Self {
        let mut layer = Layer::default();
        for key in keys {
            let Some(found) = section.find(key.name, findings) else { continue };
            if matches!(key.kind, Kind::File) {
                findings.watch(found.path().ok());
            }
            let value = read(key, &found, findings);
            if let Some(Some(value)) = findings.take(value) {
                layer.0.insert(key.name, value);
            }
        }
        layer
    }

    fn check(&self, bundled: Bundled, section: &Section<'_>, findings: &mut Findings) {
        let has = |name| self.0.contains_key(name);
        if bundled == Bundled::Mongo && has("uri") && has("host") {
            let found = section.find("uri", &mut Findings::default());
            let wrong = found.map(|found| {
                found.wrong(format!("and `{}` both say where the server is", section.key_of("host")))
            });
            wrong.into_iter().for_each(|finding| findings.error(finding.hint("keep one of them")));
        }
        if let Some(Value::Secret(uri)) = self.0.get("uri")
            && !["mongodb://", "mongodb+srv://"].iter().any(|scheme| uri.expose().starts_with(scheme))
        {
            let found = section.find("uri", &mut Findings::default());
            let wrong = found.map(|found| found.wrong("is no address of a MongoDB server"));
            let hint = "it begins with `mongodb://` or `mongodb+srv://`";
            wrong.into_iter().for_each(|finding| findings.error(finding.hint(hint)));
        }
        if self.0.get("cluster_mode") == Some(&Value::Flag(true)) {
            let found = section.find("cluster_mode", &mut Findings::default());
            let wrong =
                found.map(|found| found.wrong("asks for a Redis cluster, which this host does not speak"));
            let hint = "use a single server, or a proxy that hides the cluster, and remove the key";
            wrong.into_iter().for_each(|finding| findings.error(finding.hint(hint)));
        }
    }

    /// What holds where the configuration says nothing: Salt's defaults, but a
    /// database of our own for SQLite, for which Salt has none.
    pub(super) fn defaults(bundled: Bundled, sqlite3: PathBuf) -> Self {
        let text = |text: &str| Value::Text(text.to_owned());
        let values = match bundled {
            Bundled::Mysql => vec![
                ("host", text("salt")),
                ("port", Value::Number(3306)),
                ("user", text("salt")),
                ("pass", Value::Secret(Secret::from("salt"))),
                ("db", text("salt")),
            ],
            // No host in Salt, so that of its driver.
            Bundled::Mongo => {
                vec![("host", text("localhost")), ("port", Value::Number(27017)), ("db", text("salt"))]
            }
            Bundled::Redis => {
                vec![("host", text("salt")), ("port", Value::Number(6379)), ("db", Value::Number(0))]
            }
            // Salt asks for a timeout; this is the one of its example.
            Bundled::Sqlite3 => {
                vec![("database", Value::Path(sqlite3)), ("timeout", Value::Seconds(Duration::from_secs(5)))]
            }
        };
        Layer(values.into_iter().collect())
    }
}

/// A value as its key's kind; none where it is empty.
///
/// Salt documents `None` for what is not there, which YAML reads as a text.
pub(super) fn read(key: &Key, found: &Found<'_>, findings: &mut Findings) -> Result<Option<Value>, Finding> {
    let is_none = match found.value {
        Written::Scalar(scalar) if scalar.text.is_empty() || scalar.is_null() => return Ok(None),
        Written::Scalar(scalar) => scalar.text.eq_ignore_ascii_case("none"),
        _ => false,
    };
    match key.kind {
        Kind::Secret if is_none => Ok(Some(Value::Nothing)),
        Kind::Text | Kind::Host | Kind::HostOrDirectory if is_none => Ok(None),
        Kind::Path | Kind::File | Kind::Flag | Kind::FlagOrForeign if is_none => Ok(None),
        Kind::FlagOrForeign if matches!(found.value, Written::Map(_)) => Ok(None),
        Kind::Secret => secret::read(found, findings).map(|secret| Some(Value::Secret(secret))),
        Kind::Text => found.text().map(|text| Some(Value::Text(text))),
        Kind::Host => host(found, found.text()?),
        Kind::HostOrDirectory => match found.text()? {
            directory if directory.starts_with('/') => Ok(Some(Value::Text(directory))),
            text => host(found, text),
        },
        Kind::Port => found.number(1..=65_535).map(|port| Some(Value::Number(port))),
        Kind::Number => found.number(0..=MAX_NUMBER).map(|number| Some(Value::Number(number))),
        Kind::Flag | Kind::FlagOrForeign => found.flag().map(|flag| Some(Value::Flag(flag))),
        Kind::Path => path(found).map(|path| Some(Value::Path(path))),
        Kind::File => found.file().map(|path| Some(Value::Path(path))),
        Kind::Seconds => found.duration(Duration::ZERO..=MAX_SECONDS).map(|time| Some(Value::Seconds(time))),
    }
}

/// An error does not quote it: a URL may have a password in it, and whoever names the server in a
/// message would tell it.
fn host(found: &Found<'_>, text: String) -> Result<Option<Value>, Finding> {
    if text.contains(['/', '@']) {
        let hint =
            "the port, the user, the password, the database and a socket have keys of their own beside it";
        return Err(found.wrong("is no name or address of a server").hint(hint));
    }
    Ok(Some(Value::Text(text)))
}

fn path(found: &Found<'_>) -> Result<PathBuf, Finding> {
    // SQLite's name for a database that is kept nowhere.
    if found.text()? == ":memory:" { Ok(PathBuf::from(":memory:")) } else { found.path() }
}

/// Layers, the most particular one first.
pub(super) struct Chain<'a>(pub(super) Vec<&'a Layer>);

impl Chain<'_> {
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.0.iter().find_map(|layer| layer.0.get(key))
    }

    /// Of keys that exclude one another, the one that the first layer with any of them
    /// has. Within a layer the earlier key wins.
    pub(super) fn first_of<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        self.0.iter().find_map(|layer| keys.iter().copied().find(|key| layer.0.contains_key(key)))
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        match self.value(key)? {
            Value::Secret(secret) => Some(secret.clone()),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        match self.value(key)? {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, key: &str) -> Option<Duration> {
        match self.value(key)? {
            Value::Seconds(seconds) => Some(*seconds),
            _ => None,
        }
    }
}
