//! Returners with a plugin of their own: `audit.plugin` and the keys beside it.
//!
//! Promises: a returner's name can stand in a path, in a log and before the `{` of a
//! variant's name. Does not know which connections there are.

use std::collections::BTreeMap;

use super::error::{Finding, Findings, Place};
use super::host_keys::expect_map;
use super::limits;
use super::narrowing::Narrowing;
use super::origins;
use super::salt_keys;
use super::secret;
use super::section::{Found, Section, Value};
use super::settings::{Bundled, PluginSource, ReturnerSettings};
use super::values;

pub(super) const KEYS: &[&str] =
    &["plugin", "sha256", "options", "connections", "limits", "delivery", "allow_http", "allow_connect"];

const MAX_NAME: usize = 64;

/// So many signs off is a slip of the fingers.
const NEAR: usize = 2;

/// The names that have a `.plugin`.
pub(super) fn names(root: &Section<'_>) -> Vec<String> {
    let is_taken = |name: &str| {
        name == "host" || Bundled::from_name(name).is_some() || salt_keys::NO_PROFILES.contains(&name)
    };
    root.names_with("plugin").into_iter().filter(|name| !is_taken(name)).map(str::to_owned).collect()
}

/// A returner, or none where it cannot be one. Its connections are still to be checked;
/// see [`granted`].
pub(super) fn read(root: &Section<'_>, name: &str, findings: &mut Findings) -> Option<ReturnerSettings> {
    let section = root.under(name);
    section.only(KEYS, findings);
    let found = section.find("plugin", findings)?;
    if name.len() > MAX_NAME || !name.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
    {
        let finding = Finding::new(&found.place, format!("`{name}` cannot be the name of a returner"));
        findings.error(finding.hint(format!("use at most {MAX_NAME} letters, digits, `-` and `_`")));
        return None;
    }
    findings.watch(found.path().ok());
    let path = findings.take(found.file());
    let sha256 = section.get("sha256", sha256, findings);
    let granted = granted(&section, findings);
    let (limits, delivery) = limits::read(&section, findings);
    let (allow_http, http_headers) = origins::origins(&section, findings);
    Some(ReturnerSettings {
        name: name.to_owned(),
        options: options(&section, findings),
        connections: granted.iter().map(|(guest, one)| (guest.clone(), one.connection.clone())).collect(),
        narrowed: granted.into_iter().filter_map(|(guest, one)| Some((guest, one.narrowing?))).collect(),
        limits,
        delivery,
        allow_http,
        http_headers,
        allow_connect: origins::peers(&section, findings),
        plugin: PluginSource::File { path: path?, sha256 },
    })
}

/// Warns of what stands under a name that is nearly a returner's. Other names are Salt's to have.
pub(super) fn warn_of_mistyped<'r>(
    root: &Section<'_>,
    returners: impl Iterator<Item = &'r String> + Clone,
    findings: &mut Findings,
) {
    for key in KEYS {
        for name in root.names_with(key) {
            let near = |returner: &&String| {
                strsim::damerau_levenshtein(returner, name) <= NEAR.min(returner.len() / 3)
            };
            let Some(meant) = returners.clone().filter(near).min_by_key(|returner| *returner != name) else {
                continue;
            };
            if meant != name
                && let Some(place) = root.under(name).names().get(key)
            {
                let finding = Finding::new(place, format!("`{name}.{key}` belongs to no returner"));
                findings.warning(finding.hint(format!("did you mean `{meant}.{key}`?")));
            }
        }
    }
}

/// A connection that is granted.
pub(super) struct Granted {
    pub(super) place: Place,
    /// The host's name for it.
    pub(super) connection: String,
    /// What of it; all where there is none.
    pub(super) narrowing: Option<Narrowing>,
}

/// What is granted, by the guest's names: `{db: mysql}`, or `{db: {connection: mysql, tables:
/// {audit: [insert]}}}`.
pub(super) fn granted(section: &Section<'_>, findings: &mut Findings) -> BTreeMap<String, Granted> {
    section.get("connections", expect_map, findings);
    let connections = section.under("connections");
    let names: Vec<&str> = connections.names().into_keys().collect();
    let mut granted = BTreeMap::new();
    for guest in names {
        let Some(found) = connections.find(guest, findings) else { continue };
        let place = found.place.clone();
        let one = match &found.value {
            Value::Map(_) => {
                let below = connections.under(guest);
                let narrowing = Narrowing::read(&below, findings);
                if !below.has("connection") {
                    let finding = found.wrong("does not say which connection");
                    findings.error(finding.hint("write `connection: mysql` beside what is granted of it"));
                }
                let named = below.get("connection", Found::text, findings);
                named.map(|connection| Granted { place, connection, narrowing })
            }
            _ => {
                let named = findings.take(found.text());
                named.map(|connection| Granted { place, connection, narrowing: None })
            }
        };
        granted.extend(one.map(|one| (guest.to_owned(), one)));
    }
    granted
}

fn sha256(found: &Found<'_>) -> Result<String, Finding> {
    let text = found.text()?;
    if text.len() == 64 && text.chars().all(|char| char.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(found.wrong("is no SHA-256").hint("64 hexadecimal digits, as `sha256sum` prints them"))
    }
}

fn options(section: &Section<'_>, findings: &mut Findings) -> BTreeMap<String, String> {
    section.get("options", expect_map, findings);
    let options = section.under("options");
    let whole = options.whole_keys(findings);
    for (key, (place, node)) in &whole {
        if secret::is_reference(node) {
            let finding =
                Finding::new(place, format!("`{}` is given to the plugin as it is", options.key_of(key)));
            findings.warning(finding.hint(
                "a secret is no option: `allow_http: [{origin: https://example.com, headers: {Authorization: \
                 {env: TOKEN}}}]` sends one that the plugin does not see",
            ));
        }
    }
    whole.into_iter().filter_map(|(key, (_, node))| Some((key.to_owned(), values::option(node)?))).collect()
}
