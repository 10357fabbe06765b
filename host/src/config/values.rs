//! Types of values: text to durations, sizes, paths and so on.
//!
//! Promises: every value is within its bounds, and an error says which bounds. Lenient
//! as Salt is: a number may be quoted, a list of one may be a text, a list of names may
//! have commas. Does not know keys.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value as Json;

use super::error::{Finding, Place};
use super::files::open;
use super::section::{Found, Value};
use super::yaml::{Content, Node, Scalar};

impl<'a> Found<'a> {
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Finding {
        Finding::new(&self.place, format!("`{}` {what}", self.key))
    }

    pub(super) fn scalar(&self) -> Result<&'a Scalar, Finding> {
        match self.value {
            Value::Scalar(scalar) => Ok(scalar),
            Value::List(_) => Err(self.wrong("is a list, expected a single value")),
            Value::Map(_) => Err(self.wrong("is a map, expected a single value")),
        }
    }

    pub(super) fn text(&self) -> Result<String, Finding> {
        self.scalar().map(|scalar| scalar.text.clone())
    }

    /// A list of texts, or a text with commas between the items.
    pub(super) fn texts(&self) -> Result<Vec<(Place, String)>, Finding> {
        let items: Vec<(Place, &str)> = match &self.value {
            Value::Scalar(scalar) => scalar.text.split(',').map(|text| (self.place.clone(), text)).collect(),
            Value::List(nodes) => nodes.iter().map(|node| self.item(node)).collect::<Result<_, _>>()?,
            Value::Map(_) => return Err(self.wrong("is a map, expected a list")),
        };
        let trimmed = items.into_iter().map(|(place, text)| (place, text.trim().to_owned()));
        Ok(trimmed.filter(|(_, text)| !text.is_empty()).collect())
    }

    fn item(&self, node: &'a Node) -> Result<(Place, &'a str), Finding> {
        let place = Place { line: node.line, ..self.place.clone() };
        match &node.content {
            Content::Scalar(scalar) => Ok((place, &scalar.text)),
            _ => Err(Finding::new(
                &place,
                format!("an item of `{}` is a list or a map, expected a text", self.key),
            )),
        }
    }

    /// A relative path is relative to the file that says it.
    pub(super) fn path(&self) -> Result<PathBuf, Finding> {
        Ok(beside(&self.place.file, &self.text()?))
    }

    /// The path of a file that can be read now.
    pub(super) fn file(&self) -> Result<PathBuf, Finding> {
        let text = self.text()?;
        let path = beside(&self.place.file, &text);
        let wrong = |error: &str| self.wrong(format!("names the file `{}`: {error}", path.display()));
        match open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => Ok(path),
            Ok(_) => Err(wrong("it is something else")),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Err(wrong("it is something else")),
            Err(error) if Path::new(&text).is_relative() => {
                Err(wrong(&error.to_string()).hint("a relative path is relative to the file that says it"))
            }
            Err(error) => Err(wrong(&error.to_string())),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Finding> {
        flag(self.scalar()?).map_err(|wrong| self.wrong(wrong))
    }

    pub(super) fn number(&self, bounds: RangeInclusive<u64>) -> Result<u64, Finding> {
        number(&self.scalar()?.text, bounds).map_err(|wrong| self.unexpected(&wrong))
    }

    pub(super) fn size(&self, bounds: RangeInclusive<u64>) -> Result<u64, Finding> {
        size(&self.scalar()?.text, bounds).map_err(|wrong| self.unexpected(&wrong))
    }

    pub(super) fn duration(&self, bounds: RangeInclusive<Duration>) -> Result<Duration, Finding> {
        duration(&self.scalar()?.text, bounds).map_err(|wrong| self.unexpected(&wrong))
    }

    /// What was expected is what to do.
    fn unexpected(&self, wrong: &str) -> Finding {
        match wrong.split_once(", expected ") {
            Some((is, expected)) => self.wrong(is).hint(format!("give {expected}")),
            None => self.wrong(wrong),
        }
    }
}

/// A path as seen from the file's directory.
pub(super) fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// `true` as YAML 1.1 and as JSON have it; Salt's users quote it, too.
pub(super) fn flag(scalar: &Scalar) -> Result<bool, String> {
    match scalar.text.as_str() {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => scalar.as_bool().ok_or_else(|| format!("is `{}`, expected `true` or `false`", scalar.text)),
    }
}

pub(super) fn number(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.trim().parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| {
        format!("is `{text}`, expected a whole number from {} to {}", bounds.start(), bounds.end())
    })
}

/// `64MiB`, or a number of bytes.
pub(super) fn size(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let size = text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64());
    size.filter(|size| bounds.contains(size)).ok_or_else(|| {
        let [from, to] = [bounds.start(), bounds.end()].map(|bound| ByteSize::b(*bound));
        format!("is `{text}`, expected a size such as `64MiB`, from {from} to {to}")
    })
}

/// `10s`, or a number of seconds as Salt has it.
pub(super) fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let seconds = text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let duration = seconds.or_else(|| humantime::parse_duration(text.trim()).ok());
    duration.filter(|duration| bounds.contains(duration)).ok_or_else(|| {
        let [from, to] = [bounds.start(), bounds.end()].map(|bound| humantime::format_duration(*bound));
        format!("is `{text}`, expected a duration such as `10s`, from {from} to {to}")
    })
}

/// A value as a plugin's option: scalars as they are written, the rest as JSON.
pub(super) fn option(node: &Node) -> Option<String> {
    match &node.content {
        Content::Scalar(scalar) if scalar.is_null() => None,
        Content::Scalar(scalar) => Some(scalar.text.clone()),
        _ => Some(json(node).to_string()),
    }
}

fn json(node: &Node) -> Json {
    match &node.content {
        Content::Scalar(scalar) => json_scalar(scalar),
        Content::List(items) => items.iter().map(json).collect(),
        Content::Map(pairs) => pairs.iter().map(|(key, node)| (key.text.clone(), json(node))).collect(),
    }
}

fn json_scalar(scalar: &Scalar) -> Json {
    if scalar.is_null() {
        return Json::Null;
    }
    let as_bool = scalar.as_bool().filter(|_| scalar.plain).map(Json::Bool);
    let as_number =
        || serde_json::from_str(&scalar.text).ok().filter(|json: &Json| scalar.plain && json.is_number());
    as_bool.or_else(as_number).unwrap_or_else(|| Json::String(scalar.text.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(number("3306", 1..=65535), Ok(3306));
        for text in ["0", "65536", "-1", "x", "", "1.5", "99999999999999999999999"] {
            assert_eq!(
                number(text, 1..=65535),
                Err(format!("is `{text}`, expected a whole number from 1 to 65535"))
            );
        }
    }

    #[test]
    fn sizes_take_units_or_bytes() {
        assert_eq!(size("64MiB", 0..=u64::MAX), Ok(64 << 20));
        assert_eq!(size("1024", 0..=u64::MAX), Ok(1024));
        assert_eq!(
            size("1 GiB", 0..=1 << 20),
            Err("is `1 GiB`, expected a size such as `64MiB`, from 0 B to 1.0 MiB".to_owned())
        );
        assert!(size("many", 0..=1).is_err());
    }

    #[test]
    fn durations_take_units_or_seconds() {
        let all = Duration::ZERO..=Duration::from_secs(60);
        assert_eq!(duration("10s", all.clone()), Ok(Duration::from_secs(10)));
        assert_eq!(duration("5.0", all.clone()), Ok(Duration::from_secs(5)));
        assert_eq!(duration("500ms", all.clone()), Ok(Duration::from_millis(500)));
        for text in ["2h", "-1", "NaN", "inf", "soon", "1e300"] {
            assert!(duration(text, all.clone()).is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_text_or_json() {
        let shown = |yaml: &str| option(&parse(yaml).root.expect("content"));
        assert_eq!(shown("info"), Some("info".to_owned()));
        assert_eq!(shown("007"), Some("007".to_owned()));
        assert_eq!(shown("yes"), Some("yes".to_owned()));
        assert_eq!(
            shown("{b: 1, a: [yes, 'yes', ~, 1.5, x]}"),
            Some(r#"{"b":1,"a":[true,"yes",null,1.5,"x"]}"#.to_owned())
        );
        assert_eq!(shown("~"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = number(&text, 0..=10);
            let _ = size(&text, 0..=10);
            let _ = duration(&text, Duration::ZERO..=Duration::from_secs(1));
        }
    }
}
