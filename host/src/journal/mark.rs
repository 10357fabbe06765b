//! The last place that was acknowledged, in a file of its own.
//!
//! It is written after a flush and before the acknowledgement, and not flushed: it
//! outlives the process and may not outlive the machine. So it never says more than was
//! on disk, and a journal that ends before it has lost something.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::Seq;
use super::files::MARK;

pub(super) struct Mark(File);

impl Mark {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        options.open(directory.join(MARK)).map(Self)
    }

    /// None where nothing was marked, or what stands there is not whole.
    pub(super) fn get(&self) -> Option<Seq> {
        let mut record = [0; 12];
        self.0.read_exact_at(&mut record, 0).ok()?;
        let seq: [u8; 8] = *record.first_chunk()?;
        let sum: [u8; 4] = *record.last_chunk()?;
        (crc32fast::hash(&seq) == u32::from_le_bytes(sum)).then(|| Seq::from_le_bytes(seq))
    }

    pub(super) fn set(&self, seq: Seq) -> io::Result<()> {
        let seq = seq.to_le_bytes();
        let mut record = [0; 12];
        record[..8].copy_from_slice(&seq);
        record[8..].copy_from_slice(&crc32fast::hash(&seq).to_le_bytes());
        self.0.write_all_at(&record, 0)
    }
}
