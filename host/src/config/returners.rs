//! Which returners there are, and which of them are used for what.
//!
//! Promises: there is a returner for each name in `return`, `event_return` and
//! `master_job_cache`, for each bundled one with keys of its own, for each profile of
//! one, and for each name with a plugin. A name that Salt itself has a returner for, and
//! this host does not, is left to Salt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bundled::{self, Declared, GUEST_CONNECTION};
use super::custom::{self, Granted};
use super::error::{Finding, Findings, Place, nearest};
use super::host_keys;
use super::limits;
use super::narrowing::Narrowing;
use super::origins::Headers;
use super::places::Places;
use super::postgres;
use super::salt_keys;
use super::section::{File, Found, Section};
use super::settings::{Bundled, ConnectionSettings, PluginSource, ReturnerSettings, Settings};

/// Where returns go that name no returner, if the configuration does not say.
const DEFAULT: Bundled = Bundled::Sqlite3;

pub(super) fn build(files: &[File], findings: &mut Findings) -> Settings {
    let root = Section::root(files);
    let host = host_keys::read(&root, findings);
    let declared = Declared::read(&root, host.data.join("sqlite3.db"), findings);
    let uses = Uses::read(&root, &declared, findings);
    let (mut returners, mut connections) = bundled_ones(&root, &declared, &uses, findings);
    let postgres = postgres::read(&root, findings);
    connections.extend(postgres.clone());
    let mut plugin_places = BTreeMap::new();
    for name in custom::names(&root) {
        if let Some(returner) = custom::read(&root, &name, findings) {
            // What is wrong there has been noted.
            let found = root.under(&name).find("plugin", &mut Findings::default());
            plugin_places.extend(found.map(|found| (name.clone(), found.place)));
            check_grants(&root, &name, &connections, findings);
            returners.insert(name, returner);
        }
    }
    uses.warn(&declared, &returners, findings);
    postgres::warn_of_unused(&postgres, returners.values(), findings);
    bundled::warn_of_mistyped(&root, findings);
    custom::warn_of_mistyped(&root, returners.keys(), findings);
    Settings {
        files: files.iter().map(|file| file.path.to_path_buf()).collect(),
        host,
        job_cache: uses.job_cache.clone().unwrap_or_else(|| uses.first()),
        master_job_cache_is_set: uses.job_cache.is_some(),
        return_to: uses.return_to.unwrap_or_else(|| vec![DEFAULT.name().to_owned()]),
        event_return: uses.event_return,
        connections,
        returners,
        plugin_places,
        places: Places::of(&root),
        declared: Arc::new(declared),
    }
}

/// What the configuration uses returners for.
struct Uses {
    /// None where it does not say.
    return_to: Option<Vec<String>>,
    event_return: Vec<String>,
    job_cache: Option<String>,
}

impl Uses {
    fn read(root: &Section<'_>, declared: &Declared, findings: &mut Findings) -> Self {
        let mut known: BTreeSet<String> =
            Bundled::ALL.iter().map(|bundled| bundled.name().to_owned()).collect();
        known.extend(declared.profiles().map(|(bundled, profile)| profile_name(profile, bundled)));
        known.extend(custom::names(root));
        let names = Names { root, known };
        let return_to = names.list("return", findings);
        if let Some(found) = root.find("ext_job_cache", findings) {
            let place = found.place.clone();
            let finding = Finding::new(
                &place,
                "`ext_job_cache` is a key of Salt's master, and says nothing to this host",
            );
            findings.warning(finding.hint("name in `return` who is to store what comes"));
        }
        if let Some((found, names)) = &return_to
            && names.is_empty()
        {
            let finding = found.wrong("names no returner that this host has");
            findings.error(finding.hint("add one, for example `sqlite3`, or leave the key out"));
        }
        Self {
            return_to: return_to.map(|(_, names)| names),
            event_return: names.list("event_return", findings).map(|(_, names)| names).unwrap_or_default(),
            job_cache: names.job_cache(findings),
        }
    }

    fn first(&self) -> String {
        let first = self.return_to.iter().flatten().next();
        first.cloned().unwrap_or_else(|| DEFAULT.name().to_owned())
    }

    /// Every name that is used.
    fn all(&self) -> BTreeSet<String> {
        let first = self.return_to.is_none().then(|| self.first());
        let lists = self.return_to.iter().flatten().chain(&self.event_return).chain(&self.job_cache);
        lists.cloned().chain(first).collect()
    }

    /// Warns of what is configured and not used.
    fn warn(
        &self,
        declared: &Declared,
        returners: &BTreeMap<String, ReturnerSettings>,
        findings: &mut Findings,
    ) {
        let used = self.all();
        let customs =
            || returners.values().filter(|returner| matches!(returner.plugin, PluginSource::File { .. }));
        let granted: BTreeSet<&str> =
            customs().flat_map(|returner| returner.connections.values()).map(String::as_str).collect();
        // Without `return`, being used for something else hides that returns go elsewhere.
        let is_used = |name: &str| match self.return_to {
            Some(_) => used.contains(name) || granted.contains(name),
            None => name == self.first(),
        };
        let bundled = declared.named().filter_map(|bundled| returners.get(bundled.name()));
        let configured = bundled.chain(customs()).map(|returner| returner.name.as_str());
        for name in configured.filter(|name| !is_used(name)) {
            let (message, hint) = match self.return_to {
                None => (
                    format!("`{name}` is configured, but without `return` returns go to `{}`", self.first()),
                    format!("write `return: {name}`"),
                ),
                Some(_) => (
                    format!("`{name}` is configured, and used only for what names it"),
                    format!("add it to `return` for all returns to go to `{name}`, too"),
                ),
            };
            findings.warning(Finding::nowhere(message).hint(hint));
        }
    }
}

fn profile_name(profile: &str, bundled: Bundled) -> String {
    format!("{profile}.{}", bundled.name())
}

/// Reads names of returners.
struct Names<'r, 'a> {
    root: &'r Section<'a>,
    known: BTreeSet<String>,
}

/// Whose a name is.
enum Owner {
    Ours(String),
    Salts,
}

impl<'a> Names<'_, 'a> {
    /// The names of a list that are ours, each once. None where the key is absent or none of
    /// them is right.
    fn list(&self, key: &str, findings: &mut Findings) -> Option<(Found<'a>, Vec<String>)> {
        let found = self.root.find(key, findings)?;
        let items = findings.take(found.texts())?;
        if items.is_empty() {
            return None;
        }
        let (mut names, mut are_wrong) = (Vec::<String>::new(), false);
        for (place, written) in items {
            match findings.take(self.owner(key, &place, &written)) {
                None => are_wrong = true,
                Some(Owner::Ours(name)) if names.contains(&name) => {}
                Some(Owner::Ours(name)) => names.push(name),
                Some(Owner::Salts) => findings.warning(
                    Finding::new(
                        &place,
                        format!("`{key}: {written}` is a returner of Salt's own; it is left to Salt"),
                    )
                    .hint(format!("a plugin can take its place: `{written}.plugin: FILE`")),
                ),
            }
        }
        // What is wrong has been said: not that nothing is left.
        if names.is_empty() && are_wrong { None } else { Some((found, names)) }
    }

    /// Salt's own caches (`local_cache` is Salt's default) are not ours to ask.
    fn job_cache(&self, findings: &mut Findings) -> Option<String> {
        let found = self.root.find("master_job_cache", findings)?;
        let written = findings.take(found.text())?;
        if written.is_empty() {
            return None;
        }
        match findings.take(self.owner("master_job_cache", &found.place, &written))? {
            Owner::Ours(name) => Some(name),
            Owner::Salts => None,
        }
    }

    fn owner(&self, key: &str, place: &Place, written: &str) -> Result<Owner, Finding> {
        let alias = salt_keys::ALIASES.iter().find(|(alias, _)| *alias == written).map(|(_, name)| *name);
        let name = alias.filter(|_| !self.known.contains(written)).unwrap_or(written);
        if self.known.contains(name) {
            return Ok(Owner::Ours(name.to_owned()));
        }
        // Salt's modules are called `smtp_return.py`, `slack_returner.py` and so on.
        let short = name.trim_end_matches("_returner").trim_end_matches("_return");
        if salt_keys::OTHER_RETURNERS.contains(&short) || salt_keys::OTHER_RETURNERS.contains(&name) {
            return Ok(Owner::Salts);
        }
        let finding = Finding::new(place, format!("`{key}` names the returner `{name}`, and there is none"));
        Err(if salt_keys::NO_PROFILES.contains(&name) {
            finding.hint(format!("`{name}` is a key of Salt's own: call the returner otherwise"))
        } else if self.root.has(name) && !self.root.under(name).is_empty() {
            finding.hint(format!("`{name}.plugin: FILE` is missing"))
        } else {
            finding.hint(nearest(name, "", self.known.iter().map(String::as_str)))
        })
    }
}

type Returners = BTreeMap<String, ReturnerSettings>;
type Connections = BTreeMap<String, ConnectionSettings>;

/// The bundled returners that are used or have keys, and their profiles.
fn bundled_ones(
    root: &Section<'_>,
    declared: &Declared,
    uses: &Uses,
    findings: &mut Findings,
) -> (Returners, Connections) {
    let used = uses.all();
    let mut bundled: BTreeSet<Bundled> = declared.named().collect();
    bundled.extend(used.iter().filter_map(|name| Bundled::from_name(name)));
    // A return with a profile names the returner itself, without the profile.
    bundled.extend(declared.profiles().map(|(bundled, _)| bundled));
    let (mut returners, mut connections) = (Returners::new(), Connections::new());
    let keep = bundled::redis_ttl(root, findings);
    for bundled in bundled {
        let section = root.under(bundled.name());
        let (limits, delivery) = limits::read(&section, findings);
        let profiles = declared.profiles().filter(|(of, _)| *of == bundled).map(|(_, profile)| Some(profile));
        for profile in std::iter::once(None).chain(profiles) {
            let name =
                profile.map_or_else(|| bundled.name().to_owned(), |profile| profile_name(profile, bundled));
            let (connection, mut options) = declared.resolve(bundled, profile, None);
            if bundled == Bundled::Redis {
                options.insert("ttl".to_owned(), keep.clone());
            }
            connections.insert(name.clone(), connection);
            let returner = ReturnerSettings {
                plugin: PluginSource::Bundled(bundled),
                options,
                connections: BTreeMap::from([(GUEST_CONNECTION.to_owned(), name.clone())]),
                narrowed: BTreeMap::from([(GUEST_CONNECTION.to_owned(), Narrowing::of_bundled(bundled))]),
                limits: limits.clone(),
                delivery: delivery.clone(),
                allow_http: Vec::new(),
                http_headers: Headers::new(),
                allow_connect: Vec::new(),
                name: name.clone(),
            };
            returners.insert(name, returner);
        }
    }
    (returners, connections)
}

fn check_grants(root: &Section<'_>, name: &str, connections: &Connections, findings: &mut Findings) {
    // What cannot be read has been noted before.
    let granted = custom::granted(&root.under(name), &mut Findings::default());
    for (guest, Granted { place, connection: host, narrowing }) in granted {
        if let (Some(connection), Some(narrowing)) = (connections.get(&host), &narrowing) {
            if !narrowing.fits(connection) {
                let finding = Finding::new(
                    &place,
                    format!("`{name}.connections.{guest}` narrows `{host}` by what it does not have"),
                );
                findings.error(
                    finding.hint(
                        "`tables` is for SQL, `commands` and `keys` for Redis, `collections` for MongoDB",
                    ),
                );
            }
        } else if host.contains(['/', '@']) {
            // It is not quoted: there may be a password in it.
            let finding =
                Finding::new(&place, format!("`{name}.connections.{guest}` is no name of a connection"));
            findings.error(finding.hint(
                "name one, such as `mysql`; `mysql.host` and the keys beside it say where it is and who asks",
            ));
        } else if !connections.contains_key(&host) {
            let finding = Finding::new(
                &place,
                format!("`{name}.connections.{guest}` is `{host}`, and there is no such connection"),
            );
            findings.error(match Bundled::from_name(&host) {
                Some(Bundled::Sqlite3) => finding.hint("`sqlite3.database` describes it"),
                Some(bundled) => {
                    finding.hint(format!("`{0}.host` and the keys beside it describe it", bundled.name()))
                }
                None if connections.is_empty() => finding.hint("`mysql.host` and so on describe one"),
                None => finding.hint(nearest(&host, "", connections.keys().map(String::as_str))),
            });
        }
    }
}
