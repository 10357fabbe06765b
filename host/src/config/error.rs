//! What is wrong with a configuration, and where.
//!
//! Promises: a finding names the file and the line, says what is wrong in one
//! sentence, and where it can, what to do. It never holds a secret: whoever makes one
//! quotes keys and names, not the values of secret keys. Does not know what the keys
//! mean.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::watched::Watched;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<Path>,
    /// The first line is 1; 0 stands for the file as a whole.
    pub(crate) line: usize,
}

/// One thing that is wrong, or one that looks so (a warning).
///
/// Prints as `FILE:LINE: MESSAGE`, and the hint on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Finding {
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Finding {
    pub(super) fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { place: Some(place.clone()), message: message.into(), hint: None }
    }

    /// A finding about the configuration as a whole, for example about what it lacks.
    pub(super) fn nowhere(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `FILE:LINE`.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place { file, line: 0 } => write!(out, "{}", file.display()),
            Place { file, line } => write!(out, "{}:{line}", file.display()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        out.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(out, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of its files and lines.
///
/// Prints one `error: ...` for each.
#[derive(Debug, thiserror::Error)]
pub(crate) struct ConfigErrors {
    pub(crate) findings: Vec<Finding>,
    /// Whose change can make it right: see [`Loaded::watched`](super::Loaded).
    pub(crate) watched: Watched,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.findings.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "error: {error}")?;
        }
        Ok(())
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    watched: Watched,
}

impl Findings {
    pub(super) fn error(&mut self, finding: Finding) {
        if !self.errors.contains(&finding) {
            self.errors.push(finding);
        }
    }

    pub(super) fn warning(&mut self, finding: Finding) {
        if !self.warnings.contains(&finding) {
            self.warnings.push(finding);
        }
    }

    /// What is going to be read, or looked into, depends on what stands there.
    pub(super) fn watch(&mut self, path: Option<PathBuf>) {
        if let Some(path) = path {
            self.watched.add(path);
        }
    }

    /// What stood in a file that is watched.
    pub(super) fn read(&mut self, path: &Path, content: &[u8]) {
        self.watched.read(path, content);
    }

    /// Keeps the value, or the error.
    pub(super) fn take<T>(&mut self, result: Result<T, Finding>) -> Option<T> {
        result.map_err(|finding| self.error(finding)).ok()
    }

    /// The warnings and what is to be watched if nothing is wrong, or else the errors.
    /// Findings are in the order of `files`; what is nowhere comes last.
    pub(super) fn end(mut self, files: &[Arc<Path>]) -> Result<(Vec<Finding>, Watched), ConfigErrors> {
        let order = |finding: &Finding| match &finding.place {
            Some(place) => {
                (files.iter().position(|file| *file == place.file).unwrap_or(files.len()), place.line)
            }
            None => (usize::MAX, 0),
        };
        self.errors.sort_by_key(order);
        self.warnings.sort_by_key(order);
        let watched = self.watched;
        if self.errors.is_empty() {
            Ok((self.warnings, watched))
        } else {
            Err(ConfigErrors { findings: self.errors, watched })
        }
    }
}

/// "did you mean", or else the names there are.
///
/// `prefix` goes before each of the names: `mysql.` for keys of `mysql`.
pub(super) fn nearest<'a>(wrong: &str, prefix: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let distance = |name: &&str| strsim::damerau_levenshtein(name, wrong);
    let near = known.iter().copied().min_by_key(distance);
    match near.filter(|name| distance(name) <= (wrong.chars().count() / 3).max(2)) {
        Some(name) => format!("did you mean `{prefix}{name}`?"),
        None => format!("there is {}", quoted(known.iter().map(|name| format!("{prefix}{name}")))),
    }
}

/// Names in backticks with commas between them.
fn quoted(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
