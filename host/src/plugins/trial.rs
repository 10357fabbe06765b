//! A trial: calls of a plugin that leave no trace.
//!
//! # Invariants
//! - Nothing that is written stays. SQL is rolled back whatever the guest answers, and what a
//!   server does not undo is refused: statements that it commits by itself, functions that are
//!   not known, tables that keep what is written, as far as the connection's user sees that they
//!   do. (A counter that numbers rows goes on all the same.) Writes elsewhere (Redis, MongoDB,
//!   HTTP, the contract's and WASI's) are held back, and answered as if they had been done.
//!   What goes by a socket is refused: nobody here knows what its peer would answer.
//! - Reading is real, and what is read is not changed by what was held back.
//! - What the guest asks for is noted, so that two plugins can be compared.

use parking_lot::Mutex;

use super::asked::{Asked, Bench, Fault};
use super::state::GuestState;
use crate::connections::{HttpRequest, HttpResponse};

/// The most calls of one plugin that are noted, and bytes of them.
const MOST_NOTED: usize = 100_000;
const MOST_BYTES: usize = 64 << 20;

/// The most bytes of one call's text; what is longer is cut.
const MOST_WHAT: usize = 8 << 10;

/// A call of the host that a guest made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Noted {
    /// For people: `sql db: INSERT INTO audit ...`.
    pub(crate) what: String,
    /// Of all that was handed over, and of the whole text.
    pub(crate) digest: [u8; 32],
}

impl Noted {
    /// Of a text that may be long.
    pub(super) fn new(what: &str, digest: [u8; 32]) -> Self {
        let what = match what.get(..what.floor_char_boundary(MOST_WHAT)) {
            Some(cut) if cut.len() < what.len() => format!("{cut}…"),
            _ => what.to_owned(),
        };
        Self { what, digest }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.what.len()
    }
}

/// What a trial's guest asks for.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// Since they were taken last.
    noted: Vec<Noted>,
    /// Of all that were noted, taken or not.
    count: usize,
    bytes: usize,
}

impl Notes {
    /// Since this was asked last.
    pub(crate) fn take(&self) -> Vec<Noted> {
        std::mem::take(&mut self.0.lock().noted)
    }

    /// What was taken and is not kept makes room for more.
    pub(crate) fn give_back(&self, noted: Vec<Noted>) {
        let mut book = self.0.lock();
        book.count = book.count.saturating_sub(noted.len());
        book.bytes = book.bytes.saturating_sub(noted.iter().map(Noted::size).sum());
    }
}

impl Bench for Notes {
    /// Noted before it has ended, because a call can be broken off.
    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut book = self.0.lock();
        for noted in asked.noted() {
            let bytes = book.bytes + noted.size();
            if book.count == MOST_NOTED || bytes > MOST_BYTES {
                break;
            }
            book.count += 1;
            book.bytes = bytes;
            book.noted.push(noted);
        }
        asked.is_by_socket().then_some(Fault::Refuses)
    }

    fn answered(&self, _: &Asked, _: &str) {}

    fn respond(&self, _: &HttpRequest, allowed: bool) -> Option<HttpResponse> {
        allowed.then(|| HttpResponse { status: 200, headers: Vec::new(), body: Vec::new() })
    }
}

impl GuestState {
    pub(super) fn is_trial(&self) -> bool {
        self.grants.trial
    }
}

/// Whether a statement reaches beyond the transaction, or may: what is not known to stay in it
/// (a procedure can commit, a file is not the server's to undo).
pub(super) fn is_beyond_rollback(statement: &str) -> bool {
    const WITHIN: [&str; 9] =
        ["DELETE", "DESCRIBE", "EXPLAIN", "INSERT", "REPLACE", "SELECT", "SHOW", "UPDATE", "WITH"];
    let statement = statement.trim_start();
    let end = statement.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(statement.len());
    let is_within = WITHIN.iter().any(|known| known.eq_ignore_ascii_case(&statement[..end]));
    // Files, and the counters of sequences; a text with one of these words is taken for more than
    // it is.
    const BEYOND: [&str; 6] = ["dumpfile", "next value", "nextval", "outfile", "previous value", "setval"];
    let lower = statement.to_ascii_lowercase();
    !is_within || BEYOND.iter().any(|beyond| lower.contains(beyond))
}

/// Whether a command of Redis only looks.
pub(super) fn only_looks(command: &[Vec<u8>]) -> bool {
    const LOOKING: [&str; 34] = [
        "DBSIZE",
        "ECHO",
        "EXISTS",
        "GET",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HKEYS",
        "HLEN",
        "HMGET",
        "HSCAN",
        "HVALS",
        "INFO",
        "LINDEX",
        "LLEN",
        "LRANGE",
        "MGET",
        "PING",
        "PTTL",
        "SCAN",
        "SCARD",
        "SISMEMBER",
        "SMEMBERS",
        "SSCAN",
        "STRLEN",
        "TIME",
        "TTL",
        "TYPE",
        "ZCARD",
        "ZCOUNT",
        "ZRANGE",
        "ZRANGEBYSCORE",
        "ZSCAN",
        "ZSCORE",
    ];
    let name = command.first().map(Vec::as_slice).unwrap_or_default();
    LOOKING.iter().any(|looking| looking.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_in_spite_of_a_rollback_is_known() {
        for beyond in [
            "create table t (a int)",
            " DROP TABLE t",
            "truncate t",
            "/* x */ INSERT INTO t VALUES (1)",
            "",
            "CALL store()",
            "execute immediate 'COMMIT'",
            "SELECT a INTO\noutfile '/tmp/a' FROM t",
            "SELECT a INTO/**/OUTFILE '/tmp/a' FROM t",
            "SELECT NEXTVAL(s)",
        ] {
            assert!(is_beyond_rollback(beyond), "{beyond}");
        }
        for within in [
            "INSERT INTO t VALUES (1)",
            "select 1",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "REPLACE INTO t VALUES (1)",
        ] {
            assert!(!is_beyond_rollback(within), "{within}");
        }
    }

    /// A guest's calls are many and long, and the host is one.
    #[test]
    fn notes_have_bounds() {
        let call = |end: &str| {
            Asked::one::<Vec<u8>>(format!("sql.execute db: {}{end}", "\u{e9}".repeat(50_000)), [])
        };
        let notes = Notes::default();
        notes.fault(&call("one"));
        notes.fault(&call("other"));
        let noted = notes.take();
        let [one, other] = noted.as_slice() else { panic!("two: {}", noted.len()) };
        assert!(one.what.len() <= MOST_WHAT + '…'.len_utf8() && one.what.ends_with("\u{e9}…"));
        assert!(one.what == other.what && one.digest != other.digest);
        let each = one.size();
        notes.give_back(noted);
        for _ in 0..10_000 {
            notes.fault(&call("one"));
        }
        let kept = notes.take();
        assert_eq!(kept.len(), MOST_BYTES / each);
        notes.fault(&call("one"));
        assert_eq!(notes.take(), [], "there is no room while they are kept");
        notes.give_back(kept);
        notes.fault(&Asked::one("redis", [b"GET"]));
        assert_eq!(notes.take().len(), 1);
    }

    #[test]
    fn a_command_that_only_looks_is_known() {
        let command = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(only_looks(&command(&["hgetall", "x"])) && only_looks(&command(&["GET", "x"])));
        assert!(!only_looks(&command(&["SET", "x", "y"])) && !only_looks(&command(&["EVAL", "x", "0"])));
        assert!(!only_looks(&[]));
    }
}
