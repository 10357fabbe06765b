//! The folder of a new returner.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::name::Name;
use crate::{Error, Kind, Language};
use crate::{bindings, contract, templates};

/// Where bindings go, for languages whose own tools do not make them.
const BINDINGS: &str = "bindings";

/// Where the package goes that bindings for Go import.
const GO_PACKAGE: &str = "bindings/pkg";

/// What a new folder holds, before anything is written.
#[derive(Debug)]
pub struct Plan {
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Plan {
    /// The folder of a returner. `host` is the program that its Makefile calls.
    ///
    /// # Errors
    /// If the name cannot be that of a returner.
    pub fn new(name: &str, language: Language, kind: Kind, host: &str) -> Result<Self, Error> {
        let name = Name::new(name, kind)?;
        let values = templates::Values::new(&name, language, kind, host);
        let mut files = templates::files(language, kind);
        for (_, text) in &mut files {
            *text = values.put_into(&String::from_utf8_lossy(text)).into_bytes();
        }
        files.extend(contract::files().map(|(path, text)| (Path::new("wit").join(path), text.to_vec())));
        match language {
            Language::Rust => files.extend(templates::sdk()),
            Language::C | Language::Cpp => files.extend(placed(bindings::of_contract(language)?, BINDINGS)),
            Language::Go => {
                files.extend(placed(bindings::of_contract(language)?, BINDINGS));
                files.extend(placed(templates::go_package(), GO_PACKAGE));
            }
            Language::Python | Language::Javascript => {}
        }
        files.sort();
        Ok(Self { files })
    }

    /// The files, by their paths in the folder.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files.iter().map(|(path, text)| (path.as_path(), text.as_slice()))
    }

    /// Writes the folder, which must not be there yet. Gives what was written.
    ///
    /// # Errors
    /// If it is there, or cannot be written whole; then nothing is left of it.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        fs::create_dir(directory).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: directory.to_owned() },
            _ => Error::Write { path: directory.to_owned(), error },
        })?;
        let written = self.files().map(|(path, text)| {
            let path = directory.join(path);
            write(&path, text).map_err(|error| Error::Write { path: path.clone(), error })?;
            Ok(path)
        });
        let written: Result<Vec<_>, Error> = written.collect();
        if written.is_err() {
            // It was not there before; why it could not be written is what matters.
            let _ = fs::remove_dir_all(directory);
        }
        written
    }
}

/// Begins a returner: writes a folder that builds as it is. Gives what was written. `host` is
/// the program that its Makefile calls: `returner`, or a path.
///
/// # Errors
/// If the name cannot be that of a returner, or the folder is there already; then nothing
/// was written.
pub fn create(
    directory: &Path,
    name: &str,
    language: Language,
    kind: Kind,
    host: &str,
) -> Result<Vec<PathBuf>, Error> {
    Plan::new(name, language, kind, host)?.write(directory)
}

fn placed(files: Vec<(PathBuf, Vec<u8>)>, folder: &str) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    files.into_iter().map(move |(path, text)| (Path::new(folder).join(path), text))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_plan() -> impl Iterator<Item = (Language, Kind, Plan)> {
        let pairs = Language::ALL.into_iter().flat_map(|language| Kind::ALL.map(|kind| (language, kind)));
        pairs.map(|(language, kind)| {
            let plan = Plan::new("failed-states", language, kind, "returner").expect("a plan");
            (language, kind, plan)
        })
    }

    /// What stands in braces and begins a word, as in a template.
    fn leftover(text: &str) -> Option<&str> {
        let found = text.match_indices("{{").map(|(place, _)| &text[place..]).find(|rest| {
            let word: String = rest[2..].chars().take_while(char::is_ascii_alphabetic).collect();
            !word.is_empty() && rest[2 + word.len()..].starts_with("}}")
        });
        found.map(|rest| &rest[..rest.len().min(40)])
    }

    #[test]
    fn every_folder_is_whole_and_nothing_of_a_template_is_left() {
        for (language, kind, plan) in every_plan() {
            let what = format!("{} {}", language.name(), kind.name());
            let wanted = [
                language.source(),
                ".github/workflows/ci.yml",
                ".gitignore",
                "Makefile",
                "README.md",
                "returner.yaml",
                "sample.ndjson",
                "wit/returner.wit",
            ];
            for wanted in wanted {
                assert!(plan.files().any(|(path, _)| path == Path::new(wanted)), "{what}: no `{wanted}`");
            }
            for (path, text) in plan.files() {
                let text = std::str::from_utf8(text).expect("a text");
                let left = leftover(text).or_else(|| leftover(path.to_str().unwrap_or_default()));
                assert_eq!(left, None, "{what}: {}", path.display());
            }
        }
    }

    #[test]
    fn no_two_files_have_one_place() {
        for (language, kind, plan) in every_plan() {
            let mut paths: Vec<&Path> = plan.files().map(|(path, _)| path).collect();
            let all = paths.len();
            paths.dedup();
            assert_eq!(paths.len(), all, "{language:?} {kind:?}");
        }
    }

    #[test]
    fn the_name_stands_where_it_is_needed() {
        let plan = Plan::new("failed-states", Language::Rust, Kind::Sql, "returner").expect("a plan");
        let text = |name: &str| {
            let found = plan.files().find(|(path, _)| *path == Path::new(name)).expect(name);
            String::from_utf8_lossy(found.1).into_owned()
        };
        assert!(text("returner.yaml").contains(
            "failed-states.plugin: failed-states.wasm\nfailed-states.connections:\n  db: {connection: sqlite3, \
             tables: {failed_states: [create, select, insert, delete]}}"
        ));
        assert!(text("src/lib.rs").contains("failed_states"));
        assert!(text("README.md").contains("\nfailed-states.plugin: failed-states.wasm\n"));
    }

    #[test]
    fn a_folder_is_written_once() {
        let parent = tempfile::tempdir().expect("a directory");
        let folder = parent.path().join("audit");
        let written = create(&folder, "audit", Language::Python, Kind::Http, "returner").expect("a folder");
        assert!(written.iter().all(|path| path.is_file()), "{written:?}");
        let source = folder.join("app.py");
        fs::write(&source, "mine").expect("a change");
        let error = create(&folder, "audit", Language::C, Kind::Sql, "returner").expect_err("it is there");
        assert!(matches!(error, Error::Exists { .. }), "{error}");
        assert!(error.to_string().contains("is there already\n  hint: "), "{error}");
        assert_eq!(fs::read_to_string(&source).expect("the file"), "mine");
        assert!(!folder.join("returner.c").exists());
    }

    #[test]
    fn nothing_is_written_for_a_name_that_is_refused() {
        let parent = tempfile::tempdir().expect("a directory");
        for wrong in ["Audit", "../audit", "order"] {
            let error = create(&parent.path().join("audit"), wrong, Language::Go, Kind::Sql, "returner")
                .expect_err(wrong);
            assert!(matches!(error, Error::Name { .. }), "{error}");
        }
        let nowhere = parent.path().join("no").join("such");
        let error = create(&nowhere, "audit", Language::Go, Kind::Sql, "returner").expect_err("no parent");
        assert!(matches!(error, Error::Write { .. }), "{error}");
        assert_eq!(fs::read_dir(parent.path()).expect("the directory").count(), 0);
    }
}
