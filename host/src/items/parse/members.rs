//! The members of an item's object that the host looks at.

use std::ops::Range;
use std::sync::Arc;

use jiter::Peek;
use serde_json::Value;

use super::Invalid;
use super::fields::{self, MAX_NAME, Unnamed};
use crate::items::json::{Malformed, Walk, quote};

/// The longest text of a member that is looked at, in bytes, and of a list of minions: what a list
/// of small values becomes in memory is many times its text.
pub(super) const MAX_MEMBER: usize = 1 << 20;
pub(super) const MAX_MINIONS: usize = 16 << 20;

/// The canonical form of what most minions return fits.
const MOSTLY: usize = 1 << 10;

/// What the host looks at; a member named otherwise is Salt's business.
const KNOWN: [&str; 14] = [
    "jid",
    "id",
    "fun",
    "return",
    "success",
    "retcode",
    "resource_id",
    "ret_config",
    "ret_kwargs",
    "Minions",
    "minions",
    "tag",
    "data",
    "master",
];

pub(super) struct Members<'a> {
    pub(super) text: &'a str,
    /// Where each of [`KNOWN`] is.
    places: [Option<Range<usize>>; KNOWN.len()],
    /// The canonical form of `return`, or of an event's `data`.
    pub(super) value: Vec<u8>,
    /// The canonical form of `resource_id`.
    pub(super) resource: Vec<u8>,
}

/// The place of a name in [`KNOWN`].
fn known(name: &str) -> Option<usize> {
    KNOWN.iter().position(|known| *known == name)
}

impl<'a> Members<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self, Invalid> {
        let mut walk = Walk::new(text);
        let malformed = |error: Malformed| Invalid(error.to_string());
        if walk.peek().map_err(malformed)? != Peek::Object {
            return Err(Invalid(format!("is {}, expected an object", kind_of(text))));
        }
        let mut members = Self { text, places: Default::default(), value: Vec::new(), resource: Vec::new() };
        let (mut others, mut twice, mut is_first) = (Vec::new(), None, true);
        let read = |key: &str| known(key).ok_or_else(|| key.to_owned());
        while let Some(key) = walk.key(is_first, read).map_err(malformed)? {
            is_first = false;
            let place = members.place(&mut walk, key.as_ref().ok().map(|known| KNOWN[*known]));
            let place = place.map_err(malformed)?;
            match key {
                Ok(known) if members.places[known].is_some() => {
                    twice = twice.or(Some(KNOWN[known].to_owned()))
                }
                Ok(known) => members.places[known] = Some(place),
                Err(other) => others.push(other),
            }
        }
        walk.finish().map_err(malformed)?;
        if let Some(problem) = walk.take_problem() {
            return Err(Invalid(problem));
        }
        others.sort_unstable();
        let twice = twice.or_else(|| Some(others.windows(2).find(|pair| pair[0] == pair[1])?[0].clone()));
        match twice {
            Some(twice) => Err(Invalid(format!("has the key {} twice", quote(&twice)))),
            None => Ok(members),
        }
    }

    /// Walks the value of a member, and keeps the canonical form where the item's key has it.
    fn place(&mut self, walk: &mut Walk<'_>, name: Option<&str>) -> Result<Range<usize>, Malformed> {
        match name {
            Some("return") => {
                self.value.reserve(MOSTLY.min(self.text.len()));
                walk.value_of_either_way(&mut self.value)
            }
            Some("data") => walk.value(Some(&mut self.value)),
            Some("resource_id") => walk.value(Some(&mut self.resource)),
            _ => walk.value(None),
        }
    }

    /// Where the value of one of [`KNOWN`] is.
    pub(super) fn find(&self, name: &str) -> Option<Range<usize>> {
        self.places[known(name)?].clone()
    }

    pub(super) fn present(&self, name: &str) -> Result<Range<usize>, Invalid> {
        self.find(name).ok_or_else(|| missing(name))
    }

    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, &'static str>,
    ) -> Result<Option<T>, Invalid> {
        let Some(place) = self.find(name) else { return Ok(None) };
        let text = &self.text[place];
        let most = if matches!(name, "Minions" | "minions") { MAX_MINIONS } else { MAX_MEMBER };
        if text.len() > most {
            return Err(Invalid(format!("`{name}` has {} bytes, more than {most}", text.len())));
        }
        // The walk has seen that it is JSON.
        let value: Value =
            serde_json::from_str(text).map_err(|error| Invalid(format!("`{name}`: {error}")))?;
        read(value).map(Some).map_err(|expected| mistyped(name, text, expected))
    }

    pub(super) fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, &'static str>,
    ) -> Result<T, Invalid> {
        self.optional(name, read)?.ok_or_else(|| missing(name))
    }

    /// A text that names something: not empty, of one line, not too long.
    pub(super) fn name(&self, name: &str) -> Result<Arc<str>, Invalid> {
        let text = self.required(name, fields::string)?;
        match fields::check_name(&text) {
            Ok(()) => Ok(text.into()),
            Err(Unnamed::Empty) => Err(Invalid(format!("`{name}` is empty"))),
            Err(Unnamed::Control) => {
                Err(Invalid(format!("`{name}` has a control character: {}", quote(&text))))
            }
            Err(Unnamed::Long) => {
                Err(Invalid(format!("`{name}` has {} bytes, more than {MAX_NAME}", text.len())))
            }
        }
    }

    /// `ret_kwargs`, where it overrides anything.
    pub(super) fn overrides(&self) -> Result<Option<Arc<str>>, Invalid> {
        let overrides = self.optional("ret_kwargs", |value| match value {
            Value::Null => Ok(None),
            Value::Object(map) if map.is_empty() => Ok(None),
            Value::Object(_) => Ok(Some(value.to_string())),
            _ => Err("an object"),
        })?;
        Ok(overrides.flatten().map(Into::into))
    }
}

fn missing(name: &str) -> Invalid {
    Invalid(format!("`{name}` is missing"))
}

pub(super) fn mistyped(name: &str, text: &str, expected: &str) -> Invalid {
    Invalid(format!("`{name}` is {}, expected {expected}", kind_of(text)))
}

/// The kind of a JSON value, for messages.
fn kind_of(text: &str) -> &'static str {
    match text.trim_start().bytes().next() {
        Some(b'"') => "a string",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "empty",
    }
}
