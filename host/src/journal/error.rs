//! What can go wrong with a journal, and what to do about it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::Seq;
use super::verify::Health;

/// Why a journal is not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "cannot use `{}` for the journal: {error}\n  hint: nothing was changed; is the disk read-only or full, or does \
         the directory belong to another user? `host.data` names another one",
        path.display()
    )]
    Directory { path: PathBuf, error: std::io::Error },
    #[error(
        "`{}` is in use by another process\n  hint: two hosts cannot share `host.data`; stop the other one, or give \
         this one a directory of its own",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "there is no journal in `{}`\n  hint: `host.data` of the configuration (`--config`) says where it is; a host \
         makes one at its first start",
        directory.display()
    )]
    Nothing { directory: PathBuf },
    #[error("cannot open the journal `{}`: {error}\n  hint: {}", path.display(), hint(error))]
    Database { path: PathBuf, error: rusqlite::Error },
    #[error(
        "the journal `{}` is damaged; nothing was changed\n  {}\n  {}\n  hint: \
         `returner journal rescue` makes a new journal of what can be read, keeps the damaged one beside it, \
         and says what is missing",
        path.display(), health.damage.join("\n  "), health.readable()
    )]
    Damaged { path: PathBuf, health: Health },
    #[error(
        "the journal `{}` has the layout {found}, this host knows up to {known}\n  hint: run the version of the \
         host that wrote it, or a newer one",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
}

fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: make room, nothing that was accepted is lost",
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "nothing was changed; `returner journal rescue` makes a new journal of what can be read, and keeps \
             the damaged one beside it"
        }
        _ => "nothing was changed; is the disk read-only, or does the directory belong to another user?",
    }
}

/// Why items were not taken; none of the call was.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the journal is full: {bytes} of {limit} bytes; {}", fills(behind.as_deref()))]
    Full {
        bytes: u64,
        limit: u64,
        /// The lane that has the most before itself.
        behind: Option<String>,
    },
    #[error("the journal cannot be written: {0}")]
    Disk(String),
    #[error("the host is stopping")]
    Stopped,
}

fn fills(behind: Option<&str>) -> String {
    match behind {
        Some(behind) => format!("`{behind}` is the furthest behind"),
        None => "dead letters and the keys of what was accepted fill it: `returner dead list`".to_owned(),
    }
}

impl AppendError {
    /// The reason in one word, for metrics and programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            AppendError::Full { .. } => "full",
            AppendError::Disk(_) => "disk",
            AppendError::Stopped => "stopping",
        }
    }
}

/// Why something was not read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("the journal cannot be read: {0}")]
    Read(#[from] rusqlite::Error),
    #[error("the journal cannot be written: {0}")]
    Write(rusqlite::Error),
    #[error(
        "the item {seq} of the journal cannot be read: {reason}\n  hint: what is in front of it and other lanes are \
         delivered; stop the host and run `returner journal rescue`, which saves the rest and names what is lost"
    )]
    Item { seq: Seq, reason: String },
    #[error("the journal cannot be written now, and what a lane settled last is not on disk yet; try again")]
    Behind,
    #[error("the journal has stopped")]
    Stopped,
}
