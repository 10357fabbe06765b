//! Where keys stand, for what is found wrong only later: a server that is away, an address that is
//! in use.

use std::collections::BTreeMap;

use super::error::Place;
use super::section::Section;

/// Sections whose keys have places of their own.
const SECTIONS: [&str; 3] = ["host", "postgres", "returner"];

/// The first place of each name of the root, and of each key of some sections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    pub(super) fn of(root: &Section<'_>) -> Self {
        let mut places = BTreeMap::new();
        for section in SECTIONS {
            let under = root.under(section);
            let within = under.names().into_iter();
            places.extend(within.map(|(name, place)| (format!("{section}.{name}"), place.clone())));
        }
        places.extend(root.names().into_iter().map(|(name, place)| (name.to_owned(), place.clone())));
        Self(places)
    }

    /// Of the first of these keys that stands somewhere.
    pub(crate) fn first(&self, keys: &[&str]) -> Option<&Place> {
        keys.iter().find_map(|key| self.0.get(*key))
    }

    /// Of what a returner, or the connection of that name, is made of. One of a profile
    /// (`alternative.mysql`) stands where its returner does, or nowhere.
    pub(crate) fn of_name(&self, name: &str) -> Option<&Place> {
        let base = name.rsplit('.').next().unwrap_or(name);
        let keys = ["postgres", "returner"].map(|section| format!("{section}.{base}"));
        self.first(&[&keys[0], &keys[1], base])
    }
}
