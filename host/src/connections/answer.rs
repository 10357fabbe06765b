//! How much of an answer the host holds for a guest.

use bytesize::ByteSize;

/// The bounds of one answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerBounds {
    /// In bytes, roughly as they are in memory.
    pub(crate) bytes: u64,
    /// Rows, documents, keys or replies.
    pub(crate) rows: u64,
}

impl AnswerBounds {
    /// What to say of an answer that has more bytes than these.
    pub(super) fn too_many_bytes(self) -> TooLarge {
        TooLarge { bound: format!("{} (`limits.answer`)", ByteSize(self.bytes)) }
    }
}

/// An answer that is larger. Says which of the returner's limits that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is more than {bound}; ask for less")]
pub(super) struct TooLarge {
    bound: String,
}

/// Adds up an answer while it is read.
pub(super) struct AnswerSize {
    bounds: AnswerBounds,
    bytes: u64,
    rows: u64,
}

impl AnswerSize {
    pub(super) fn within(bounds: AnswerBounds) -> Self {
        Self { bounds, bytes: 0, rows: 0 }
    }

    /// One more row, of so many bytes.
    ///
    /// # Errors
    /// Once it is more than the host is to hold.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.rows += 1;
        self.add_to_row(bytes)?;
        match self.bounds.rows {
            rows if self.rows > rows => Err(TooLarge { bound: format!("{rows} rows (`limits.rows`)") }),
            _ => Ok(()),
        }
    }

    /// More bytes of a row that is added when it is whole.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(super) fn add_to_row(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.bytes += bytes as u64;
        if self.bytes > self.bounds.bytes { Err(self.bounds.too_many_bytes()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_named() {
        let mut size = AnswerSize::within(AnswerBounds { bytes: 100, rows: 3 });
        for _ in 0..3 {
            size.add(10).unwrap();
        }
        let error = size.add(10).unwrap_err().to_string();
        assert_eq!(error, "the answer is more than 3 rows (`limits.rows`); ask for less");
        let mut size = AnswerSize::within(AnswerBounds { bytes: 2048, rows: 3 });
        size.add(2048).unwrap();
        let error = size.add(1).unwrap_err().to_string();
        assert_eq!(error, "the answer is more than 2.0 KiB (`limits.answer`); ask for less");
    }
}
