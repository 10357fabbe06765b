//! The name of a new returner, and its spellings.

use crate::reserved;
use crate::{Error, Kind};

/// The host takes no longer ones.
const MAX: usize = 64;

/// What names a returner that is bundled, or keys of the host.
const TAKEN: [&str; 6] = ["host", "mongo", "mysql", "redis", "returner", "sqlite3"];

/// A name that can stand in paths, keys of the configuration, tables and keys of stores.
#[derive(Debug, Clone)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new(name: &str, kind: Kind) -> Result<Self, Error> {
        let wrong = |why, hint| Err(Error::Name { name: name.to_owned(), why, hint });
        let form = "small letters, digits and `-`, a letter first: `audit`, `failed-states`";
        let mut chars = name.chars();
        let begins = chars.next().is_some_and(|first| first.is_ascii_lowercase());
        if !begins || !chars.all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-') {
            return wrong("it has other signs", form);
        }
        if name.len() > MAX {
            return wrong("it is longer than 64 signs", form);
        }
        if TAKEN.contains(&name) {
            return wrong("it is the host's own", "add what it is for: `sql-audit`, `redis-counts`");
        }
        if kind == Kind::Sql && reserved::is_reserved(&Self(name.to_owned()).snake()) {
            return wrong("its table would be a word of SQL's own", "add what it is for: `user-audit`");
        }
        Ok(Self(name.to_owned()))
    }

    /// As it is: `failed-states`.
    pub(crate) fn kebab(&self) -> &str {
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
        assert_eq!(name.kebab(), "failed-states2");
        assert_eq!(name.snake(), "failed_states2");
    }

    #[test]
    fn other_names_are_refused() {
        let long = "a".repeat(65);
        for wrong in ["", "Audit", "1st", "-a", "a_b", "a.b", "a/b", "..", "ä", "a b", "host", "mysql", &long]
        {
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
