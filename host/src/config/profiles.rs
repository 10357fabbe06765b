//! Profiles: `alternative.mysql.host`, for returns with `ret_config: alternative`.
//!
//! Promises: a key of Salt's, below which any name can stand, is never taken for one.
//! With dots the profile's name may have dots itself; as nested maps
//! (`alternative: {mysql: {host: x}}`) it is a single name. Does not know what the keys
//! of a profile are for.

use std::collections::BTreeSet;

use super::salt_keys;
use super::section::Section;
use super::settings::Bundled;

/// The profiles that the configuration has keys for.
pub(super) fn find(root: &Section<'_>) -> BTreeSet<(String, Bundled)> {
    let mut found = BTreeSet::new();
    for key in root.written_keys() {
        let names: Vec<&str> = key.split('.').collect();
        let [first, rest @ ..] = names.as_slice() else { continue };
        if *first == "host" || Bundled::from_name(first).is_some() || salt_keys::NO_PROFILES.contains(first) {
            continue;
        }
        if rest.is_empty() {
            found.extend(nested(root, first).map(|bundled| ((*first).to_owned(), bundled)));
        } else if let Some((index, bundled)) =
            rest.iter().enumerate().find_map(|(index, name)| Some((index, Bundled::from_name(name)?)))
        {
            let profile = names[..=index].join(".");
            if !section(root, &profile).under(bundled.name()).is_empty() {
                found.insert((profile, bundled));
            }
        }
    }
    found
}

/// A map with `mysql` in it could be anyone's: at least one key below must be ours.
fn nested(root: &Section<'_>, name: &str) -> impl Iterator<Item = Bundled> {
    let section = root.under(name);
    Bundled::ALL.into_iter().filter(move |bundled| {
        let inner = section.under(bundled.name());
        salt_keys::keys(*bundled).iter().any(|key| inner.has(key.name))
    })
}

/// What stands under a profile's name.
pub(super) fn section<'a>(root: &Section<'a>, profile: &str) -> Section<'a> {
    profile.split('.').fold(root.clone(), |section, name| section.under(name))
}
