//! Reads Prometheus' text format (0.0.4) more strictly than Prometheus does, so that a
//! scrape that any reader might stumble over fails a test.

use std::collections::{BTreeMap, BTreeSet};

/// A scrape.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<Series, f64>,
}

/// A name, and labels in their order.
type Series = (String, BTreeMap<String, String>);

impl Exposition {
    /// Reads a scrape, and claims that it is one.
    #[track_caller]
    pub(super) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line must end");
        let mut scrape = Self::default();
        let mut family = String::new();
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("a name and a text");
                assert!(helped.insert(name.to_owned()), "two helps for `{name}`");
                assert!(words.len() > 20, "no help worth the name: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert!(helped.contains(name), "no help before {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(name.starts_with("returner_") && is_name(name), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(scrape.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                family = name.to_owned();
            } else {
                let (series, value) = sample(line);
                let suffix = series.0.strip_prefix(family.as_str());
                let histogram = scrape.kinds.get(&family).is_some_and(|kind| kind == "histogram");
                match suffix {
                    Some("") if !histogram => {}
                    Some("_bucket" | "_sum" | "_count") if histogram => {}
                    _ => panic!("`{line}` is not of the family `{family}` above it"),
                }
                assert!(scrape.samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// Buckets grow, and the last one is the count.
    #[track_caller]
    fn check_histograms(&self) {
        for ((name, labels), count) in &self.samples {
            let Some(family) = name.strip_suffix("_count") else { continue };
            let bucket = format!("{family}_bucket");
            let mut buckets: Vec<(f64, f64)> = Vec::new();
            for ((_, found), value) in self.samples.iter().filter(|((name, _), _)| *name == bucket) {
                let mut found = found.clone();
                let bound = found.remove("le").expect("a bucket has a bound");
                if found == *labels {
                    buckets.push((bound.parse().expect("a bound is a number"), *value));
                }
            }
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name} {labels:?}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name} {labels:?}");
            assert!(
                self.samples.contains_key(&(format!("{family}_sum"), labels.clone())),
                "{name} {labels:?}"
            );
        }
    }

    /// One sample; none if it is not there.
    pub(super) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// One sample.
    #[track_caller]
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.find(name, labels);
        found.unwrap_or_else(|| panic!("no {name}{labels:?} in {:#?}", self.samples))
    }
}

#[track_caller]
fn sample(line: &str) -> (Series, f64) {
    let (before, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: `{line}`"));
    let value = value.parse().unwrap_or_else(|_| panic!("not a number: `{line}`"));
    let (name, labels) = match before.split_once('{') {
        None => (before, BTreeMap::new()),
        Some((name, labels)) => {
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no closing brace: `{line}`"));
            (name, read_labels(labels))
        }
    };
    assert!(is_name(name), "`{line}`");
    ((name.to_owned(), labels), value)
}

/// `a="b",c="d"`, with `\\`, `\"` and `\n` in values.
#[track_caller]
fn read_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: `{text}`"));
        let mut value = String::new();
        let mut characters = after.chars();
        loop {
            match characters.next() {
                Some('"') => break,
                Some('\\') => value.push(match characters.next() {
                    Some('n') => '\n',
                    Some(escaped @ ('\\' | '"')) => escaped,
                    other => panic!("`\\{other:?}` in `{text}`"),
                }),
                Some(other) => value.push(other),
                None => panic!("no end of a value: `{text}`"),
            }
        }
        assert!(is_name(name), "the label `{name}` in `{text}`");
        assert!(labels.insert(name.to_owned(), value).is_none(), "the label `{name}` twice in `{text}`");
        rest = characters.as_str();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return labels,
            None => panic!("after a value: `{rest}` in `{text}`"),
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
