//! The configuration: Salt's own keys in Salt's own YAML, and ours beside them, to one
//! set of typed [`Settings`].
//!
//! Promises: whatever is wrong is found in one go, each with file, line and what to do
//! ([`ConfigErrors`]); nothing is half right. A minion's or master's configuration file
//! is accepted as it is: what is not ours is ignored. A secret is in [`Settings`] as a
//! `Secret` and nowhere else. Reads files and the environment when it loads and
//! not later. Does not know plugins: whether a plugin can do what it is used for is
//! found when it is loaded.
//!
//! The way of a value: `yaml` (text to nodes) → `files` (includes) → `section` (names
//! with dots) → `values` (types) → `layer` (Salt's keys of one returner) → `bundled`,
//! `custom` → `returners`, which puts the settings together. `variant` is for single
//! returns that ask for something else.

mod access;
mod bundled;
mod connection_url;
mod custom;
mod difference;
mod error;
mod files;
mod host_keys;
mod layer;
mod limits;
mod narrowing;
mod origins;
mod places;
mod postgres;
mod profiles;
mod returners;
mod salt_events;
mod salt_keys;
mod salt_options;
mod secret;
mod section;
mod settings;
mod values;
mod variant;
mod watched;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::Path;

pub(crate) use access::{AccessSettings, Role, ServerTlsSettings, SocketSettings, TokenSettings};
pub(crate) use difference::Difference;
pub(crate) use error::{ConfigErrors, Finding, Place};
pub(crate) use narrowing::{ANY, Actions, Narrowing, SQLITES_OWN, VERBS, is_shadow};
pub(crate) use origins::{Headers, OWN_HEADERS};
pub(crate) use places::Places;
pub(crate) use salt_events::{SaltEventsSettings, Tags};
pub(crate) use salt_keys::{is_salts, is_section, other_names};
pub(crate) use salt_options::SaltOptions;
pub(crate) use settings::{
    Address, Bundled, ConnectionSettings, DeliverySettings, HostSettings, Limits, MongoSettings,
    MysqlSettings, MysqlTls, PluginSource, PostgresSettings, PostgresTls, RedisSettings, ReturnerSettings,
    Settings, SqliteSettings, TlsSettings,
};
pub(crate) use variant::{Options, Variant, VariantError, is_variant};
pub(crate) use watched::{Identity, Seen, Watched};

/// What loading gives.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// What is likely not meant as it is.
    pub(crate) warnings: Vec<Finding>,
    /// What it depends on.
    pub(crate) watched: Watched,
}

impl Settings {
    /// Reads a configuration file and what it includes; without a path, the defaults.
    pub(crate) fn load(path: Option<&Path>) -> Result<Loaded, ConfigErrors> {
        let mut findings = error::Findings::default();
        let read = path.map(|path| files::read(path, &mut findings)).unwrap_or_default();
        let order: Vec<_> = read.files.iter().map(|file| file.path.clone()).collect();
        if !read.is_whole {
            // Names that stand in what could not be read would seem to be missing.
            let none = |(_, watched)| ConfigErrors { findings: Vec::new(), watched };
            return Err(findings.end(&order).map_or_else(|errors| errors, none));
        }
        let settings = returners::build(&read.files, &mut findings);
        findings.end(&order).map(|(warnings, watched)| Loaded { settings, warnings, watched })
    }
}
