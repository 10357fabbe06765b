//! JSON text: walking it once to check it, to find its members and to bring a
//! value into canonical form.
//!
//! What is refused here, and why: integers beyond 64 bits (no store but text keeps
//! them), numbers beyond a double's range, the same key twice in an object (every
//! reader would see another value), more than [`MAX_DEPTH`] levels, and whatever is
//! not JSON (RFC 8259), `NaN` and invalid UTF-8 included.

use std::ops::Range;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};

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

    /// The next member's key, or none at the object's end. `first` asks for the
    /// first one, after a peek that said `Peek::Object`.
    pub(crate) fn key(&mut self, first: bool) -> Result<Option<String>, Malformed> {
        let key = if first { self.jiter.known_object() } else { self.jiter.next_key() };
        match key {
            Ok(key) => Ok(key.map(str::to_owned)),
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

    /// The canonical form: a letter for the kind, then the content, so that no two
    /// different values have the same form. Strings and arrays carry their length, and integers
    /// have no more bytes than they need: [`expanded`] gives them those that count for a key.
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

/// Where one member of an object stands in the canonical form.
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b's');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A letter, the number of bytes, and the low ones of the number: the rest are its sign.
fn write_integer(out: &mut Vec<u8>, value: i128) {
    let bytes = value.to_le_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let mut needed = bytes.iter().rposition(|byte| *byte != sign).map_or(0, |last| last + 1);
    // The highest bit says the sign; where there is no byte, it is 0.
    let shown = needed.checked_sub(1).map_or(0, |last| bytes[last]);
    if (shown ^ sign) & 0x80 != 0 {
        needed += 1;
    }
    out.extend([b'i', needed as u8]);
    out.extend(&bytes[..needed]);
}

/// Hands on what counts for a key of a canonical form: the form itself, and of an integer its 16
/// bytes. Those would be several times the text of an array of small numbers, if they were kept.
pub(super) fn expanded(form: &[u8], mut to: impl FnMut(&[u8])) {
    let size = |at: usize| match form[at] {
        b's' => {
            let length = form[at + 1..at + 5].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            5 + length
        }
        b'a' | b'o' => 5,
        b'd' => 9,
        b'i' => 2 + usize::from(form[at + 1]),
        _ => 1,
    };
    let (mut from, mut at) = (0, 0);
    while at < form.len() {
        let next = at + size(at);
        if form[at] == b'i' {
            let low = &form[at + 2..next];
            let sign = if low.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
            let mut bytes = [sign; 16];
            bytes[..low.len()].copy_from_slice(low);
            to(&form[from..=at]);
            to(&bytes);
            from = next;
        }
        at = next;
    }
    to(&form[from..]);
}

/// A moment of Python's `isoformat` without its time zone, as Salt packs it for the event bus
/// (`salt.payload`, `ext_type_encoder`): `2026-02-14T09:30:12+01:00` is `2026-02-14T09:30:12` there.
fn without_offset(text: &str) -> &str {
    const TIME: &str = "0000-00-00T00:00:00";
    const MICROSECONDS: &str = ".000000";
    // Python writes an offset as far as it has seconds, and parts of them.
    const OFFSETS: [&str; 3] = ["00:00:00.000000", "00:00:00", "00:00"];
    if text.len() > TIME.len() && is_like(&text.as_bytes()[..TIME.len()], TIME) {
        let ends_like = |offset: &&str| {
            let from = text.len().checked_sub(offset.len() + 1)?;
            let (sign, rest) = text.as_bytes()[from..].split_first()?;
            let moment = text.as_bytes()[..from].get(TIME.len()..)?;
            (matches!(sign, b'+' | b'-')
                && is_like(rest, offset)
                && (moment.is_empty() || is_like(moment, MICROSECONDS)))
            .then_some(from)
        };
        if let Some(end) = OFFSETS.iter().find_map(ends_like) {
            return &text[..end];
        }
    }
    text
}

/// Whether it has digits where the form has them, and else what the form has.
fn is_like(text: &[u8], form: &str) -> bool {
    let fits = |(byte, form): (&u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { *byte == form };
    text.len() == form.len() && text.iter().zip(form.bytes()).all(fits)
}

/// Puts the members into the order of their keys; gives a key that stands twice.
fn sort_members(out: &mut Vec<u8>, members: &mut [Member]) -> Option<String> {
    let start = members.first()?.start;
    let key = |member: &Member| member.start..member.key_end;
    let sorted = members.windows(2).all(|pair| out[key(&pair[0])] < out[key(&pair[1])]);
    if sorted {
        return None;
    }
    members.sort_by(|a, b| out[key(a)].cmp(&out[key(b)]));
    let twice = members.windows(2).find(|pair| out[key(&pair[0])] == out[key(&pair[1])]);
    // Past the kind and the length is the key's text.
    let twice =
        twice.map(|pair| String::from_utf8_lossy(&out[pair[0].start + 5..pair[0].key_end]).into_owned());
    let ordered: Vec<u8> =
        members.iter().flat_map(|member| &out[member.start..member.end]).copied().collect();
    out.truncate(start);
    out.extend(ordered);
    twice
}

/// JSON text of a string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The most malformed lines of a body that are told one by one.
const MOST_MALFORMED: usize = 100;

/// Cuts a body into its items: one value, an array of them, or one after the other, usually
/// one a line. Where they are lines, one that is malformed is told beside the good ones. Where
/// there are more than `most`, it gives one more than that, and does not look at the rest: a
/// place for each item of two bytes would be many times the body.
///
/// # Errors
/// There is nothing to tell apart: it is no JSON as a whole.
pub(crate) fn split(body: &str, most: usize) -> Result<Vec<Result<&str, Malformed>>, Malformed> {
    let mut walk = Walk::new(body);
    if walk.peek()? == Peek::Array {
        let items = split_array(&mut walk, body, most)?;
        if items.len() <= most {
            walk.finish()?;
        }
        return Ok(items.into_iter().map(Ok).collect());
    }
    let mut items = Vec::new();
    let (mut rest, mut malformed) = (0, 0);
    while items.len() <= most && !body[rest..].trim_start().is_empty() {
        match Walk::new(&body[rest..]).skip() {
            Ok(value) => {
                items.push(Ok(&body[rest..][value.clone()]));
                rest += value.end;
            }
            Err(error) => {
                malformed += 1;
                let error = error.after(&body[..rest]);
                // One more would cost another look at all that stands before it.
                if malformed > MOST_MALFORMED {
                    return Err(error);
                }
                items.push(Err(error));
                rest += next_line(&body[rest..]);
            }
        }
    }
    match items.pop() {
        Some(Err(error)) if items.is_empty() => Err(error),
        last => Ok(items.into_iter().chain(last).collect()),
    }
}

/// Where the next item may begin after one that is malformed: at a line that begins as an
/// object does.
fn next_line(text: &str) -> usize {
    let skipped = text.len() - text.trim_start().len();
    text[skipped..].find("\n{").map_or(text.len(), |newline| skipped + newline + 1)
}

fn split_array<'a>(walk: &mut Walk<'_>, body: &'a str, most: usize) -> Result<Vec<&'a str>, Malformed> {
    let mut items = Vec::new();
    let mut next = walk.jiter.known_array();
    loop {
        match next {
            Ok(Some(_)) => items.push(&body[walk.skip()?]),
            Ok(None) => return Ok(items),
            Err(error) => return Err(walk.malformed(&error)),
        }
        if items.len() > most {
            return Ok(items);
        }
        next = walk.jiter.array_step();
    }
}

impl Malformed {
    /// Moves the position past the text that stands before.
    fn after(self, before: &str) -> Self {
        let lines = before.matches('\n').count();
        let column = match (self.line, before.rfind('\n')) {
            (1, Some(newline)) => self.column + before.len() - newline - 1,
            (1, None) => self.column + before.len(),
            _ => self.column,
        };
        Self { line: self.line + lines, column, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut walk = Walk::new(text);
        walk.value(Some(&mut out)).unwrap();
        walk.finish().unwrap();
        out
    }

    fn problem(text: &str) -> Option<String> {
        let mut walk = Walk::new(text);
        walk.value(None).unwrap();
        walk.take_problem()
    }

    #[test]
    fn spelling_does_not_change_the_canonical_form() {
        assert_eq!(
            canonical(r#"{"b": [1, "é"], "a": 1e2}"#),
            canonical("{\"a\":100.0,\"b\":[1,\"\\u00e9\"]}")
        );
        assert_eq!(canonical("18446744073709551615"), canonical(" 18446744073709551615 "));
    }

    #[test]
    fn different_values_differ() {
        let all = [
            "1",
            "1.0",
            "\"1\"",
            "true",
            "null",
            "[]",
            "{}",
            "[[],[]]",
            "[[[]]]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"["a",1]"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            "\"\"",
            "-1",
            "0",
            "-0.0",
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(canonical(a), canonical(b), "{a} and {b}");
            }
        }
    }

    /// So that a minion's return is the same by its module and by the event bus.
    #[test]
    fn a_moment_is_the_same_with_its_time_zone_and_without() {
        let moments = ["2026-02-14T09:30:12", "2026-02-14T09:30:12.345678"];
        for moment in moments {
            for offset in ["+00:00", "-03:30", "+01:00:00.000001"] {
                assert_eq!(without_offset(&format!("{moment}{offset}")), moment);
            }
        }
        let others =
            ["T09:30:12-0001", "T09:30:12.5+01:00", "T09:30:12é", "T09:30:12 +x", " 09:30:12+00:00", ""];
        for other in others.map(|end| format!("2026-02-14{end}")) {
            assert_eq!(without_offset(&other), other);
        }
        let either_way = |text: &str| {
            let mut out = Vec::new();
            Walk::new(text).value_of_either_way(&mut out).unwrap();
            out
        };
        let (with, without) = (r#"{"a":["2026-02-14T09:30:12-01:00"]}"#, r#"{"a":["2026-02-14T09:30:12"]}"#);
        assert_eq!(either_way(with), either_way(without));
        assert_ne!(canonical(with), canonical(without));
        let (with, without) = (r#"{"2026-02-14T09:30:12-01:00":1}"#, r#"{"2026-02-14T09:30:12":1}"#);
        assert_ne!(either_way(with), either_way(without));
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
    fn a_body_is_cut_into_items() {
        let good = |body| split(body, 10).unwrap().into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(good(r#" {"a":1} "#), [r#"{"a":1}"#]);
        assert_eq!(good("[{\"a\":1},\n {}]"), [r#"{"a":1}"#, "{}"]);
        assert_eq!(good("{\"a\":1}\n\n{\"b\":2}\r\n"), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(good("[]"), [""; 0]);
        let lines = split("{\"a\":1}\n{\"b\":NaN}\n{]\n{\"c\":3}\n", 10).unwrap();
        let places: Vec<Option<usize>> = lines.iter().map(|line| Some(line.as_ref().err()?.line)).collect();
        assert_eq!(places, [None, Some(2), Some(3), None]);
        assert_eq!(split("\n{\"b\":NaN}\n", 10).unwrap_err().line, 2);
        assert!(split(&"{\n".repeat(MOST_MALFORMED), MOST_MALFORMED).is_ok());
        assert!(split(&"{\n".repeat(30_000_000), 100_000).is_err());
        assert!(split("", 10).is_err());
        assert!(split("[{}] {}", 10).is_err());
    }

    #[test]
    fn a_body_is_not_cut_beyond_the_bound() {
        for body in ["{}".repeat(1000), format!("[{}0]", "0,".repeat(1000)), "{}\n".repeat(1000)] {
            assert_eq!(split(&body, 3).unwrap().len(), 4, "one more says that there are more");
            assert!(split(&body, 2000).unwrap().len() >= 1000);
        }
        // What comes behind is not looked at.
        assert_eq!(split("[1,2,3,4,]", 2).unwrap().len(), 3);
        assert_eq!(split("{}{}{}{", 2).unwrap().len(), 3);
    }

    /// The bytes that a key is a hash of.
    fn counted(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        expanded(&canonical(text), |part| out.extend(part));
        out
    }

    /// Stores know a return by its key, also those that an older host wrote.
    #[test]
    fn an_integer_counts_with_sixteen_bytes_and_is_kept_in_as_few_as_it_needs() {
        let edges =
            [0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, i64::MAX.into(), i64::MIN.into()];
        for value in edges.into_iter().chain([i128::from(u64::MAX), 1 << 63]) {
            let expected: Vec<u8> = b"i".iter().copied().chain(value.to_le_bytes()).collect();
            assert_eq!(counted(&value.to_string()), expected, "{value}");
        }
        let text = r#"{"b":[1,"i\u0001x",2.5,null],"a":{"i":-7,"s":true}}"#;
        let mut expected = b"o\x02\0\0\0s\x01\0\0\0ao\x02\0\0\0s\x01\0\0\0ii".to_vec();
        expected.extend((-7i128).to_le_bytes());
        expected.extend(b"s\x01\0\0\0sts\x01\0\0\0ba\x04\0\0\0i");
        expected.extend(1i128.to_le_bytes());
        expected.extend(b"s\x03\0\0\0i\x01xd");
        expected.extend(2.5f64.to_bits().to_le_bytes());
        expected.extend(b"n");
        assert_eq!(counted(text), expected);
        assert!(canonical(&format!("[{}0]", "0,".repeat(100_000))).len() <= 200_010);
    }

    #[test]
    fn where_nobody_wants_the_form_a_key_that_stands_twice_is_found_all_the_same() {
        for text in [r#"[1,{"b":[{"x":1}],"a":2,"b":3}]"#, r#"{"z":{"k":[],"a":1,"k":{}}}"#] {
            assert!(problem(text).unwrap().contains("twice"), "{text}");
        }
        assert_eq!(problem(r#"[{"a":{"b":1},"b":2},{"b":1,"a":[{"a":1}]},{"a":1}]"#), None);
    }
}
