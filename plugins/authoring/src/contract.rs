//! The contract, as it is in `wit/`.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use wit_parser::{PackageId, Resolve, SourceMap, WorldId};

use crate::Error;

static CONTRACT: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");

/// What a new returner exports.
pub(crate) const WORLD: &str = "described-returner";

/// What everything of the contract's is called in a core module, before its name.
pub(crate) const PREFIX: &str = "salt:returner/";

/// The version of the contract, as it stands in the names of a core module.
pub(crate) const VERSION: &str = "0.1.0";

/// Its files, by their names.
pub(crate) fn files() -> impl Iterator<Item = (PathBuf, &'static [u8])> {
    let is_wit = |path: &Path| path.extension().is_some_and(|extension| extension == "wit");
    let files = CONTRACT.files().filter(move |file| is_wit(file.path()));
    files.map(|file| (file.path().to_owned(), file.contents()))
}

/// The contract, and more of the same package beside it.
pub(crate) fn with(more: &str) -> Result<(Resolve, PackageId), String> {
    let mut map = SourceMap::default();
    for (path, text) in files() {
        map.push(&path, String::from_utf8_lossy(text));
    }
    map.push_str("more.wit", more);
    let group = map.parse().map_err(|(map, error)| error.render(&map))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| error.render(&resolve.source_map))?;
    Ok((resolve, package))
}

/// The contract in a folder.
pub(crate) fn read(folder: &Path) -> Result<(Resolve, PackageId), Error> {
    let mut resolve = Resolve::default();
    let pushed = resolve.push_dir(folder).map_err(|error| resolve.render_error(&error));
    let (package, _) = pushed.map_err(|error| Error::Contract { path: folder.to_owned(), error })?;
    Ok((resolve, package))
}

/// A world by its name.
pub(crate) fn world(resolve: &Resolve, package: PackageId, name: &str) -> Result<WorldId, String> {
    resolve.select_world(&[package], Some(name)).map_err(|error| format!("{error:#}"))
}
