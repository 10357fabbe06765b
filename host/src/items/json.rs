//! JSON text: walking it once to check it, to find its members and to bring a
//! value into canonical form.
//!
//! What is refused here, and why: integers beyond 64 bits (no store but text keeps
//! them), numbers beyond a double's range, the same key twice in an object (every
//! reader would see another value), more than [`MAX_DEPTH`] levels, and whatever is
//! not JSON (RFC 8259), `NaN` and invalid UTF-8 included.

mod canonical;
mod split;

use std::ops::Range;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};

use canonical::{Member, sort_members, without_offset, write_integer, write_text};

pub(super) use canonical::expanded;
pub(crate) use split::split;

/// The deepest nesting of an item. Deep enough for Salt's states, shallow enough
/// for every reader downstream.
pub(crate) const MAX_DEPTH: usize = 128;

/// Text that is not JSON; nothing after it can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line}, column {column}")]
pub(crate) struct Malformed {
    pub(crate) reason: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One pass over JSON text.
///
/// A [`Malformed`] ends the pass. A value that is JSON but that the host does not
/// take is remembered in [`problem`](Walk::take_problem), and the walk goes on, so
/// that the items after it can be looked at too.
pub(crate) struct Walk<'a> {
    jiter: Jiter<'a>,
    problem: Option<String>,
    /// The canonical form has moments without their time zone: see [`without_offset`].
    zoneless: bool,
    /// Nobody wants the canonical form: no more of it is kept than what tells that an object has
    /// a key twice.
    keys_only: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { jiter: Jiter::new(text.as_bytes()), problem: None, zoneless: false, keys_only: false }
    }

    /// The next value as [`value`](Self::value) walks it, of which a minion's module keeps the time
    /// zones of moments and the event bus does not: the canonical form has none.
    pub(crate) fn value_of_either_way(&mut self, canonical: &mut Vec<u8>) -> Result<Range<usize>, Malformed> {
        self.zoneless = true;
        let place = self.value(Some(canonical));
        self.zoneless = false;
        place
    }

    /// The first problem since the last call.
    pub(crate) fn take_problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    pub(crate) fn peek(&mut self) -> Result<Peek, Malformed> {
        let peek = self.jiter.peek();
        peek.map_err(|error| self.malformed(&error))
    }

    /// What `read` makes of the next member's key, or none at the object's end. `first` asks for
    /// the first one, after a peek that said `Peek::Object`.
    pub(crate) fn key<T>(
        &mut self,
        first: bool,
        read: impl FnOnce(&str) -> T,
    ) -> Result<Option<T>, Malformed> {
        let key = if first { self.jiter.known_object() } else { self.jiter.next_key() };
        match key {
            Ok(key) => Ok(key.map(read)),
            Err(error) => Err(self.malformed(&error)),
        }
    }

    /// Walks the next value, and writes its canonical form where one is wanted.
    /// Gives where the value is in the text.
    pub(crate) fn value(&mut self, canonical: Option<&mut Vec<u8>>) -> Result<Range<usize>, Malformed> {
        let peek = self.peek()?;
        let start = self.jiter.current_index();
        let mut scratch = Vec::new();
        self.keys_only = canonical.is_none();
        self.walk(peek, canonical.unwrap_or(&mut scratch), 1)?;
        Ok(start..self.jiter.current_index())
    }

    /// Passes over the next value with no more checks than that takes.
    fn skip(&mut self) -> Result<Range<usize>, Malformed> {
        let peek = self.peek()?;
        let start = self.jiter.current_index();
        let skipped = self.jiter.known_skip(peek);
        skipped.map_err(|error| self.malformed(&error))?;
        Ok(start..self.jiter.current_index())
    }

    /// Nothing but white space may follow.
    pub(crate) fn finish(&mut self) -> Result<(), Malformed> {
        let finished = self.jiter.finish();
        finished.map_err(|error| self.malformed(&error))
    }

    /// Writes the [`canonical`] form of a value.
    fn walk(&mut self, peek: Peek, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(self.here(too_deep()));
        }
        match peek {
            Peek::Null => {
                let null = self.jiter.known_null();
                null.map_err(|error| self.malformed(&error))?;
                out.push(b'n');
            }
            Peek::True | Peek::False => {
                let value = self.jiter.known_bool(peek);
                let value = value.map_err(|error| self.malformed(&error))?;
                out.push(if value { b't' } else { b'f' });
            }
            Peek::String => match self.jiter.known_str() {
                Ok(text) if self.zoneless => write_text(out, without_offset(text)),
                Ok(text) => write_text(out, text),
                Err(error) => return Err(self.malformed(&error)),
            },
            Peek::Array => self.walk_array(out, depth)?,
            Peek::Object => self.walk_object(out, depth)?,
            number => self.walk_number(number, out)?,
        }
        Ok(())
    }

    fn walk_number(&mut self, peek: Peek, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = self.jiter.current_index();
        let number = self.jiter.known_number(peek);
        match number.map_err(|error| self.malformed(&error))? {
            NumberAny::Int(NumberInt::Int(value)) => write_integer(out, value.into()),
            NumberAny::Int(NumberInt::BigInt(value)) => match u64::try_from(&value) {
                Ok(value) => write_integer(out, value.into()),
                Err(_) => self.integer_too_big(start),
            },
            NumberAny::Float(value) if value.is_finite() => {
                out.push(b'd');
                out.extend(value.to_bits().to_le_bytes());
            }
            NumberAny::Float(_) => self.note("a number is beyond the range of a 64-bit float".to_owned()),
        }
        Ok(())
    }

    fn integer_too_big(&mut self, start: usize) {
        let digits = self.jiter.slice_to_current(start).len();
        self.note(format!("an integer of {digits} digits does not fit 64 bits; send it as a string"));
    }

    fn walk_array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        out.push(b'a');
        let count_at = out.len();
        out.extend(0u32.to_le_bytes());
        let mut count = 0u32;
        let mut next = self.jiter.known_array();
        loop {
            if self.keys_only {
                out.truncate(count_at + 4);
            }
            match next {
                Ok(Some(peek)) => self.walk(peek, out, depth + 1)?,
                Ok(None) => break,
                Err(error) => return Err(self.malformed(&error)),
            }
            count += 1;
            next = self.jiter.array_step();
        }
        out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    /// Members are written as they come; if they did not come in the order of their
    /// keys, their bytes are put into it.
    fn walk_object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        out.push(b'o');
        let count_at = out.len();
        out.extend(0u32.to_le_bytes());
        let mut members: Vec<Member> = Vec::new();
        let mut first = true;
        loop {
            let start = out.len();
            let key = if first { self.jiter.known_object() } else { self.jiter.next_key() };
            match key {
                Ok(Some(key)) => write_text(out, key),
                Ok(None) => break,
                Err(error) => return Err(self.malformed(&error)),
            }
            first = false;
            let key_end = out.len();
            let peek = self.peek()?;
            self.walk(peek, out, depth + 1)?;
            if self.keys_only {
                out.truncate(key_end);
            }
            members.push(Member { start, key_end, end: out.len() });
        }
        out[count_at..count_at + 4].copy_from_slice(&(members.len() as u32).to_le_bytes());
        if let Some(key) = sort_members(out, &mut members) {
            self.note(format!("an object has the key {} twice", quote(&key)));
        }
        Ok(())
    }

    fn note(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    fn malformed(&self, error: &JiterError) -> Malformed {
        let position = error.get_position(&self.jiter);
        let reason = match &error.error_type {
            JiterErrorType::JsonError(JsonErrorType::RecursionLimitExceeded) => too_deep(),
            other => other.to_string(),
        };
        Malformed { reason, line: position.line, column: position.column }
    }

    fn here(&self, reason: String) -> Malformed {
        let position = self.jiter.current_position();
        Malformed { reason, line: position.line, column: position.column }
    }
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

/// JSON text of a string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        let mut walk = Walk::new(text);
        walk.value(None).unwrap();
        walk.take_problem()
    }

    #[test]
    fn what_is_json_but_not_taken_is_named() {
        assert!(problem("[18446744073709551616]").unwrap().contains("20 digits"));
        assert!(problem("[-9223372036854775809]").is_some());
        assert!(problem("1e999").unwrap().contains("64-bit float"));
        assert_eq!(problem(r#"{"z":1,"a":{"k":1,"k":2}}"#).unwrap(), "an object has the key \"k\" twice");
        assert!(problem(r#"{"a":1,"\u0061":2}"#).is_some());
        assert_eq!(problem("[18446744073709551615,-9223372036854775808,1.5e300]"), None);
    }

    #[test]
    fn nesting_has_a_bound() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Walk::new(&deep(MAX_DEPTH)).value(None).is_ok());
        let error = Walk::new(&deep(1_000_000)).value(None).unwrap_err();
        assert!(error.reason.contains("128 levels"), "{error}");
    }

    #[test]
    fn where_nobody_wants_the_form_a_key_that_stands_twice_is_found_all_the_same() {
        for text in [r#"[1,{"b":[{"x":1}],"a":2,"b":3}]"#, r#"{"z":{"k":[],"a":1,"k":{}}}"#] {
            assert!(problem(text).unwrap().contains("twice"), "{text}");
        }
        assert_eq!(problem(r#"[{"a":{"b":1},"b":2},{"b":1,"a":[{"a":1}]},{"a":1}]"#), None);
    }
}
