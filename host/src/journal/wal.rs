//! SQLite's write-ahead log, as far as it takes to see whether it is damaged.
//!
//! SQLite takes a log up to the first frame that does not fit and forgets the rest: right
//! for a write that was torn by a power cut, and a silent loss where a disk has damaged
//! what was flushed. The two can be told apart: the writer flushes each transaction
//! before it begins the next, so a frame that does not fit, with a whole transaction and
//! the begin of another behind it, was flushed and is damaged.
//!
//! The format is described in <https://www.sqlite.org/fileformat2.html#walformat>.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::files::log_of;
use super::schema::PAGE;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// With the lowest bit set, checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// A damaged frame of the log, counted from 1, and how many whole ones are behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) frame: usize,
    pub(super) behind: usize,
}

/// Whether something stands in the log. SQLite throws that away where the database is empty.
pub(super) fn has_frames(database: &Path) -> bool {
    fs::metadata(log_of(database)).is_ok_and(|log| log.len() > (HEADER + FRAME_HEADER) as u64)
}

/// How many pages of the database the log does not have, and of how many.
pub(super) fn lacking(database: &Path) -> io::Result<(usize, usize)> {
    match fs::read(log_of(database)) {
        Ok(bytes) => Ok(Wal::parse(bytes).map_or((0, 0), |wal| wal.lacking())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
        Err(error) => Err(error),
    }
}

/// Looks for damage that SQLite would take for the log's end.
pub(super) fn look(database: &Path) -> io::Result<Option<Damage>> {
    match fs::read(log_of(database)) {
        Ok(bytes) => Ok(Wal::parse(bytes).and_then(|wal| wal.damage())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes every whole frame count again, also those behind a damaged one, so that rows
/// can be read that stand there. What the damaged frame holds is as damaged as before.
pub(super) fn mend(database: &Path) -> io::Result<()> {
    let path = log_of(database);
    match fs::read(&path) {
        Ok(bytes) => match Wal::parse(bytes).filter(|wal| wal.damage().is_some()) {
            Some(wal) => fs::write(&path, wal.mended()),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

type Check = (u32, u32);

struct Wal {
    bytes: Vec<u8>,
    page: usize,
    big_endian: bool,
    salts: [u8; 8],
    header_fits: bool,
}

impl Wal {
    /// None where there is no frame, or nothing that could be a log.
    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() <= HEADER + FRAME_HEADER {
            return None;
        }
        let magic = word(&bytes, 0);
        let big_endian = magic & 1 == 1;
        let mut wal =
            Self { page: word(&bytes, 8) as usize, big_endian, salts: [0; 8], bytes, header_fits: true };
        wal.header_fits = magic & !1 == MAGIC && wal.sum((0, 0), 0..24) == wal.check(24);
        if !wal.header_fits {
            // The host's own page size and byte order; the salts as the frames have them.
            (wal.page, wal.big_endian) = (PAGE as usize, false);
        }
        let salts = if wal.header_fits { 16 } else { HEADER + 8 };
        wal.salts = *wal.bytes.get(salts..)?.first_chunk()?;
        Some(wal)
    }

    fn frames(&self) -> usize {
        (self.bytes.len() - HEADER) / (FRAME_HEADER + self.page)
    }

    fn start(&self, frame: usize) -> usize {
        HEADER + frame * (FRAME_HEADER + self.page)
    }

    /// Whether a frame is what was written after the one before it.
    fn fits(&self, frame: usize) -> bool {
        let start = self.start(frame);
        let before = if frame == 0 { self.check(24) } else { self.check(self.start(frame - 1) + 16) };
        self.bytes[start + 8..start + 16] == self.salts
            && self.frame_sum(before, frame) == self.check(start + 16)
    }

    fn commits(&self, frame: usize) -> bool {
        word(&self.bytes, self.start(frame) + 4) != 0
    }

    fn lacking(&self) -> (usize, usize) {
        let (mut had, mut written, mut pages) = (HashSet::new(), Vec::new(), 0);
        for frame in (0..self.frames()).take_while(|frame| self.fits(*frame)) {
            written.push(word(&self.bytes, self.start(frame)) as usize);
            if self.commits(frame) {
                pages = word(&self.bytes, self.start(frame) + 4) as usize;
                had.extend(written.drain(..));
            }
        }
        ((1..=pages).filter(|page| !had.contains(page)).count(), pages)
    }

    /// The frames that fit each on its own, behind the first that does not.
    fn damage(&self) -> Option<Damage> {
        let frames = self.frames();
        let first = if self.header_fits { (0..frames).find(|frame| !self.fits(*frame))? } else { 0 };
        let fits: Vec<usize> = (first + 1..frames).filter(|frame| self.fits(*frame)).collect();
        let flushed =
            fits.iter().any(|frame| self.commits(*frame) && fits.binary_search(&(frame + 1)).is_ok());
        (flushed || (!self.header_fits && !fits.is_empty()))
            .then_some(Damage { frame: first + 1, behind: fits.len() })
    }

    fn mended(mut self) -> Vec<u8> {
        let last = (0..self.frames()).rfind(|frame| *frame == 0 || self.fits(*frame)).unwrap_or(0);
        if !self.header_fits {
            let header = [MAGIC, 3_007_000, PAGE, 0].map(u32::to_be_bytes).concat();
            self.bytes[..16].copy_from_slice(&header);
            self.bytes[16..24].copy_from_slice(&self.salts);
            let sum = self.sum((0, 0), 0..24);
            self.put(24, sum);
        }
        let mut check = self.check(24);
        for frame in 0..=last {
            let start = self.start(frame);
            self.bytes[start + 8..start + 16].copy_from_slice(&self.salts);
            check = self.frame_sum(check, frame);
            self.put(start + 16, check);
        }
        let end = self.start(last + 1);
        self.bytes.truncate(end);
        self.bytes
    }

    fn frame_sum(&self, before: Check, frame: usize) -> Check {
        let start = self.start(frame);
        let check = self.sum(before, start..start + 8);
        self.sum(check, start + FRAME_HEADER..start + FRAME_HEADER + self.page)
    }

    fn sum(&self, (mut first, mut second): Check, range: Range<usize>) -> Check {
        for [a, b] in self.bytes[range].as_chunks::<4>().0.as_chunks::<2>().0 {
            let value = |bytes: &[u8; 4]| match self.big_endian {
                true => u32::from_be_bytes(*bytes),
                false => u32::from_le_bytes(*bytes),
            };
            first = first.wrapping_add(value(a)).wrapping_add(second);
            second = second.wrapping_add(value(b)).wrapping_add(first);
        }
        (first, second)
    }

    fn check(&self, at: usize) -> Check {
        (word(&self.bytes, at), word(&self.bytes, at + 4))
    }

    fn put(&mut self, at: usize, (first, second): Check) {
        self.bytes[at..at + 4].copy_from_slice(&first.to_be_bytes());
        self.bytes[at + 4..at + 8].copy_from_slice(&second.to_be_bytes());
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
}
