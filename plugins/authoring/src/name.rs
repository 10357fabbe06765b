//! The name of a new returner, and its spellings.

use crate::reserved;
use crate::{Error, Kind};

/// The host takes no longer ones.
const MAX: usize = 64;

/// What names a returner that is bundled, keys of the host, or the SDK that a returner in Rust uses.
const TAKEN: [&str; 16] = [
    "default_include",
    "event_return",
    "ext_job_cache",
    "host",
    "id",
    "include",
    "keep_jobs",
    "keep_jobs_seconds",
    "master_job_cache",
    "mongo",
    "mysql",
    "redis",
    "return",
    "returner",
    "returner_sdk",
    "sqlite3",
];

/// What a configuration has for something else than a text.
const WORDS: [&str; 9] = ["false", "n", "no", "null", "off", "on", "true", "y", "yes"];

/// A name that can stand in paths, keys of the configuration, tables and keys of stores.
#[derive(Debug, Clone)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new(name: &str, kind: Kind) -> Result<Self, Error> {
        let wrong = |why, hint| Err(Error::Name { name: name.to_owned(), why, hint });
        let form = "small letters, digits, `-` and `_`, a letter first: `audit`, `failed-states`";
        let mut chars = name.chars();
        let begins = chars.next().is_some_and(|first| first.is_ascii_lowercase());
        let may_follow =
            |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_".contains(char);
        if !begins || !chars.all(may_follow) {
            return wrong("it has other signs", form);
        }
        if name.len() > MAX {
            return wrong("it is longer than 64 signs", form);
        }
        if WORDS.contains(&name) {
            return wrong("it is a word of YAML's own", "add what it is for: `null-audit`");
        }
        if TAKEN.contains(&name.replace('-', "_").as_str()) {
            return wrong("it is the host's own", "add what it is for: `sql-audit`, `redis-counts`");
        }
        if kind == Kind::Sql && reserved::is_reserved(&Self(name.to_owned()).snake()) {
            return wrong("its table would be a word of SQL's own", "add what it is for: `user-audit`");
        }
        Ok(Self(name.to_owned()))
    }

    /// As it is: `failed-states`.
    pub(crate) fn as_given(&self) -> &str {
        &self.0
    }

    /// For tables and collections: `failed_states`.
    pub(crate) fn snake(&self) -> String {
        self.0.replace('-', "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_spellings() {
        let name = Name::new("failed-states2", Kind::Sql).expect("a name");
        assert_eq!(name.as_given(), "failed-states2");
        assert_eq!(name.snake(), "failed_states2");
        let name = Name::new("failed_states", Kind::Sql).expect("a name");
        assert_eq!((name.as_given(), name.snake().as_str()), ("failed_states", "failed_states"));
    }

    #[test]
    fn other_names_are_refused() {
        let long = "a".repeat(65);
        for wrong in [
            "",
            "Audit",
            "1st",
            "-a",
            "_a",
            "a.b",
            "a/b",
            "..",
            "ä",
            "a b",
            "host",
            "include",
            "returner-sdk",
            "null",
            &long,
        ] {
            let error = Name::new(wrong, Kind::Http).expect_err(wrong).to_string();
            assert!(error.contains(&format!("`{wrong}`")) && error.contains("hint: "), "{error}");
        }
    }

    #[test]
    fn a_table_has_no_name_that_sql_reserves() {
        assert!(Name::new("order", Kind::Sql).is_err());
        assert!(Name::new("current-user", Kind::Sql).is_err());
        assert!(Name::new("order", Kind::Redis).is_ok());
        assert!(Name::new("orders", Kind::Sql).is_ok());
    }
}
