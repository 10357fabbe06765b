//! Bindings of the contract for C and Go, whose own tools do not make them.

use std::fs;
use std::path::{Path, PathBuf};

use wit_bindgen_core::{Files, WorldGenerator};
use wit_parser::{PackageId, Resolve};

use crate::contract;
use crate::{Error, Language};

/// What a new returner's module calls the bindings for Go, whatever its own name.
const GO_PACKAGE: &str = "returner/bindings";

/// Writes the bindings of a contract into a directory: for an author who has changed `wit/`,
/// for example to a world with `job-cache`. Gives what was written.
///
/// # Errors
/// If the contract cannot be read, or for a language whose own tools make them.
pub fn bindings(
    language: Language,
    wit: &Path,
    world: &str,
    directory: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let (resolve, package) = contract::read(wit)?;
    let failed = |error| Error::Contract { path: wit.to_owned(), error };
    let files = generate(language, resolve, package, world, failed)?;
    let mut written = Vec::new();
    for (path, text) in files {
        let path = directory.join(path);
        let failed = |error| Error::Write { path: path.clone(), error };
        fs::create_dir_all(path.parent().unwrap_or(directory)).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
        written.push(path);
    }
    Ok(written)
}

/// The bindings of the contract as it is, for a new folder.
pub(crate) fn of_contract(language: Language) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let failed = |error| Error::Contract { path: PathBuf::from("wit"), error };
    let (resolve, package) = contract::with("package salt:returner@0.1.0;").map_err(failed)?;
    generate(language, resolve, package, contract::WORLD, failed)
}

fn generate(
    language: Language,
    mut resolve: Resolve,
    package: PackageId,
    world: &str,
    failed: impl Fn(String) -> Error,
) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let mut generator = generator(language)?;
    let world = contract::world(&resolve, package, world).map_err(&failed)?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).map_err(|error| failed(format!("{error:#}")))?;
    Ok(files.iter().map(|(name, text)| (PathBuf::from(name), without_object_file(text).to_vec())).collect())
}

fn generator(language: Language) -> Result<Box<dyn WorldGenerator>, Error> {
    let none = |hint| Err(Error::NoBindings { language: language.name(), hint });
    match language {
        // No object file: `componentize` knows the world by the exports, and so the folder
        // has nothing that is no text.
        Language::C | Language::Cpp => Ok(wit_bindgen_c::Opts {
            no_object_file: true,
            rename_world: Some("bindings".to_owned()),
            ..wit_bindgen_c::Opts::default()
        }
        .build()),
        Language::Go => Ok(wit_bindgen_go::Opts {
            quiet: true,
            pkg_name: Some(GO_PACKAGE.to_owned()),
            ..wit_bindgen_go::Opts::default()
        }
        .build()),
        Language::Rust => none("the SDK makes them as it is compiled"),
        Language::Python | Language::Javascript => none("`make` writes them into `build/`"),
    }
}

/// Bindings without what asks the linker for the object file that is not there.
fn without_object_file(text: &[u8]) -> &[u8] {
    const ASKS: &[u8] = b"\n// Ensure that the *_component_type.o object is linked in\n";
    let found = text.windows(ASKS.len()).position(|window| window == ASKS);
    found.map_or(text, |place| &text[..place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_and_go_have_bindings() {
        for (language, file) in
            [(Language::C, "bindings.h"), (Language::Go, "exports/wit_exports/wit_exports.go")]
        {
            let files = of_contract(language).expect("bindings");
            assert!(files.iter().any(|(path, _)| path == Path::new(file)), "{language:?}: {files:?}");
        }
    }

    #[test]
    fn c_needs_no_object_file() {
        for (path, text) in of_contract(Language::C).expect("bindings") {
            let text = String::from_utf8(text).expect("a text");
            assert!(!text.contains("component_type"), "{}", path.display());
        }
    }

    #[test]
    fn others_make_their_own() {
        for language in [Language::Rust, Language::Python, Language::Javascript] {
            assert!(matches!(of_contract(language), Err(Error::NoBindings { .. })));
        }
    }

    #[test]
    fn a_contract_that_is_changed_is_read() {
        let folder = tempfile::tempdir().expect("a directory");
        let out = folder.path().join("out");
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let written = bindings(Language::C, &wit, "full-returner", &out).expect("bindings");
        assert!(written.iter().all(|path| path.exists()) && !written.is_empty());
        let error = bindings(Language::C, &wit, "no-such-world", &out).expect_err("no world").to_string();
        assert!(error.contains("no-such-world"), "{error}");
        assert!(bindings(Language::C, &out, "full-returner", &out).is_err());
    }
}
