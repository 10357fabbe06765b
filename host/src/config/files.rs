//! Which files make up a configuration: the named one and those it includes.
//!
//! Promises: as in Salt, `default_include` (without it: the directory beside the file,
//! `minion.d` for `minion`, `returner.d` for `returner.yaml`) and then `include` are
//! read after the file that says so, sorted, relative to it, each file once; a later
//! file wins. A file that cannot be read is an error. Does not know the other keys.

use std::fs::File as Handle;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::error::{Finding, Findings, Place};
use super::section::{File, Section};
use super::values::beside;
use super::yaml::{self, Content, Node, SyntaxError};

/// A file that is larger is not a configuration.
const MAX_BYTES: u64 = 8 << 20;
const MAX_FILES: usize = 1000;

/// A pattern that looks into more is likely not meant, and every reload would take its time.
const MAX_DIRECTORIES: usize = 1000;

/// What was read.
pub(super) struct Files {
    /// In order, the later ones winning.
    pub(super) files: Vec<File>,
    /// No file had to be left out.
    pub(super) is_whole: bool,
}

impl Default for Files {
    fn default() -> Self {
        Self { files: Vec::new(), is_whole: true }
    }
}

pub(super) fn read(path: &Path, findings: &mut Findings) -> Files {
    let mut reader = Reader { read: Files::default(), findings };
    reader.read(path, None);
    reader.read
}

struct Reader<'f> {
    read: Files,
    findings: &'f mut Findings,
}

impl Reader<'_> {
    /// Reads a file and what it includes. `said` is the place of the include; none for
    /// the main file.
    fn read(&mut self, path: &Path, said: Option<&Place>) {
        if self.read.files.iter().any(|file| same(&file.path, path)) {
            return;
        }
        if self.read.files.len() == MAX_FILES {
            self.read.is_whole = false;
            return self
                .findings
                .error(Finding::nowhere(format!("more than {MAX_FILES} files are included")));
        }
        self.findings.watch(Some(path.to_owned()));
        match self.root(path, said) {
            Ok(root) => self.read.files.push(File { path: Arc::from(path), root }),
            Err(finding) => {
                self.read.is_whole = false;
                return self.findings.error(finding);
            }
        }
        for (path, place) in self.included(said.is_none()) {
            self.read(&path, Some(&place));
        }
    }

    fn root(&mut self, path: &Path, said: Option<&Place>) -> Result<Node, Finding> {
        let place = Place { file: Arc::from(path), line: 0 };
        let text = text(path, self.findings).map_err(|error| {
            let finding = Finding::new(&place, format!("cannot read the configuration: {error}"));
            match said {
                Some(said) => finding.hint(format!("an `include` of {} names it", said.file.display())),
                None if !path.exists() => {
                    finding.hint("`--config` or `$RETURNER_CONFIG` names it; without them the defaults serve")
                }
                None => finding,
            }
        })?;
        let parsed = yaml::parse(&text);
        let at = |line| Place { line, ..place.clone() };
        let finding =
            |error: SyntaxError| Finding { hint: error.hint, ..Finding::new(&at(error.line), error.message) };
        parsed.errors.into_iter().for_each(|error| self.findings.error(finding(error)));
        if let Some(error) = parsed.fatal {
            return Err(finding(error));
        }
        let empty = Node { line: 0, content: Content::Map(Vec::new()) };
        match parsed.root.unwrap_or_else(|| empty.clone()) {
            root @ Node { content: Content::Map(_), .. } => Ok(root),
            Node { content: Content::Scalar(scalar), .. } if scalar.is_null() => Ok(empty),
            Node { line, .. } => {
                Err(Finding::new(&at(line), "this is no map of keys to values").hint("write `key: value`"))
            }
        }
    }

    /// What the last file includes.
    fn included(&mut self, is_main: bool) -> Vec<(PathBuf, Place)> {
        let Some(file) = self.read.files.last() else { return Vec::new() };
        let place = Place { file: Arc::clone(&file.path), line: 0 };
        let root = Section::root(std::slice::from_ref(file));
        let mut patterns = Vec::new();
        if is_main {
            let said = root.get("default_include", |found| found.texts(), self.findings);
            patterns.extend(said.unwrap_or_else(|| usual(&place)));
        }
        let quiet = patterns.len();
        patterns.extend(root.get("include", |found| found.texts(), self.findings).unwrap_or_default());
        let mut paths = Vec::new();
        for (index, (place, pattern)) in patterns.into_iter().enumerate() {
            if let Err(finding) = self.watch_directories(&place, &pattern) {
                self.read.is_whole = false;
                self.findings.error(finding);
                continue;
            }
            let matches = matching(&place, &pattern, self.findings);
            if matches.is_empty() && index >= quiet {
                self.findings.warning(Finding::new(&place, format!("`include: {pattern}` matches no file")));
            }
            paths.extend(matches.into_iter().map(|path| (path, place.clone())));
        }
        paths
    }

    /// Where a pattern looks, each directory before it is listed: what appears in it later is a
    /// change.
    fn watch_directories(&mut self, place: &Place, pattern: &str) -> Result<(), Finding> {
        let wrong = |what: &str| {
            let finding = Finding::new(place, format!("`include: {pattern}` {what}"));
            finding.hint("name the directories, as in `conf.d/*/*.yaml`")
        };
        if pattern.split('/').any(|part| part == "**") {
            return Err(wrong("looks through a whole tree"));
        }
        for (count, directory) in directories(place, pattern).enumerate() {
            if count == MAX_DIRECTORIES {
                return Err(wrong(&format!("looks into more than {MAX_DIRECTORIES} directories")));
            }
            self.findings.watch(Some(directory));
        }
        Ok(())
    }
}

/// `minion.d/*.conf` for `minion`; ours are called `.yaml`.
fn usual(place: &Place) -> Vec<(Place, String)> {
    let Some(stem) = place.file.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
    let stem = glob::Pattern::escape(stem);
    ["conf", "yaml"].map(|extension| (place.clone(), format!("{stem}.d/*.{extension}"))).to_vec()
}

/// Where files appear that a pattern matches: the part of it that is no pattern, and what there is
/// of the directories that the rest matches (`conf.d/*` of `conf.d/*/r.yaml`). Each is given before
/// it is listed for the next.
fn directories(place: &Place, pattern: &str) -> impl Iterator<Item = PathBuf> {
    let begin = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    let ends = pattern.match_indices('/').map(|(end, _)| end).filter(move |end| *end > begin);
    let below = ends.filter_map(move |end| glob::glob(&whole(place, &pattern[..end])).ok());
    let below = below.flat_map(|paths| paths.filter_map(Result::ok)).filter(|path| path.is_dir());
    let literal = pattern[..begin].rsplit_once('/').map_or("", |(directory, _)| directory);
    let literal = match (literal.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) => beside(&home.join("file"), rest.trim_start_matches('/')),
        _ => beside(&place.file, literal),
    };
    std::iter::once(literal).chain(below)
}

/// A pattern as it is seen from anywhere.
fn whole(place: &Place, pattern: &str) -> String {
    let directory = place.file.parent().unwrap_or(Path::new(""));
    // The directory's name is no pattern, whatever characters it has.
    let directory = glob::Pattern::escape(&directory.to_string_lossy());
    let home = || pattern.strip_prefix("~/").zip(std::env::home_dir());
    let whole = match home() {
        Some((rest, home)) => Path::new(&glob::Pattern::escape(&home.to_string_lossy())).join(rest),
        None => beside(&Path::new(&directory).join("file"), pattern),
    };
    whole.to_string_lossy().into_owned()
}

/// The files that a pattern matches, sorted.
fn matching(place: &Place, pattern: &str, findings: &mut Findings) -> Vec<PathBuf> {
    match glob::glob(&whole(place, pattern)) {
        Ok(paths) => paths.filter_map(Result::ok).collect(),
        Err(error) => {
            findings.error(Finding::new(place, format!("`include: {pattern}` is no pattern: {}", error.msg)));
            Vec::new()
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Opens a file to read it. A pipe would keep the reader waiting until somebody writes into it.
pub(super) fn open(path: &Path) -> io::Result<Handle> {
    let handle =
        Handle::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let kind = handle.metadata()?.file_type();
    if kind.is_file() || kind.is_char_device() {
        Ok(handle)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"))
    }
}

fn text(path: &Path, findings: &mut Findings) -> Result<String, String> {
    let mut bytes = Vec::new();
    let handle = open(path).map_err(|error| error.to_string())?;
    handle.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    findings.read(path, &bytes);
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {}", bytesize::ByteSize(MAX_BYTES)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let bytes = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        format!("line {} is not UTF-8", bytes.iter().filter(|byte| **byte == b'\n').count() + 1)
    })
}
