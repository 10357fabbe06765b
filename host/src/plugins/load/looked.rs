//! What is seen of a component before it is compiled.

use sha2::{Digest, Sha256};

use super::LoadError;
use crate::plugins::parts::{self, Parts, TooMuch};
use crate::plugins::words;

/// A component that was looked at, which takes a while for a large one.
pub(super) struct Looked {
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: String,
    pub(super) parts: Result<Parts, LoadError>,
}

impl Looked {
    pub(super) fn at(what: &str, bytes: Vec<u8>) -> Self {
        Self { sha256: hex::encode(Sha256::digest(&bytes)), parts: look(what, &bytes), bytes }
    }
}

/// Tells apart what is no component before compiling says so in its own words, and what is too much
/// to instantiate.
pub(super) fn look(what: &str, bytes: &[u8]) -> Result<Parts, LoadError> {
    let what = || what.to_owned();
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => parts::of(bytes).map_err(|reason| match reason {
            TooMuch::Damaged(error) => {
                LoadError::Damaged { what: what(), reason: words::line(&error.to_string()) }
            }
            reason => LoadError::TooMuch { what: what(), reason },
        }),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule { what: what() }),
        [0, b'a', b's', b'm', ..] => {
            Err(LoadError::Damaged { what: what(), reason: "its version is unknown".to_owned() })
        }
        _ => Err(LoadError::NotWasm { what: what() }),
    }
}
