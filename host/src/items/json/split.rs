//! A body into the texts of its items.

use jiter::{Jiter, Peek};

use super::{Malformed, Walk};

/// The most malformed lines of a body that are told one by one.
const MOST_MALFORMED: usize = 100;

/// Cuts a body into its items: one value, an array of them, or one after the other, usually
/// one a line. One that is malformed is told beside the good ones where it can be told from them: by
/// its line, or in an array if it is certain where it ends. Where there are more than `most`, it gives one more than
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

/// Cuts an array. An item that is malformed is told beside the good ones where its end is certain;
/// where it is not, nobody can tell what else is an item.
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
                match certain_end(&body[rest..]).filter(|_| malformed <= MOST_MALFORMED) {
                    Some(length) => {
                        items.push(Err(error));
                        rest + length
                    }
                    None => return Err(error.of_item(items.len())),
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
            _ => return Err(Malformed::at(body, sign, "expected `,` or `]`").of_item(items.len() - 1)),
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

/// The length of an item that is JSON but for its depth, or for numbers that JSON has no words for
/// (`NaN`, `Infinity`, which Python writes). Of anything else that is none, such as what lacks a
/// quote or a bracket, it is not certain where it ends.
fn certain_end(text: &str) -> Option<usize> {
    let mut jiter = Jiter::new(text.as_bytes()).with_allow_inf_nan();
    // Whether each of the arrays and objects around the next value is an array.
    let mut around = Vec::new();
    let mut next = jiter.peek().ok()?;
    loop {
        let within = match next {
            Peek::Array => jiter.known_array().ok()?.map(|first| (true, first)),
            Peek::Object if jiter.known_object().ok()?.is_some() => Some((false, jiter.peek().ok()?)),
            Peek::Object => None,
            scalar => {
                jiter.known_skip(scalar).ok()?;
                None
            }
        };
        if let Some((is_array, first)) = within {
            around.push(is_array);
            next = first;
            continue;
        }
        next = loop {
            let following = match around.last() {
                None => return Some(jiter.current_index()),
                Some(true) => jiter.array_step().ok()?,
                Some(false) if jiter.next_key().ok()?.is_some() => Some(jiter.peek().ok()?),
                Some(false) => None,
            };
            match following {
                Some(following) => break following,
                None => around.pop(),
            };
        };
    }
}

impl Malformed {
    fn at(body: &str, place: usize, reason: &str) -> Self {
        Self { reason: reason.to_owned(), line: 1, column: 1 }.after(&body[..place])
    }

    /// Says which item of an array it is in.
    fn of_item(self, index: usize) -> Self {
        Self { reason: format!("in the item of index {index}, {}", self.reason), ..self }
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
        let deep_object = "{\"a\":[{}, ".repeat(500) + "1" + &"]}".repeat(500);
        for bad in [&deep, &deep_object, "NaN", r#"{"a":-Infinity,"b":"],\\\"]"}"#, "[1,[],NaN,{}]"] {
            for body in [format!("[1,{bad},{bad},2]"), format!("[1,\n {bad}\n ,{bad},2] ")] {
                let items = split(&body, 10).unwrap();
                assert!(matches!(&items[..], [Ok("1"), Err(_), Err(_), Ok("2")]), "{body}: {items:?}");
                let line = items[1].as_ref().unwrap_err().line;
                assert_eq!(line, if body.contains('\n') { 2 } else { 1 }, "{body}");
            }
        }
        assert!(split(&format!("[{}1]", "NaN,".repeat(MOST_MALFORMED)), 1000).is_ok());
        assert!(split(&format!("[{}1]", "NaN,".repeat(MOST_MALFORMED + 1)), 1000).is_err());
    }

    /// What lacks a bracket or a quote takes its neighbours along: nothing of it is an item.
    #[test]
    fn an_array_of_which_an_end_is_not_certain_is_no_array() {
        for (body, index) in [
            ("[1,]", 1),
            ("[,1]", 0),
            ("[1 2]", 0),
            ("[1,{\"a\":}", 1),
            ("[\"a,1]", 0),
            ("[1}]", 0),
            ("[NaN}]", 0),
            ("[1,[1,,],2]", 1),
            ("[1,{\"a\" 1},2]", 1),
            ("[tru,1]", 0),
            ("[{\"a\":[1,2}, {\"b\":1}, {\"c\":]}, {\"d\":1}]", 0),
            ("[{\"a\":\"x},\n{\"b\":1},\n{\"c\":1},\n{\"a\":\"x},\n{\"b\":1}]", 0),
            ("[1,{\"a\":NaN,\"b\":tru},2]", 1),
        ] {
            let error = split(body, 10).unwrap_err().to_string();
            assert!(error.starts_with(&format!("in the item of index {index}, ")), "{body}: {error}");
        }
        for body in ["[1]]", "[", "[ "] {
            assert!(split(body, 10).is_err(), "{body}");
        }
        let error = split("[1,\n  2 3]", 10).unwrap_err().to_string();
        assert_eq!(error, "in the item of index 1, expected `,` or `]` at line 2, column 5");
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
