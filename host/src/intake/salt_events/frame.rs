//! Frames of Salt's event bus: where one message ends and the next begins.
//!
//! A frame is the map `{"head": {}, "body": BODY}` in MessagePack
//! (`salt.transport.frame.frame_msg_ipc`): bare since Salt 3007, behind its length in 3006
//! (four bytes, the greatest first). No length begins like a map does. BODY is bytes: the
//! event's tag, two line feeds, and a map in MessagePack (`salt.utils.event.SaltEvent.pack`).
//!
//! What stands beside the body is small ([`HEAD`]), and the body is never looked into: to know
//! that it has not arrived whole takes a few steps, however large it is. After a frame that
//! cannot be read there is no telling where the next one begins: the connection has to be
//! made anew.

use bytes::{Buf, Bytes, BytesMut};
use rmpv::ValueRef;
use rmpv::decode::{Error as DecodeError, read_value_ref_with_max_depth};

/// The largest body, in bytes: far beyond `max_event_size`, from which on Salt trims values.
const MOST: usize = 32 << 20;

/// The most bytes of what stands beside the body.
const HEAD: usize = 4096;

const LENGTH: usize = 4;

/// What a connection has received and not given out yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    received: BytesMut,
}

/// What arrived is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("what it sent is no message of Salt's: {0}")]
    Unknown(String),
    #[error("a message of it is larger than {MOST} bytes")]
    TooLarge,
}

impl Frames {
    /// Where to put what is received.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// The body of the next whole frame, if it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(place) = find(&self.received)? else { return Ok(None) };
        let mut whole = self.received.split_to(place.end).freeze();
        whole.advance(place.body);
        whole.truncate(place.length);
        Ok(Some(whole))
    }
}

/// Where a frame ends, and its body in it.
struct Place {
    end: usize,
    body: usize,
    length: usize,
}

/// What is missing is `None`.
fn find(received: &[u8]) -> Result<Option<Place>, FrameError> {
    let Some(&first) = received.first() else { return Ok(None) };
    let prefix = if matches!(first, 0x80..=0x8f | 0xde | 0xdf) { 0 } else { LENGTH };
    let Some(&marker) = received.get(prefix) else { return Ok(None) };
    // Two members; a map that says how many it has in more than one byte is none of Salt's.
    if marker != 0x82 {
        return Err(FrameError::Unknown(format!("it begins with {first:#04x}")));
    }
    let (mut at, mut body) = (prefix + 1, None);
    for _ in 0..2 {
        let Some((name, after)) = small(received, at)? else { return Ok(None) };
        let ValueRef::String(name) = name else {
            return Err(FrameError::Unknown("it has a member without a name".to_owned()));
        };
        at = after;
        if name.as_bytes() == b"body" {
            let Some((start, length)) = bytes_at(received, at)? else { return Ok(None) };
            body = Some((start, length));
            at = start + length;
        } else {
            let Some((_, after)) = small(received, at)? else { return Ok(None) };
            at = after;
        }
    }
    let (body, length) = body.ok_or_else(|| FrameError::Unknown("there is no `body` in it".to_owned()))?;
    Ok((at <= received.len()).then_some(Place { end: at, body, length }))
}

/// A value that is not the body, and where it ends.
fn small(received: &[u8], at: usize) -> Result<Option<(ValueRef<'_>, usize)>, FrameError> {
    let Some(rest) = received.get(at..) else { return Ok(None) };
    let window = &rest[..rest.len().min(HEAD)];
    let mut left = window;
    match read_value_ref_with_max_depth(&mut left, 16) {
        Ok(value) => Ok(Some((value, at + window.len() - left.len()))),
        Err(DecodeError::InvalidMarkerRead(_) | DecodeError::InvalidDataRead(_)) if window.len() < HEAD => {
            Ok(None)
        }
        Err(error) => Err(FrameError::Unknown(error.to_string())),
    }
}

/// Where bytes or text begin, and how many there are; they need not have arrived.
fn bytes_at(received: &[u8], at: usize) -> Result<Option<(usize, usize)>, FrameError> {
    let Some(&marker) = received.get(at) else { return Ok(None) };
    let width = match marker {
        0xc4 | 0xd9 => 1,
        0xc5 | 0xda => 2,
        0xc6 | 0xdb => 4,
        0xa0..=0xbf => 0,
        _ => return Err(FrameError::Unknown(format!("its body begins with {marker:#04x}"))),
    };
    let Some(said) = received.get(at + 1..at + 1 + width) else { return Ok(None) };
    let length = match width {
        0 => usize::from(marker & 0x1f),
        _ => said.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
    };
    if length > MOST { Err(FrameError::TooLarge) } else { Ok(Some((at + 1 + width, length))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rmpv::Value;

    use super::*;

    /// As 3007 and 3008 send it.
    fn bare(body: &[u8]) -> Vec<u8> {
        let members =
            vec![("head".into(), Value::Map(vec![])), ("body".into(), Value::Binary(body.to_vec()))];
        let mut frame = Vec::new();
        rmpv::encode::write_value(&mut frame, &Value::Map(members)).expect("memory can be written to");
        frame
    }

    /// As 3006 sends it.
    fn prefixed(body: &[u8]) -> Vec<u8> {
        let frame = bare(body);
        [&(frame.len() as u32).to_be_bytes()[..], &frame].concat()
    }

    #[test]
    fn a_frame_begins_as_it_was_captured() {
        assert_eq!(bare(b"ab"), b"\x82\xa4head\x80\xa4body\xc4\x02ab");
    }

    /// The head is never large, and a body's length is believed before it has come.
    #[test]
    fn what_would_fill_the_memory_is_refused_at_once() {
        let mut frames = Frames::default();
        frames.buffer().extend_from_slice(b"\x82\xa4head\x80\xa4body\xc6\xff\xff\xff\xff");
        assert!(matches!(frames.next(), Err(FrameError::TooLarge)));
        let mut frames = Frames::default();
        frames.buffer().extend_from_slice(b"\x82\xa4head\xdd\xff\xff\xff\xff");
        frames.buffer().extend_from_slice(&[0xc0; HEAD]);
        assert!(matches!(frames.next(), Err(FrameError::Unknown(_))));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for wrong in [&b"\x81\xa4head\x80"[..], b"HTTP/1.1 400 Bad Request\r\n", b"\x00\x00\x00\x01\x2a"] {
            let mut frames = Frames::default();
            frames.buffer().extend_from_slice(wrong);
            assert!(frames.next().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// However the bytes are cut on their way.
        #[test]
        fn every_body_comes_out_in_order(
            bodies in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..70_000), any::<bool>()), 0..5),
            cut in 1usize..9_000,
        ) {
            let sent: Vec<u8> =
                bodies.iter().flat_map(|(body, old)| if *old { prefixed(body) } else { bare(body) }).collect();
            let mut frames = Frames::default();
            let mut received = Vec::new();
            for piece in sent.chunks(cut) {
                frames.buffer().extend_from_slice(piece);
                while let Some(body) = frames.next().expect("a frame") {
                    received.push(body.to_vec());
                }
            }
            let expected: Vec<Vec<u8>> = bodies.into_iter().map(|(body, _)| body).collect();
            prop_assert_eq!(received, expected);
            prop_assert!(frames.buffer().is_empty());
        }
    }
}
