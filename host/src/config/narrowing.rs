//! What of a connection is granted: `audit.connections: {db: {connection: mysql, tables:
//! {audit: [insert, select]}}}`.
//!
//! Promises: verbs and actions exist; a narrowing that lets nothing through is an error,
//! not a grant of everything. Does not know what a statement is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::{Finding, Findings, nearest};
use super::section::{Found, Section, Value};
use super::settings::{Bundled, ConnectionSettings};

/// For each name the actions that are granted on it; [`ANY`] stands for every name.
pub(crate) type Actions = BTreeMap<String, BTreeSet<String>>;

/// Every table, collection or command; but none of the server's own tables.
pub(crate) const ANY: &str = "*";

/// What a statement does to a table.
pub(crate) const VERBS: [&str; 7] = ["select", "insert", "update", "delete", "create", "alter", "drop"];

/// What the functions of the contract's `mongo` do to a collection.
pub(crate) const MONGO_ACTIONS: [&str; 6] =
    ["find", "insert", "update", "delete", "aggregate", "create-index"];

/// Tables of SQLite's own that tell of all others and have no beginning in common.
pub(crate) const SQLITES_OWN: [&str; 3] = ["bytecode", "dbstat", "tables_used"];

/// What SQLite's virtual tables keep their rows in, behind their own names.
/// <https://www.sqlite.org/fts5.html#fts5_data_structures> and those of FTS3, FTS4 and R*Tree.
const SHADOWS: [&str; 11] =
    ["config", "content", "data", "docsize", "idx", "node", "parent", "rowid", "segdir", "segments", "stat"];

/// Whether it may be where one of SQLite's virtual tables keeps its rows: `docs_content` is all
/// of `docs`.
pub(crate) fn is_shadow(name: &str, of: &str) -> bool {
    let Some((table, what)) = name.rsplit_once('_') else { return false };
    table.eq_ignore_ascii_case(of) && SHADOWS.iter().any(|shadow| what.eq_ignore_ascii_case(shadow))
}

/// What says which connection, and what of it.
pub(super) const KEYS: &[&str] = &["connection", "tables", "commands", "keys", "collections"];

/// A part of what a connection can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Narrowing {
    /// [`VERBS`] by table.
    Tables(Actions),
    Redis {
        /// In upper case.
        commands: BTreeSet<String>,
        /// Patterns, in which `*` stands for any text.
        keys: BTreeSet<String>,
    },
    /// [`MONGO_ACTIONS`] by collection.
    Collections(Actions),
}

impl fmt::Display for Narrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Narrowing::Tables(actions) | Narrowing::Collections(actions) => {
                let each = actions.iter().map(|(name, actions)| format!("`{name}` ({})", list(actions)));
                f.write_str(&each.collect::<Vec<_>>().join(", "))
            }
            Narrowing::Redis { commands, keys } => write!(f, "{} on the keys {}", list(commands), list(keys)),
        }
    }
}

impl Narrowing {
    /// What stands beside `connection`; none where nothing does.
    pub(super) fn read(section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        section.only(KEYS, findings);
        let tables = actions(section, "tables", &VERBS, findings);
        let collections = actions(section, "collections", &MONGO_ACTIONS, findings);
        let mut words = |name| {
            let words = section.get(name, words, findings)?;
            Some(words.into_iter().collect::<BTreeSet<String>>())
        };
        let (commands, keys) = (words("commands"), words("keys"));
        let redis = (commands.is_some() || keys.is_some()).then(|| {
            let any = || BTreeSet::from([ANY.to_owned()]);
            let commands = commands.unwrap_or_else(any).iter().map(|word| word.to_uppercase()).collect();
            Narrowing::Redis { commands, keys: keys.unwrap_or_else(any) }
        });
        let all = [tables.map(Narrowing::Tables), redis, collections.map(Narrowing::Collections)];
        let mut all = all.into_iter().flatten();
        let first = all.next();
        if all.next().is_some()
            && let Some(place) = section.names().into_values().next()
        {
            let finding = Finding::new(place, format!("`{}` is narrowed in two ways", section.path));
            findings.error(
                finding
                    .hint("`tables` is for SQL, `commands` and `keys` for Redis, `collections` for MongoDB"),
            );
        }
        first
    }

    /// Whether all that it lets through is let through by the other one.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let covered = |name: &String, actions: &BTreeSet<String>, theirs: &Actions| {
            // What may be a table with an entry of its own is not every other one's, as at the gate.
            let is_own = || theirs.keys().any(|own| name.eq_ignore_ascii_case(own) || is_shadow(name, own));
            let any = || theirs.get(ANY).filter(|_| !is_special(name) && !is_own());
            actions.is_empty()
                || theirs.get(name).or_else(any).is_some_and(|theirs| actions.is_subset(theirs))
        };
        let within = |ours: &Actions, theirs: &Actions| {
            // What has an entry of its own there only is every other one's here.
            let any = ours.get(ANY).into_iter().flat_map(|actions| {
                theirs.keys().filter(|name| !ours.contains_key(*name)).map(move |name| (name, actions))
            });
            ours.iter().chain(any).all(|(name, actions)| covered(name, actions, theirs))
        };
        let words = |ours: &BTreeSet<String>, theirs: &BTreeSet<String>| {
            theirs.contains(ANY) || ours.is_subset(theirs)
        };
        match (self, other) {
            (Narrowing::Tables(ours), Narrowing::Tables(theirs))
            | (Narrowing::Collections(ours), Narrowing::Collections(theirs)) => within(ours, theirs),
            (
                Narrowing::Redis { commands, keys },
                Narrowing::Redis { commands: their_commands, keys: their_keys },
            ) => words(commands, their_commands) && words(keys, their_keys),
            _ => false,
        }
    }

    /// Whether it is about connections of this kind.
    pub(super) fn fits(&self, connection: &ConnectionSettings) -> bool {
        matches!(
            (self, connection),
            (
                Narrowing::Tables(_),
                ConnectionSettings::Mysql(_)
                    | ConnectionSettings::Postgres(_)
                    | ConnectionSettings::Sqlite(_)
            ) | (Narrowing::Redis { .. }, ConnectionSettings::Redis(_))
                | (Narrowing::Collections(_), ConnectionSettings::Mongo(_))
        )
    }

    /// The narrowest under which a bundled returner works.
    pub(crate) fn of_bundled(bundled: Bundled) -> Self {
        let all = |names: &[&str], actions: &[&str]| -> Actions {
            let actions: BTreeSet<String> = actions.iter().map(|action| (*action).to_owned()).collect();
            names.iter().map(|name| ((*name).to_owned(), actions.clone())).collect()
        };
        let tables = ["jids", "salt_returns", "salt_events"];
        let verbs = ["select", "insert", "update", "delete", "create"];
        let with = |system: &[&str]| {
            let mut granted = all(&tables, &verbs);
            granted.extend(all(system, &["select"]));
            Narrowing::Tables(granted)
        };
        match bundled {
            Bundled::Mysql => with(&["information_schema.tables", "information_schema.columns"]),
            Bundled::Sqlite3 => with(&["sqlite_master", "pragma_table_info"]),
            Bundled::Redis => Narrowing::Redis {
                commands: [
                    "DEL",
                    "EXPIRE",
                    "GET",
                    "HGET",
                    "HGETALL",
                    "HSET",
                    "SADD",
                    "SCAN",
                    "SET",
                    "SMEMBERS",
                    "ZADD",
                    "ZRANGEBYSCORE",
                    "ZREM",
                    "ZREMRANGEBYSCORE",
                ]
                .map(str::to_owned)
                .into(),
                keys: BTreeSet::from([ANY.to_owned()]),
            },
            Bundled::Mongo => Narrowing::Collections(all(&["saltReturns", "jobs", "events"], &MONGO_ACTIONS)),
        }
    }
}

/// Whether [`ANY`] may not cover a name: one of another schema, or of the server's own. What is
/// of one kind of server only counts for each.
fn is_special(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let own = ["pg_", "pragma_", "sqlite_", "system."].iter().any(|begin| lower.starts_with(begin));
    own || lower.contains('.') || SQLITES_OWN.contains(&lower.as_str())
}

fn actions(section: &Section<'_>, name: &str, known: &[&str], findings: &mut Findings) -> Option<Actions> {
    let found = section.find(name, findings)?;
    let Value::Map(_) = &found.value else {
        let what = if name == "tables" {
            "tables: {audit: [insert, select]}"
        } else {
            "collections: {audit: [insert]}"
        };
        findings.error(
            found.wrong("is no map of names to what is granted on them").hint(format!("write `{what}`")),
        );
        return None;
    };
    let below = section.under(name);
    let mut granted = Actions::new();
    // A dot is a part of a name: `information_schema.columns`.
    let keys: Vec<String> = below.whole_keys(findings).into_keys().map(str::to_owned).collect();
    for key in keys {
        let Some(found) = below.whole(&key) else { continue };
        let Some(words) = findings.take(words(&found)) else { continue };
        for word in &words {
            if !known.contains(&word.as_str()) {
                let finding = found.wrong(format!("has `{word}`, which is nothing to grant"));
                findings.error(finding.hint(nearest(word, "", known.iter().copied())));
            }
        }
        granted.insert(key, words.into_iter().collect());
    }
    if granted.is_empty() {
        findings.error(found.wrong("grants nothing"));
    }
    Some(granted)
}

fn words(found: &Found<'_>) -> Result<Vec<String>, Finding> {
    let words: Vec<String> = found.texts()?.into_iter().map(|(_, text)| text).collect();
    if words.is_empty() { Err(found.wrong("grants nothing")) } else { Ok(words) }
}
