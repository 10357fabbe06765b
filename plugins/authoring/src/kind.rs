//! What a new returner does.

/// Where the returner of a template puts what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// A row for each return in a table of an SQL database.
    #[default]
    Sql,
    /// A POST for each batch to a web hook.
    Http,
    /// Counts in Redis.
    Redis,
    /// A document for each return in `MongoDB`.
    Mongo,
}

impl Kind {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::Sql, Self::Http, Self::Redis, Self::Mongo];

    /// What it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Http => "http",
            Self::Redis => "redis",
            Self::Mongo => "mongo",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("files"), None);
        assert_eq!(Kind::default(), Kind::Sql);
    }
}
