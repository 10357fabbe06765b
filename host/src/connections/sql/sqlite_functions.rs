//! SQLite's functions that compare texts, in the place of its own.
//!
//! Between two steps of its machine SQLite asks whether to stop, and its own `instr`,
//! `replace`, `trim`, `like` and `glob` do all of their work in one: for two long texts that
//! takes hours, in which nobody else writes. These take time in proportion to the texts, or
//! ask as they go. For all else they answer as SQLite's own do
//! (<https://sqlite.org/lang_corefunc.html>, <https://sqlite.org/lang_expr.html#like>).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memchr::memmem;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, Result};

use super::sqlite_session::LONGEST;

/// How many signs are compared between two looks at whether to stop.
const SIGNS: usize = 4096;

/// The longest pattern of LIKE and GLOB, in bytes, as SQLite has it: what is made of one is a few
/// times as long (<https://sqlite.org/limits.html#max_like_pattern_length>).
const PATTERN: usize = 50_000;

/// Puts them on a connection; `cancelled` says that what runs there is to stop.
pub(super) fn define(connection: &Connection, cancelled: &Arc<AtomicBool>) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("instr", 2, flags, instr)?;
    connection.create_scalar_function("replace", 3, flags, replace)?;
    connection.create_scalar_function("trim", 2, flags, |context| trim(context, true, true))?;
    connection.create_scalar_function("ltrim", 2, flags, |context| trim(context, true, false))?;
    connection.create_scalar_function("rtrim", 2, flags, |context| trim(context, false, true))?;
    for count in [2, 3] {
        let cancelled = Arc::clone(cancelled);
        let like = move |context: &Context<'_>| like(context, &cancelled);
        connection.create_scalar_function("like", count, flags, like)?;
    }
    let cancelled = Arc::clone(cancelled);
    connection.create_scalar_function("glob", 2, flags, move |context| {
        let (Some(pattern), Some(text)) = (text(context, 0), text(context, 1)) else { return Ok(None) };
        let mut work = Work::new(&cancelled);
        let pattern = parts_of_glob(of_pattern(&pattern)?, &mut work)?;
        matches(&pattern, &text, |sign| sign, &mut work).map(Some)
    })
}

/// A pattern that is not too long.
fn of_pattern(pattern: &str) -> Result<&str> {
    if pattern.len() > PATTERN { Err(failed("LIKE or GLOB pattern too complex")) } else { Ok(pattern) }
}

/// What a comparison has done since it looked whether to stop.
struct Work<'a> {
    done: usize,
    cancelled: &'a AtomicBool,
}

impl<'a> Work<'a> {
    fn new(cancelled: &'a AtomicBool) -> Self {
        Self { done: 0, cancelled }
    }

    /// Counts so many signs.
    fn add(&mut self, signs: usize) -> Result<()> {
        self.done += signs;
        if self.done < SIGNS {
            return Ok(());
        }
        self.done = 0;
        if self.cancelled.load(Ordering::Relaxed) { Err(failed("interrupted")) } else { Ok(()) }
    }
}

fn instr(context: &Context<'_>) -> Result<Option<i64>> {
    if let (ValueRef::Blob(within), ValueRef::Blob(sought)) = (context.get_raw(0), context.get_raw(1)) {
        return Ok(Some(memmem::find(within, sought).map_or(0, |at| at as i64 + 1)));
    }
    let (Some(within), Some(sought)) = (text(context, 0), text(context, 1)) else { return Ok(None) };
    let found = memmem::find(within.as_bytes(), sought.as_bytes());
    Ok(Some(found.map_or(0, |at| within[..at].chars().count() as i64 + 1)))
}

fn replace(context: &Context<'_>) -> Result<Value> {
    let (Some(within), Some(sought)) = (text(context, 0), text(context, 1)) else { return Ok(Value::Null) };
    if sought.is_empty() {
        return Ok(Value::Text(within.into_owned()));
    }
    let Some(with) = text(context, 2) else { return Ok(Value::Null) };
    let found = memmem::find_iter(within.as_bytes(), sought.as_bytes()).count();
    let length = within.len() - found * sought.len() + found.saturating_mul(with.len());
    if length > LONGEST as usize {
        return Err(failed("string or blob too big"));
    }
    Ok(Value::Text(within.replace(&*sought, &with)))
}

fn trim(context: &Context<'_>, begin: bool, end: bool) -> Result<Option<String>> {
    let (Some(within), Some(signs)) = (text(context, 0), text(context, 1)) else { return Ok(None) };
    let signs: HashSet<char> = signs.chars().collect();
    let mut left = &*within;
    if begin {
        left = left.trim_start_matches(|sign| signs.contains(&sign));
    }
    if end {
        left = left.trim_end_matches(|sign| signs.contains(&sign));
    }
    Ok(Some(left.to_owned()))
}

/// `text LIKE pattern ESCAPE escape` is `like(pattern, text, escape)`.
fn like(context: &Context<'_>, cancelled: &AtomicBool) -> Result<Option<bool>> {
    let (Some(pattern), Some(within)) = (text(context, 0), text(context, 1)) else { return Ok(None) };
    let escape = match context.len() {
        3 => {
            let Some(escape) = text(context, 2) else { return Ok(None) };
            let mut signs = escape.chars();
            match (signs.next(), signs.next()) {
                (Some(escape), None) => Some(escape),
                _ => return Err(failed("ESCAPE expression must be a single character")),
            }
        }
        _ => None,
    };
    let mut work = Work::new(cancelled);
    let mut parts = Vec::new();
    let mut signs = of_pattern(&pattern)?.chars();
    while let Some(sign) = signs.next() {
        work.add(1)?;
        parts.push(match sign {
            // One that nothing follows matches nothing.
            sign if Some(sign) == escape => match signs.next() {
                Some(sign) => Part::Sign(sign.to_ascii_lowercase()),
                None => Part::OneOf(Vec::new(), false),
            },
            '%' => Part::Any,
            '_' => Part::One,
            sign => Part::Sign(sign.to_ascii_lowercase()),
        });
    }
    matches(&parts, &within, |sign| sign.to_ascii_lowercase(), &mut work).map(Some)
}

/// A part of a pattern.
#[derive(Debug, PartialEq)]
enum Part {
    Sign(char),
    One,
    /// Any number of signs.
    Any,
    /// One sign of these, from and to, or, if that is said, none of them.
    OneOf(Vec<(char, char)>, bool),
}

fn parts_of_glob(pattern: &str, work: &mut Work<'_>) -> Result<Vec<Part>> {
    let signs: Vec<char> = pattern.chars().collect();
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Some(sign) = signs.get(at) {
        work.add(1)?;
        at += 1;
        parts.push(match sign {
            '*' => Part::Any,
            '?' => Part::One,
            '[' => match set(&signs[at..]) {
                Some((set, length)) => {
                    at += length;
                    set
                }
                // What is not closed matches nothing, nor does anything with it.
                None => return Ok(vec![Part::OneOf(Vec::new(), false)]),
            },
            sign => Part::Sign(*sign),
        });
    }
    Ok(parts)
}

/// What stands behind a `[`, and how long it is with its `]`.
fn set(signs: &[char]) -> Option<(Part, usize)> {
    let negated = signs.first() == Some(&'^');
    let (mut at, mut ranges) = (usize::from(negated), Vec::new());
    // The first one may be a bracket itself.
    if signs.get(at) == Some(&']') {
        ranges.push((']', ']'));
        at += 1;
    }
    // What a range can begin with.
    let mut before = None;
    loop {
        let sign = *signs.get(at)?;
        at += 1;
        match (sign, before, signs.get(at)) {
            (']', _, _) => return Some((Part::OneOf(ranges, negated), at)),
            ('-', Some(from), Some(to)) if *to != ']' => {
                ranges.push((from, *to));
                before = None;
                at += 1;
            }
            (sign, _, _) => {
                ranges.push((sign, sign));
                before = Some(sign);
            }
        }
    }
}

impl Part {
    /// How many signs it is compared with.
    fn comparisons(&self) -> usize {
        match self {
            Part::Sign(_) | Part::One | Part::Any => 1,
            Part::OneOf(ranges, _) => ranges.len().max(1),
        }
    }

    fn is(&self, sign: char) -> bool {
        match self {
            Part::Sign(own) => *own == sign,
            Part::One | Part::Any => true,
            Part::OneOf(ranges, negated) => {
                (!ranges.is_empty() || *negated)
                    && ranges.iter().any(|(from, to)| (*from..=*to).contains(&sign)) != *negated
            }
        }
    }
}

/// Where a part does not fit, the last [`Part::Any`] takes one sign more: an earlier one need
/// never be tried again. `folded` is how a sign of the text is compared.
fn matches(pattern: &[Part], text: &str, folded: impl Fn(char) -> char, work: &mut Work<'_>) -> Result<bool> {
    let sign_at = |at: usize| text[at..].chars().next();
    // The places of the text are in bytes.
    let (mut at, mut sign) = (0, 0);
    let mut last_any = None;
    loop {
        let part = pattern.get(at);
        work.add(part.map_or(1, Part::comparisons))?;
        match (part, sign_at(sign)) {
            (Some(Part::Any), _) => {
                at += 1;
                last_any = Some((at, sign));
            }
            (Some(part), Some(one)) if part.is(folded(one)) => (at, sign) = (at + 1, sign + one.len_utf8()),
            (None, None) => return Ok(true),
            _ => match last_any {
                Some((after, taken)) if taken < text.len() => {
                    let taken = taken + sign_at(taken).map_or(1, char::len_utf8);
                    last_any = Some((after, taken));
                    (at, sign) = (after, taken);
                }
                _ => return Ok(false),
            },
        }
    }
}

/// A value as SQLite makes a text of it; none for NULL.
fn text<'a>(context: &'a Context<'_>, index: usize) -> Option<Cow<'a, str>> {
    match context.get_raw(index) {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Real(number) => Some(text_of(number).into()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
    }
}

/// With fifteen digits at most, and a point: `%!.15g` (<https://sqlite.org/printf.html>).
fn text_of(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:.14e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let short = |digits: &str| {
        let digits = digits.trim_end_matches('0');
        if digits.ends_with('.') { format!("{digits}0") } else { digits.to_owned() }
    };
    if (-4..15).contains(&exponent) {
        let places = usize::try_from(14 - exponent).unwrap_or_default().max(1);
        return short(&format!("{number:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", short(digits), exponent.abs())
}

fn failed(message: &str) -> Error {
    Error::UserFunctionError(message.into())
}

#[cfg(test)]
#[path = "sqlite_functions_tests.rs"]
mod tests;
