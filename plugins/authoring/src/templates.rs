//! The files of the templates, and what is put into them.

use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use crate::name::Name;
use crate::{Error, Kind, Language};

/// `all` is for every folder, `kinds/KIND` for what it does, `notes/LANGUAGE` has what the texts of
/// `all` say of a language, `shared` what several Makefiles have, and `LANGUAGE` is its own files.
static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

static SDK: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/src");

static GO_PACKAGE: Dir<'static> = include_dir!("$OUT_DIR/go");

/// The files of every folder, those of the kind and those of the language.
pub(crate) fn files(language: Language, kind: Kind) -> Vec<(PathBuf, Vec<u8>)> {
    let kind_files = format!("kinds/{}/files", kind.name());
    let mut files = [below("all"), below(&kind_files)].concat();
    for folder in language.folders() {
        let own = below(folder);
        files.retain(|(path, _)| own.iter().all(|(own, _)| own != path));
        files.extend(own);
    }
    let of_kind = |kind: Kind| Language::ALL.map(|of| format!("{}.{}", kind.name(), of.extension()));
    let sources: Vec<String> = Kind::ALL.into_iter().flat_map(of_kind).collect();
    let own = format!("{}.{}", kind.name(), language.extension());
    files.retain_mut(|(path, _)| {
        let name = path.to_str().unwrap_or_default();
        if name == own {
            *path = PathBuf::from(language.source());
            return true;
        }
        !sources.iter().any(|source| source == name)
    });
    files
}

/// The source of a returner of this name.
///
/// # Errors
/// If the name cannot be that of a returner.
pub(crate) fn example(name: &str, language: Language, kind: Kind) -> Result<String, Error> {
    let values = Values::new(&Name::new(name, kind)?, language, kind, "returner");
    let files = files(language, kind);
    let source = files.iter().find(|(path, _)| path == Path::new(language.source()));
    Ok(source.map(|(_, text)| values.put_into(&String::from_utf8_lossy(text))).unwrap_or_default())
}

/// The SDK for Rust, which finds the contract beside it and not in the host's source.
pub(crate) fn sdk() -> Vec<(PathBuf, Vec<u8>)> {
    let sources = in_dir(&SDK).into_iter().map(|(path, text)| {
        let text = String::from_utf8_lossy(&text).replace("\"../../wit\"", "\"../wit\"");
        (Path::new("sdk/src").join(path), text.into_bytes())
    });
    sources.collect()
}

/// What generated bindings for Go import.
pub(crate) fn go_package() -> Vec<(PathBuf, Vec<u8>)> {
    in_dir(&GO_PACKAGE)
}

/// What stands in braces in a template, and what takes its place.
pub(crate) struct Values(Vec<(String, String)>);

impl Values {
    pub(crate) fn new(name: &Name, language: Language, kind: Kind, host: &str) -> Self {
        let own = [
            ("name", name.as_given().to_owned()),
            ("snake", name.snake()),
            ("host", host.to_owned()),
            ("source", language.source().to_owned()),
            ("language", language.title().to_owned()),
            ("lang", language.name().to_owned()),
        ];
        let own: Vec<_> = own.into_iter().map(|(key, value)| (braced(key), value)).collect();
        // Fragments name the returner, too.
        let folders =
            ["shared".to_owned(), format!("kinds/{}", kind.name()), format!("notes/{}", language.name())];
        let fragments = folders.iter().flat_map(|folder| below(folder));
        let mut values: Vec<_> = fragments
            .filter_map(|(path, text)| {
                Some((path.to_str().filter(|key| !key.contains('/'))?.to_owned(), text))
            })
            .map(|(key, text)| (braced(&key), replaced(&String::from_utf8_lossy(&text), &own)))
            .collect();
        values.push((braced("grants"), replaced(&grants(kind), &own)));
        values.extend(own);
        Self(values)
    }

    pub(crate) fn put_into(&self, text: &str) -> String {
        replaced(text, &self.0)
    }
}

/// The lines of the configuration, without the comments that stand in the file.
fn grants(kind: Kind) -> String {
    let path = format!("kinds/{}/files/returner.yaml", kind.name());
    let text = TEMPLATES.get_file(path).and_then(|file| file.contents_utf8()).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

fn braced(key: &str) -> String {
    format!("{{{{{key}}}}}")
}

fn replaced(text: &str, values: &[(String, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (key, value)| text.replace(key, value))
}

/// The files below a folder of the templates, with paths from there.
fn below(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let found = TEMPLATES.get_dir(folder).map(in_dir).unwrap_or_default();
    let paths =
        found.into_iter().filter_map(|(path, text)| Some((path.strip_prefix(folder).ok()?.to_owned(), text)));
    paths.collect()
}

fn in_dir(dir: &Dir<'static>) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => files.extend(in_dir(dir)),
            DirEntry::File(file) => files.push((file.path().to_owned(), file.contents().to_vec())),
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_finds_the_contract_beside_it() {
        let sdk = sdk();
        let lib = sdk.iter().find(|(path, _)| path == Path::new("sdk/src/lib.rs")).expect("lib.rs");
        let text = String::from_utf8_lossy(&lib.1);
        assert!(text.contains("path: \"../wit\"") && !text.contains("../../wit"), "{text}");
    }

    #[test]
    fn there_is_one_source_in_a_folder() {
        for language in Language::ALL {
            for kind in Kind::ALL {
                let files = files(language, kind);
                let named = |name: &str| files.iter().filter(|(path, _)| path == Path::new(name)).count();
                assert_eq!(named(language.source()), 1, "{language:?} {kind:?}");
                for kind in Kind::ALL {
                    let other = format!("{}.{}", kind.name(), language.extension());
                    assert_eq!(named(&other), 0, "{language:?} {other}");
                }
            }
        }
    }
}
