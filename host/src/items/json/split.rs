//! A body into the texts of its items.

use jiter::Peek;

use super::{Malformed, Walk};

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
}
