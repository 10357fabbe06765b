//! `host/CONFIGURATION.md` has every key, and what holds where it says nothing.

use std::collections::BTreeSet;

use super::super::{access, bundled, custom, host_keys, limits, narrowing, salt_keys};
use super::*;

const PAGE: &str = include_str!("../../../CONFIGURATION.md");

/// Those that Salt has for itself, too, under no returner's name.
const SALTS: [&str; 7] =
    ["return", "event_return", "master_job_cache", "id", "keep_jobs_seconds", "default_include", "include"];

/// The keys of each row, and what its second cell says.
fn rows() -> Vec<(Vec<&'static str>, &'static str)> {
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let keys = cells.next()?.trim_end_matches('`').split("`, `").collect();
        Some((keys, cells.next()?))
    };
    PAGE.lines().filter_map(row).collect()
}

#[test]
fn it_has_every_key_and_no_other() {
    let mut known: BTreeSet<String> = SALTS.map(str::to_owned).into();
    let mut add = |under: &str, keys: &[&str]| {
        known.extend(keys.iter().map(|key| format!("{under}.{key}")));
    };
    let without = |keys: &[&'static str], below: &[&str]| -> Vec<&'static str> {
        keys.iter().copied().filter(|key| !below.contains(key)).collect()
    };
    add("host", &without(host_keys::KEYS, &["tls", "tokens"]));
    add("host.tls", access::TLS);
    add("host.tokens.NAME", &access::TOKEN);
    for bundled in Bundled::ALL {
        add(bundled.name(), &bundled::keys_of(bundled).collect::<Vec<_>>());
    }
    for (name, keys) in [("pgjsonb", salt_keys::PGJSONB), ("postgres", salt_keys::POSTGRES)] {
        let keys: Vec<&str> = keys.iter().map(|key| key.name).collect();
        add(&format!("returner.{name}"), &keys);
    }
    add("NAME", &without(custom::KEYS, bundled::COMMON));
    add("NAME.connections.GUEST", narrowing::KEYS);
    add("NAME.limits", limits::LIMITS);
    add("NAME.delivery", limits::DELIVERY);
    let told: Vec<String> = rows().into_iter().flat_map(|(keys, _)| keys).map(str::to_owned).collect();
    assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len(), "one is there twice: {told:?}");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), known);
}

#[test]
fn what_holds_if_nothing_is_said_is_what_it_says() {
    let mut said = String::new();
    for (keys, value) in rows() {
        let value = value.strip_prefix('`').and_then(|value| value.strip_suffix('`'));
        let Some(value) = value.filter(|value| !value.contains('`')) else { continue };
        for key in keys {
            said += &format!("{}: {value}\n", key.replace("NAME", "mysql"));
        }
    }
    // Enough of them for the test to be one.
    assert!(said.lines().count() > 30, "{said}");
    // The file's directory takes the working directory's place.
    let (told, nothing) =
        (settings(&format!("host.data: x\n{said}")), settings("return: [mysql, redis, mongo, sqlite3]"));
    let nothing_at_all = settings("");
    assert_eq!(told.return_to, nothing_at_all.return_to);
    assert_eq!(
        HostSettings { data: PathBuf::new(), ..told.host.clone() },
        HostSettings { data: PathBuf::new(), ..nothing_at_all.host }
    );
    assert_eq!(told.returners, nothing.returners);
    for name in ["mysql", "redis", "mongo"] {
        assert_eq!(told.connections[name], nothing.connections[name]);
    }
    assert_eq!(sqlite(&told).timeout, sqlite(&nothing).timeout);
    assert_eq!(sqlite(&told).database, told.host.data.join("sqlite3.db"));
}

fn sqlite(settings: &Settings) -> &SqliteSettings {
    match &settings.connections["sqlite3"] {
        ConnectionSettings::Sqlite(sqlite) => sqlite,
        other => panic!("{other:?}"),
    }
}
