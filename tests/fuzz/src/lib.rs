//! What the fuzz targets share: input that is nearly right.
//!
//! A target is a test named `fuzz::...` beside what it tries. As a test it runs what is
//! kept in its `__fuzz__` directory, and random input for a while
//! (`BOLERO_RANDOM_TEST_TIME_MS`); `tests/fuzz/run` runs the same for hours, led by the
//! coverage. Kept are two hundred inputs a target, those that cover most of what the whole
//! corpus of some minutes did.

pub use bolero;
use bolero::TypeGenerator;
use bolero::generator::bolero_generator;

/// One of some seeds, changed here and there. Random bytes would be refused at the door.
#[derive(Debug, Clone, TypeGenerator)]
pub struct Nearly {
    seed: u8,
    #[generator(bolero_generator::produce::<Vec<Change>>().with().len(0..12_usize))]
    changes: Vec<Change>,
}

#[derive(Debug, Clone, TypeGenerator)]
struct Change {
    at: u16,
    what: What,
}

#[derive(Debug, Clone, TypeGenerator)]
enum What {
    Byte(u8),
    Insert(u8),
    /// A word that means something to some reader.
    Word(u8),
    Remove(u8),
    Repeat(u8),
    /// A piece of another seed.
    Splice(u8, u16),
    Cut,
}

const WORDS: [&str; 40] = [
    "\0",
    "\\",
    "\"",
    "'",
    "`",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ":",
    ",",
    ";",
    "\n",
    "\t",
    "--",
    "/*",
    "*/",
    "#",
    "@",
    "&",
    "*",
    "|",
    ">",
    "!!",
    "null",
    "true",
    "-0",
    "1e999",
    "9223372036854775808",
    "NaN",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "ä",
    "$",
    ".",
    "$oid",
    "UNION SELECT",
];

impl Nearly {
    /// The input, of these seeds.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[must_use]
    pub fn of(&self, seeds: &[&[u8]]) -> Vec<u8> {
        let seed = |number: u8| seeds[usize::from(number) % seeds.len()];
        let mut bytes = seed(self.seed).to_vec();
        for Change { at, what } in &self.changes {
            let at = usize::from(*at) % (bytes.len() + 1);
            let end = |count: u8, length: usize| (at + 1 + usize::from(count % 32)).min(length);
            match what {
                What::Byte(byte) if at < bytes.len() => bytes[at] = *byte,
                What::Byte(byte) | What::Insert(byte) => bytes.insert(at, *byte),
                What::Word(number) => {
                    let word = WORDS[usize::from(*number) % WORDS.len()];
                    bytes.splice(at..at, word.bytes());
                }
                What::Remove(count) if at < bytes.len() => {
                    bytes.drain(at..end(*count, bytes.len()));
                }
                What::Repeat(count) if at < bytes.len() => {
                    let piece = bytes[at..end(*count, bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                What::Splice(number, from) => {
                    let other = seed(*number);
                    let from = usize::from(*from) % (other.len() + 1);
                    let piece = &other[from..(from + 24).min(other.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
                What::Remove(_) | What::Repeat(_) => {}
                What::Cut => bytes.truncate(at),
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn some_of_it_is_a_seed_and_most_of_it_nearly_one() {
        let seeds: [&[u8]; 2] = [b"{\"a\": 1}", b"[1, 2, 3]"];
        let counts: [AtomicUsize; 2] = Default::default();
        bolero::check!().with_type::<Nearly>().for_each(|nearly| {
            let input = nearly.of(&seeds);
            counts[usize::from(seeds.contains(&input.as_slice()))].fetch_add(1, Ordering::Relaxed);
        });
        let [nearly, same] = counts.map(AtomicUsize::into_inner);
        assert!(same > 10 && nearly > same, "{same} {nearly}");
    }
}
