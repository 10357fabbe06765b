//! Profiles: `alternative.mysql.host`, for returns with `ret_config: alternative`.
//!
//! Promises: a key of Salt's, below which any name can stand, is never taken for one.
//! With dots the profile's name may have dots itself; as nested maps
//! (`alternative: {mysql: {host: x}}`) it is a single name. Does not know what the keys
//! of a profile are for.

use std::collections::BTreeSet;

use super::bundled::keys_of;
use super::salt_keys;
use super::section::Section;
use super::settings::Bundled;

/// The profiles that the configuration has keys for.
pub(super) fn find(root: &Section<'_>) -> BTreeSet<(String, Bundled)> {
    let mut found: BTreeSet<(String, Bundled)> = root.written_keys().filter_map(dotted).collect();
    // Other programs' keys may look like these: one of ours must be there, or one that
    // is a slip away.
    found.retain(|(profile, bundled)| {
        let inner = section(root, profile).under(bundled.name());
        let names = inner.names();
        let is_near = |key: &str| names.keys().any(|name| strsim::damerau_levenshtein(name, key) <= 1);
        keys_of(*bundled).any(is_near)
    });
    for bundled in Bundled::ALL {
        for name in root.names_with(bundled.name()).into_iter().filter(|name| is_free(name)) {
            // Salt itself knows no such maps, so no slips are guessed at here.
            let inner = root.under(name).under(bundled.name());
            if keys_of(bundled).any(|key| inner.has(key)) {
                found.insert((name.to_owned(), bundled));
            }
        }
    }
    found
}

/// `a.b` of `a.b.mysql.host`.
fn dotted(key: &str) -> Option<(String, Bundled)> {
    let names: Vec<&str> = key.split('.').collect();
    let [first, rest @ ..] = names.as_slice() else { return None };
    let (index, bundled) =
        rest.iter().enumerate().find_map(|(index, name)| Some((index, Bundled::from_name(name)?)))?;
    is_free(first).then(|| (names[..=index].join("."), bundled))
}

fn is_free(name: &str) -> bool {
    name != "host" && Bundled::from_name(name).is_none() && !salt_keys::NO_PROFILES.contains(&name)
}

/// What stands under a profile's name.
pub(super) fn section<'a>(root: &Section<'a>, profile: &str) -> Section<'a> {
    profile.split('.').fold(root.clone(), |section, name| section.under(name))
}
