//! Looking things up by name, over all files.
//!
//! Promises: dotted keys and nested maps mean the same (`mysql.host: x` and
//! `mysql: {host: x}`); of two files the later one wins, key by key; the same thing
//! said twice in one file is an error. Does not know what the keys mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::error::{Finding, Findings, Place};
use super::yaml::{Content, Key, Node, Scalar};

/// A configuration file, read.
pub(super) struct File {
    pub(super) path: Arc<Path>,
    pub(super) root: Node,
}

/// All that stands under one name, in all files.
#[derive(Clone)]
pub(super) struct Section<'a> {
    /// As one would write it with dots; empty for the root.
    pub(super) path: String,
    entries: Vec<Entry<'a>>,
}

#[derive(Clone)]
struct Entry<'a> {
    /// What is left of the key under the section's path; it may have dots.
    key: String,
    place: Place,
    node: &'a Node,
    /// The later file has the higher rank.
    rank: usize,
}

/// The value of a key.
#[derive(Clone)]
pub(super) struct Found<'a> {
    /// The whole key, with dots.
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Value<'a>,
}

#[derive(Clone)]
pub(super) enum Value<'a> {
    Scalar(&'a Scalar),
    List(&'a [Node]),
    Map(Section<'a>),
}

impl<'a> Found<'a> {
    /// Each item of a list, under the list's key; what is no list is its own only one.
    pub(super) fn items(&self) -> Vec<Found<'a>> {
        let Value::List(nodes) = self.value else { return vec![self.clone()] };
        let item = |node: &'a Node| {
            let place = Place { file: Arc::clone(&self.place.file), line: node.line };
            let value = match &node.content {
                Content::Scalar(scalar) => Value::Scalar(scalar),
                Content::List(items) => Value::List(items),
                Content::Map(pairs) => Value::Map(Section::of(self.key.clone(), &place, pairs)),
            };
            Found { key: self.key.clone(), place, value }
        };
        nodes.iter().map(item).collect()
    }
}

impl<'a> Section<'a> {
    /// What stands in one map of a list.
    fn of(path: String, place: &Place, pairs: &'a [(Key, Node)]) -> Self {
        Self { path, entries: entries(pairs, &place.file, 0).collect() }
    }

    pub(super) fn root(files: &'a [File]) -> Self {
        let mut entries = Vec::new();
        for (rank, file) in files.iter().enumerate() {
            let Content::Map(pairs) = &file.root.content else { continue };
            entries.extend(self::entries(pairs, &file.path, rank));
        }
        Self { path: String::new(), entries }
    }

    /// What stands under a name, whether nested or with a dot.
    pub(super) fn under(&self, name: &str) -> Section<'a> {
        let mut entries = Vec::new();
        for entry in &self.entries {
            if let Some(rest) = entry.key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) {
                entries.push(Entry { key: rest.to_owned(), ..entry.clone() });
            } else if entry.key == name
                && let Content::Map(pairs) = &entry.node.content
            {
                entries.extend(self::entries(pairs, &entry.place.file, entry.rank));
            }
        }
        Section { path: self.key_of(name), entries }
    }

    /// The names directly under this one, each with the first place that has it.
    pub(super) fn names(&self) -> BTreeMap<&str, &Place> {
        let mut names = BTreeMap::new();
        for entry in &self.entries {
            let name = entry.key.split_once('.').map_or(entry.key.as_str(), |(name, _)| name);
            names.entry(name).or_insert(&entry.place);
        }
        names
    }

    /// The names that have `below` directly under them; for sections with many names,
    /// of which few do.
    pub(super) fn names_with(&self, below: &str) -> BTreeSet<&str> {
        let is_below = |key: &str| key.split('.').next() == Some(below);
        let mut names = BTreeSet::new();
        for entry in &self.entries {
            match (entry.key.split_once('.'), &entry.node.content) {
                (Some((name, rest)), _) if is_below(rest) => names.insert(name),
                // `a.b: {c: x}` has `b` under `a`, and `c` under neither.
                (None, Content::Map(pairs)) if pairs.iter().any(|(key, _)| is_below(&key.text)) => {
                    names.insert(&entry.key)
                }
                _ => false,
            };
        }
        names
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().contains_key(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys as they are written, dots included.
    pub(super) fn written_keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// A name under this section as the whole key.
    pub(super) fn key_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The value of a name directly under this one. A null is none.
    pub(super) fn find(&self, name: &str, findings: &mut Findings) -> Option<Found<'a>> {
        let below = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let all = || self.entries.iter().filter(|entry| entry.key == name || below(&entry.key));
        let last = all().map(|entry| entry.rank).max()?;
        let is_nested =
            |entry: &&Entry<'_>| entry.key != name || matches!(entry.node.content, Content::Map(_));
        let (nested, whole): (Vec<_>, Vec<_>) = all().filter(|entry| entry.rank == last).partition(is_nested);
        // `mysql:` with nothing after it says nothing where `mysql.host` stands too.
        let is_null =
            |entry: &Entry<'_>| matches!(&entry.node.content, Content::Scalar(scalar) if scalar.is_null());
        let said: Vec<_> =
            whole.into_iter().filter(|entry| !is_null(entry)).chain(nested.first().copied()).collect();
        self.check_once(name, &said, findings);
        let entry = *said.first()?;
        let value = match &entry.node.content {
            _ if is_nested(&entry) => Value::Map(self.under(name)),
            Content::Scalar(scalar) => Value::Scalar(scalar),
            Content::List(items) => Value::List(items),
            Content::Map(_) => Value::Map(self.under(name)),
        };
        Some(Found { key: self.key_of(name), place: entry.place.clone(), value })
    }

    /// Each whole key under this section with its value, dots and all; nulls and maps
    /// as they are. For names that are not ours to take apart.
    pub(super) fn whole_keys(&self, findings: &mut Findings) -> BTreeMap<&str, (&Place, &'a Node)> {
        let mut found: BTreeMap<&str, &Entry<'a>> = BTreeMap::new();
        for entry in &self.entries {
            if let Some(earlier) = found.insert(entry.key.as_str(), entry)
                && earlier.rank == entry.rank
            {
                self.check_once(&entry.key, &[earlier, entry], findings);
            }
        }
        found.into_iter().map(|(key, entry)| (key, (&entry.place, entry.node))).collect()
    }

    /// The value of a key as it is written, dots and all.
    pub(super) fn whole(&self, key: &str) -> Option<Found<'a>> {
        let entry = self.entries.iter().filter(|entry| entry.key == key).max_by_key(|entry| entry.rank)?;
        let value = match &entry.node.content {
            Content::Scalar(scalar) => Value::Scalar(scalar),
            Content::List(items) => Value::List(items),
            Content::Map(_) => Value::Map(self.under(key)),
        };
        Some(Found { key: self.key_of(key), place: entry.place.clone(), value })
    }

    /// Reads a name's value; a wrong one is noted and counts as none.
    pub(super) fn get<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Found<'a>) -> Result<T, Finding>,
        findings: &mut Findings,
    ) -> Option<T> {
        let found = self.find(name, findings)?;
        findings.take(read(&found))
    }

    /// An error for each name that is none of `known`.
    pub(super) fn only(&self, known: &[&str], findings: &mut Findings) {
        for (name, place) in self.names() {
            if !known.contains(&name) {
                let hint = super::error::nearest(name, &format!("{}.", self.path), known.iter().copied());
                findings
                    .error(Finding::new(place, format!("unknown key `{}`", self.key_of(name))).hint(hint));
            }
        }
    }

    fn check_once(&self, name: &str, said: &[&Entry<'_>], findings: &mut Findings) {
        if let [first, .., last] = said {
            let (first, last) =
                if first.place.line <= last.place.line { (first, last) } else { (last, first) };
            let finding = Finding::new(&last.place, format!("`{}` is given twice", self.key_of(name)));
            findings.error(finding.hint(format!("the first is on line {}", first.place.line)));
        }
    }
}

/// What a map of a file has.
fn entries<'a>(pairs: &'a [(Key, Node)], file: &Arc<Path>, rank: usize) -> impl Iterator<Item = Entry<'a>> {
    pairs.iter().map(move |(key, node)| {
        let place = Place { file: Arc::clone(file), line: key.line };
        Entry { key: key.text.clone(), place, node, rank }
    })
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    fn files(texts: &[&str]) -> Vec<File> {
        let file = |(index, text): (usize, &&str)| File {
            path: Arc::from(Path::new(&format!("{index}.yaml"))),
            root: parse(text).root.expect("content"),
        };
        texts.iter().enumerate().map(file).collect()
    }

    fn text(section: &Section<'_>, name: &str) -> Result<Option<String>, Vec<String>> {
        let mut findings = Findings::default();
        let found = section.find(name, &mut findings);
        findings
            .end(&[])
            .map_err(|errors| errors.findings.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(found.map(|found| match found.value {
            Value::Scalar(scalar) => scalar.text.clone(),
            Value::List(items) => format!("{} items", items.len()),
            Value::Map(section) => format!("map of {:?}", section.names().into_keys().collect::<Vec<_>>()),
        }))
    }

    #[test]
    fn dots_and_maps_mean_the_same() {
        for yaml in ["a.b.c: x", "a: {b: {c: x}}", "a.b: {c: x}", "a: {b.c: x}"] {
            let files = files(&[yaml]);
            assert_eq!(
                text(&Section::root(&files).under("a").under("b"), "c"),
                Ok(Some("x".to_owned())),
                "{yaml}"
            );
            assert_eq!(
                text(&Section::root(&files).under("a"), "b"),
                Ok(Some("map of [\"c\"]".to_owned())),
                "{yaml}"
            );
        }
    }

    #[test]
    fn later_files_win_key_by_key() {
        let files = files(&["a: {b: 1, c: 1}\nl: [1, 2]", "a.b: 2\nl: [3]\n"]);
        let root = Section::root(&files);
        assert_eq!(text(&root.under("a"), "b"), Ok(Some("2".to_owned())));
        assert_eq!(text(&root.under("a"), "c"), Ok(Some("1".to_owned())));
        assert_eq!(text(&root, "l"), Ok(Some("1 items".to_owned())));
    }

    #[test]
    fn nulls_are_none() {
        let files = files(&["a:\na.b: 1\nc: ~\nd: x\n", "d:\n"]);
        let root = Section::root(&files);
        assert_eq!(text(&root, "a"), Ok(Some("map of [\"b\"]".to_owned())));
        assert_eq!(text(&root, "c"), Ok(None));
        assert_eq!(text(&root, "d"), Ok(None));
    }

    #[test]
    fn twice_in_one_file_is_an_error() {
        let files = files(&["a: {b: 1}\n\na.b: 2\nc: 1\nc.d: 2\n"]);
        let root = Section::root(&files);
        assert_eq!(
            text(&root.under("a"), "b"),
            Err(vec!["0.yaml:3: `a.b` is given twice\n  hint: the first is on line 1".to_owned()])
        );
        assert!(text(&root, "c").is_err());
    }

    #[test]
    fn unknown_names_are_told_once_with_the_nearest() {
        let files = files(&["a: {hots: 1}\na.zzzzz.y: 1\na.host: 1"]);
        let mut findings = Findings::default();
        Section::root(&files).under("a").only(&["host", "port"], &mut findings);
        let errors = findings.end(&[Arc::from(Path::new("0.yaml"))]).expect_err("two unknown keys");
        assert_eq!(
            errors.to_string(),
            "error: 0.yaml:1: unknown key `a.hots`\n  hint: did you mean `a.host`?\n\
             error: 0.yaml:2: unknown key `a.zzzzz`\n  hint: there is `a.host`, `a.port`"
        );
    }
}
