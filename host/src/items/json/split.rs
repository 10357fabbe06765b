//! A body into the texts of its items.

use jiter::Peek;

use super::{Malformed, Walk};

/// The most malformed lines of a body that are told one by one.
const MOST_MALFORMED: usize = 100;

/// Cuts a body into its items: one value, an array of them, or one after the other, usually
/// one a line. One that is malformed is told beside the good ones where it can be told from them: by
/// its line, or in an array by its brackets. Where there are more than `most`, it gives one more than
/// that, and does not look at the rest: a place for each item of two bytes would be many times the
/// body.
///
/// # Errors
/// There is nothing to tell apart: it is no JSON as a whole.
pub(crate) fn split(body: &str, most: usize) -> Result<Vec<Result<&str, Malformed>>, Malformed> {
    // What editors of Windows put before UTF-8 (RFC 8259, 8.1: a parser may pass over it).
    let body = body.strip_prefix('\u{FEFF}').unwrap_or(body);
    if Walk::new(body).peek()? == Peek::Array {
        return split_array(body, most);
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

/// Cuts an array. An item that is malformed is told beside the good ones, if its end can be told
/// from its brackets.
fn split_array(body: &str, most: usize) -> Result<Vec<Result<&str, Malformed>>, Malformed> {
    let mut items = Vec::new();
    let mut malformed = 0;
    let mut rest = next_sign(body, 0) + 1;
    if body[next_sign(body, rest)..].starts_with(']') {
        return finished(body, next_sign(body, rest) + 1).map(|()| items);
    }
    loop {
        rest = match Walk::new(&body[rest..]).skip() {
            Ok(value) => {
                items.push(Ok(&body[rest..][value.clone()]));
                rest + value.end
            }
            Err(error) => {
                malformed += 1;
                let error = error.after(&body[..rest]);
                match end_of_item(&body[rest..]).filter(|_| malformed <= MOST_MALFORMED) {
                    Some(length) => {
                        items.push(Err(error));
                        rest + length
                    }
                    None => return Err(error),
                }
            }
        };
        if items.len() > most {
            return Ok(items);
        }
        let sign = next_sign(body, rest);
        rest = sign + 1;
        match body.as_bytes().get(sign) {
            Some(b',') => {}
            Some(b']') => return finished(body, rest).map(|()| items),
            _ => return Err(Malformed::at(body, sign, "expected `,` or `]`")),
        }
    }
}

/// Nothing but white space may follow.
fn finished(body: &str, rest: usize) -> Result<(), Malformed> {
    match next_sign(body, rest) {
        end if end == body.len() => Ok(()),
        more => Err(Malformed::at(body, more, "trailing characters")),
    }
}

/// Where the next thing that is not white space stands, or the end.
fn next_sign(body: &str, from: usize) -> usize {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    from + body.as_bytes()[from..].iter().take_while(|byte| is_space(byte)).count()
}

/// The length of an item of an array that is no JSON: up to the comma or bracket behind it that is
/// in no brackets and no string of its own. None if there is no such sign, or nothing before it.
fn end_of_item(text: &str) -> Option<usize> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => depth += 1,
            b',' | b']' if depth == 0 => return (next_sign(text, 0) < place).then_some(place),
            b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

impl Malformed {
    fn at(body: &str, place: usize, reason: &str) -> Self {
        Self { reason: reason.to_owned(), line: 1, column: 1 }.after(&body[..place])
    }

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

    #[test]
    fn a_body_is_cut_into_items() {
        let good = |body| split(body, 10).unwrap().into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(good(r#" {"a":1} "#), [r#"{"a":1}"#]);
        assert_eq!(good("[{\"a\":1},\n {}]"), [r#"{"a":1}"#, "{}"]);
        assert_eq!(good("{\"a\":1}\n\n{\"b\":2}\r\n"), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(good("[]"), [""; 0]);
        assert_eq!(good("\u{FEFF}[1, {}]"), ["1", "{}"]);
        let lines = split("{\"a\":1}\n{\"b\":NaN}\n{]\n{\"c\":3}\n", 10).unwrap();
        let places: Vec<Option<usize>> = lines.iter().map(|line| Some(line.as_ref().err()?.line)).collect();
        assert_eq!(places, [None, Some(2), Some(3), None]);
        assert_eq!(split("\n{\"b\":NaN}\n", 10).unwrap_err().line, 2);
        assert!(split(&"{\n".repeat(MOST_MALFORMED), MOST_MALFORMED).is_ok());
        assert!(split(&"{\n".repeat(30_000_000), 100_000).is_err());
        assert!(split("", 10).is_err());
        assert!(split("[{}] {}", 10).is_err());
    }

    /// Whoever sends ten thousand returns has to know which one it is.
    #[test]
    fn a_malformed_item_of_an_array_has_its_place() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for bad in [&deep, "NaN", r#"{"a":-NaN,"b":"],\\\"]"}"#, "[1,,]", r#"{"a" 1}"#, "trux"] {
            for body in [format!("[1,{bad},2]"), format!("[1,\n {bad}\n ,2] ")] {
                let items = split(&body, 10).unwrap();
                assert!(matches!(&items[..], [Ok("1"), Err(_), Ok("2")]), "{body}: {items:?}");
                let line = items[1].as_ref().unwrap_err().line;
                assert_eq!(line, body[..body.rfind(bad).unwrap()].lines().count().max(1), "{body}");
            }
        }
        for body in ["[1,]", "[,1]", "[1 2]", "[1,{\"a\":}", "[\"a,1]", "[1}]", "[1]]", "[", "[ ", "[NaN}]"] {
            assert!(split(body, 10).is_err(), "{body}");
        }
        assert_eq!(
            split("[1,\n  2 3]", 10).unwrap_err(),
            Malformed::at("[1,\n  2 3]", 8, "expected `,` or `]`")
        );
        assert_eq!(Malformed::at("[1,\n  2 3]", 8, "").to_string(), " at line 2, column 5");
        assert!(split(&format!("[{}1]", "x,".repeat(MOST_MALFORMED)), 1000).is_ok());
        assert!(split(&format!("[{}1]", "x,".repeat(MOST_MALFORMED + 1)), 1000).is_err());
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
}
