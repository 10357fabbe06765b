//! What a single return changes: Salt's `ret_config` and `ret_kwargs`.
//!
//! Promises: a variant without effect has the plain name, and the same effect always has
//! the same name. A sender cannot make the host hand a configured secret to a server of
//! the sender's choice, nor open files of the host. As in Salt, a profile that does not
//! exist and an option that nobody knows change nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::error::{Findings, Place, nearest};
use super::layer::{self, Chain, Layer, Value};
use super::salt_keys::{self, ByReturn, Key, Kind};
use super::section::{Found, Value as Written};
use super::settings::{Bundled, ConnectionSettings, PluginSource, ReturnerSettings, Settings};
use super::yaml::Scalar;

/// An option of a return that is longer is no option.
const MAX_TEXT: usize = 1024;

/// The returner that stores a return, with the connections that it is granted.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// Its name says what is special: `mysql`, `alternative.mysql`, `mysql{"db":"x"}`.
    pub(crate) settings: ReturnerSettings,
    pub(crate) connections: BTreeMap<String, ConnectionSettings>,
    /// The declared returner that it is a variant of.
    pub(crate) base: String,
    pub(crate) options: Options,
}

/// What of `ret_kwargs` makes a variant: values none of which is longer than [`MAX_TEXT`]. It is not
/// shown, because a secret may be among them.
#[derive(Clone, Default)]
pub(crate) struct Options(Map<String, Json>);

impl Options {
    fn of(kwargs: &Map<String, Json>, makes: impl Fn(&str) -> bool) -> Self {
        let making = kwargs.iter().filter(|(key, _)| makes(key));
        Self(making.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// As `ret_kwargs`.
    pub(crate) fn kwargs(&self) -> &Map<String, Json> {
        &self.0
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a return cannot be stored as it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariantError {
    #[error("there is no returner `{name}`\n  hint: {hint}")]
    Unknown { name: String, hint: String },
    #[error("`ret_kwargs` for `{returner}`: {message}")]
    Value { returner: String, message: String },
    #[error(
        "`ret_kwargs` for `{returner}`: `{key}` cannot be set by a return\n  hint: the host's configuration sets it, if need be as a profile for `ret_config`"
    )]
    Closed { returner: String, key: &'static str },
    #[error(
        "`ret_kwargs` for `{returner}`: `{key}` names another server, to which the configured credentials are not sent\n  hint: give {needed} beside it, or use a profile of the configuration by `ret_config`"
    )]
    Credentials { returner: String, key: &'static str, needed: String },
}

impl Settings {
    /// The returner that stores a return which asks for a profile (`ret_config`) or for
    /// options of its own (`ret_kwargs`).
    ///
    /// A returner's name that already has a profile keeps it.
    pub(crate) fn variant(
        &self,
        returner: &str,
        ret_config: Option<&str>,
        ret_kwargs: Option<&Map<String, Json>>,
    ) -> Result<Variant, VariantError> {
        let unknown = || VariantError::Unknown {
            name: returner.to_owned(),
            hint: nearest(returner, "", self.returner_names()),
        };
        let plain = self.returners.get(returner).ok_or_else(unknown)?;
        let PluginSource::Bundled(bundled) = plain.plugin else {
            return ret_kwargs.map_or_else(
                || Ok(self.granted(plain.clone())),
                |kwargs| self.custom_variant(plain, kwargs),
            );
        };
        let own = returner.strip_suffix(bundled.name()).and_then(|profile| profile.strip_suffix('.'));
        let asked = ret_config.filter(|profile| self.declared.has_profile(bundled, profile));
        let profile = own.or(asked);
        let name =
            profile.map_or_else(|| returner.to_owned(), |profile| format!("{profile}.{}", bundled.name()));
        let plain = self.returners.get(&name).ok_or_else(unknown)?;
        match ret_kwargs {
            Some(kwargs) => self.bundled_variant(bundled, profile, plain, kwargs),
            None => Ok(self.granted(plain.clone())),
        }
    }

    fn bundled_variant(
        &self,
        bundled: Bundled,
        profile: Option<&str>,
        plain: &ReturnerSettings,
        kwargs: &Map<String, Json>,
    ) -> Result<Variant, VariantError> {
        let given = read(bundled, kwargs).map_err(|error| error.of(&plain.name))?;
        let defaults = self.declared.defaults(bundled);
        let chain = self.declared.chain(bundled, profile, &defaults);
        let effective = effective(&given, &chain);
        check(bundled, &given, &effective, &chain).map_err(|error| error.of(&plain.name))?;
        if effective.0.is_empty() {
            return Ok(self.granted(plain.clone()));
        }
        let (connection, options) = self.declared.resolve(bundled, profile, Some(&effective));
        let mut settings = plain.clone();
        settings.options.extend(options);
        settings.name = named(&plain.name, effective.0.iter().map(|(key, value)| (*key, shown(value))));
        settings.connections.values_mut().for_each(|host| host.clone_from(&settings.name));
        let connections = BTreeMap::from([(settings.name.clone(), connection)]);
        let options = Options::of(kwargs, |key| given.0.contains_key(key));
        Ok(Variant { settings, connections, base: plain.name.clone(), options })
    }

    /// Only options that the configuration has can be changed.
    fn custom_variant(
        &self,
        plain: &ReturnerSettings,
        kwargs: &Map<String, Json>,
    ) -> Result<Variant, VariantError> {
        let mut settings = plain.clone();
        let mut changed = BTreeMap::new();
        for (key, value) in kwargs {
            let Some(text) = text(value) else { continue };
            let Some(option) = settings.options.get_mut(key).filter(|option| **option != text) else {
                continue;
            };
            check_length(key, &text).map_err(|error| error.of(&plain.name))?;
            // Nobody knows which options are secrets.
            changed.insert(key.as_str(), Json::String(digest(&text)));
            *option = text;
        }
        let options = Options::of(kwargs, |key| changed.contains_key(key));
        if !changed.is_empty() {
            settings.name = named(&plain.name, changed.into_iter());
        }
        Ok(Variant { base: plain.name.clone(), options, ..self.granted(settings) })
    }

    /// A returner whose connections are declared ones.
    fn granted(&self, settings: ReturnerSettings) -> Variant {
        let declared = |name: &String| Some((name.clone(), self.connections.get(name)?.clone()));
        let connections = settings.connections.values().filter_map(declared).collect();
        Variant { base: settings.name.clone(), options: Options::default(), settings, connections }
    }
}

/// An error without the returner's name.
enum Refused {
    Value(String),
    Closed(&'static str),
    Credentials(&'static str, String),
}

impl Refused {
    fn of(self, returner: &str) -> VariantError {
        let returner = returner.to_owned();
        match self {
            Refused::Value(message) => VariantError::Value { returner, message },
            Refused::Closed(key) => VariantError::Closed { returner, key },
            Refused::Credentials(key, needed) => VariantError::Credentials { returner, key, needed },
        }
    }
}

/// The options of a return as the kinds of their keys.
fn read(bundled: Bundled, kwargs: &Map<String, Json>) -> Result<Layer, Refused> {
    let mut layer = Layer::default();
    for key in salt_keys::keys(bundled) {
        let Some(value) = kwargs.get(key.name) else { continue };
        if key.by_return == ByReturn::Never {
            return Err(Refused::Closed(key.name));
        }
        if let Some(value) = read_one(key, value)? {
            layer.0.insert(key.name, value);
        }
    }
    Ok(layer)
}

/// None where it says nothing. For a secret that is a statement: no secret, and by no
/// means the configured one.
fn read_one(key: &Key, value: &Json) -> Result<Option<Value>, Refused> {
    let nothing = (key.kind == Kind::Secret).then_some(Value::Nothing);
    let scalar = match value {
        Json::Null => return Ok(nothing),
        Json::String(text) => Scalar { text: text.clone(), plain: false },
        Json::Bool(_) | Json::Number(_) => Scalar { text: value.to_string(), plain: true },
        Json::Array(_) | Json::Object(_) => {
            return Err(Refused::Value(format!(
                "`{}` is a list or a map, expected a single value",
                key.name
            )));
        }
    };
    check_length(key.name, &scalar.text)?;
    let place = Place { file: Arc::from(Path::new("")), line: 0 };
    let found = Found { key: key.name.to_owned(), place, value: Written::Scalar(&scalar) };
    let value = layer::read(key, &found, &mut Findings::default())
        .map_err(|finding| Refused::Value(finding.message))?;
    Ok(value.or(nothing))
}

fn check_length(key: &str, text: &str) -> Result<(), Refused> {
    if text.len() > MAX_TEXT {
        return Err(Refused::Value(format!("`{key}` is longer than {MAX_TEXT} bytes")));
    }
    Ok(())
}

/// What differs from what would hold anyway.
fn effective(given: &Layer, chain: &Chain<'_>) -> Layer {
    let differs = |key: &str, value: &Value| match (chain.value(key), value) {
        (None | Some(Value::Nothing), Value::Nothing) => false,
        (held, value) => held != Some(value),
    };
    let changed = given.0.iter().filter(|(key, value)| differs(key, value));
    Layer(changed.map(|(key, value)| (*key, value.clone())).collect())
}

/// Another server is sent only what the return brought along.
fn check(bundled: Bundled, given: &Layer, effective: &Layer, chain: &Chain<'_>) -> Result<(), Refused> {
    let is_place =
        |key: &&Key| key.by_return == ByReturn::WithCredentials && effective.0.contains_key(key.name);
    let Some(key) = salt_keys::keys(bundled).iter().find(is_place) else { return Ok(()) };
    let mut needed = salt_keys::credentials(bundled).to_vec();
    if bundled == Bundled::Redis && chain.value("user").is_some() {
        needed.insert(0, "user");
    }
    if needed.iter().all(|key| given.0.contains_key(key)) {
        return Ok(());
    }
    Err(Refused::Credentials(
        key.name,
        needed.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and "),
    ))
}

/// `mysql{"db":"x"}`; the keys are sorted already.
fn named<'a>(plain: &str, changed: impl Iterator<Item = (&'a str, Json)>) -> String {
    let changed: Map<String, Json> = changed.map(|(key, value)| (key.to_owned(), value)).collect();
    format!("{plain}{}", Json::Object(changed))
}

/// Whether a name is one of those that [`named`] makes.
pub(crate) fn is_variant(name: &str) -> bool {
    let options = name.find('{').and_then(|at| name.get(at..));
    options.is_some_and(|options| serde_json::from_str::<Map<String, Json>>(options).is_ok())
}

fn shown(value: &Value) -> Json {
    match value {
        Value::Nothing => Json::Null,
        Value::Text(text) => Json::from(text.as_str()),
        Value::Secret(secret) => Json::String(digest(secret.expose())),
        Value::Number(number) => Json::from(*number),
        Value::Flag(flag) => Json::from(*flag),
        Value::Path(path) => Json::String(path.display().to_string()),
        Value::Seconds(time) => Json::from(time.as_secs_f64()),
    }
}

/// Tells two secrets apart without saying either. Long enough that nobody finds a
/// second one with the same digest: that one would be let in by the first one's door.
fn digest(secret: &str) -> String {
    let hash = blake3::Hasher::new_derive_key("returner 2026 name of a variant")
        .update(secret.as_bytes())
        .finalize();
    hex::encode(&hash.as_bytes()[..16])
}

/// An option of a plugin; scalars as they are, the rest as JSON.
fn text(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}
