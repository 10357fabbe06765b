//! The returners that the oracle sends to, and sets of them.

use std::fmt;

use fastrand::Rng;

/// A returner with a store that the oracle can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    Mysql,
    Redis,
    Mongo,
    Sqlite,
    /// The plugin of `tests/guests/trapping`, which writes into MySQL.
    Trapping,
}

impl Target {
    pub(crate) const ALL: [Self; 5] = [Self::Mysql, Self::Redis, Self::Mongo, Self::Sqlite, Self::Trapping];

    /// As the configuration calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Mongo => "mongo",
            Self::Sqlite => "sqlite3",
            Self::Trapping => "trapping",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }
}

/// A set of returners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Targets(u8);

impl Targets {
    pub(crate) fn of(targets: &[Target]) -> Self {
        Self(targets.iter().fold(0, |bits, target| bits | 1 << *target as u8))
    }

    /// Any set of these but the empty one.
    pub(crate) fn random(rng: &mut Rng, among: &[Target]) -> Self {
        let subset = rng.usize(1..1 << among.len());
        let chosen = among.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1);
        Self::of(&chosen.map(|(_, target)| *target).collect::<Vec<_>>())
    }

    pub(crate) fn has(self, target: Target) -> bool {
        self.0 >> target as u8 & 1 == 1
    }

    pub(crate) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Target> {
        Target::ALL.into_iter().filter(move |target| self.has(*target))
    }

    pub(crate) fn len(self) -> usize {
        self.iter().count()
    }
}

/// As `?returner=` wants it.
impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Target::name).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_not_empty_and_have_names() {
        let mut rng = Rng::with_seed(7);
        let among = [Target::Redis, Target::Trapping];
        for _ in 0..100 {
            let set = Targets::random(&mut rng, &among);
            assert!((1..=2).contains(&set.len()), "{set}");
            assert!(!set.has(Target::Mysql));
        }
        let set = Targets::of(&among);
        assert_eq!(set.to_string(), "redis,trapping");
        assert_eq!(set.iter().map(Target::name).filter_map(Target::of_name).collect::<Vec<_>>(), among);
    }
}
