//! Frames of Salt's event bus: where one message ends and the next begins.
//!
//! A frame is the map `{"head": {}, "body": BODY}` in MessagePack
//! (`salt.transport.frame.frame_msg_ipc`): bare since Salt 3007, behind its length in 3006
//! (four bytes, the greatest first). No length begins like a map does. BODY is bytes: the
//! event's tag, two line feeds, and a map in MessagePack (`salt.utils.event.SaltEvent.pack`).
//!
//! After a frame that cannot be read there is no telling where the next one begins: the
//! connection has to be made anew.

use bytes::{Buf, Bytes, BytesMut};
use rmpv::ValueRef;
use rmpv::decode::{Error as DecodeError, read_value_ref_with_max_depth};

/// The largest frame: far beyond `max_event_size`, from which on Salt trims values.
const MOST: usize = 256 << 20;

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
        let Some(frame) = find(&self.received)? else { return Ok(None) };
        let mut whole = self.received.split_to(frame.end).freeze();
        whole.advance(frame.body_start);
        whole.truncate(frame.body_length);
        Ok(Some(whole))
    }
}

/// Where a frame ends, and its body in it.
struct Place {
    end: usize,
    body_start: usize,
    body_length: usize,
}

fn find(received: &[u8]) -> Result<Option<Place>, FrameError> {
    let Some(&first) = received.first() else { return Ok(None) };
    let prefix = if matches!(first, 0x80..=0x8f | 0xde | 0xdf) { 0 } else { LENGTH };
    let Some(mut rest) = received.get(prefix..) else { return Ok(None) };
    // Reading is by reference: the body is passed over, and what has not arrived yet is
    // found out in a few steps, however large it is.
    let frame = match read_value_ref_with_max_depth(&mut rest, 16) {
        Ok(frame) => frame,
        Err(DecodeError::InvalidMarkerRead(_) | DecodeError::InvalidDataRead(_)) if received.len() < MOST => {
            return Ok(None);
        }
        Err(DecodeError::InvalidMarkerRead(_) | DecodeError::InvalidDataRead(_)) => {
            return Err(FrameError::TooLarge);
        }
        Err(error) => return Err(FrameError::Unknown(error.to_string())),
    };
    let body = body(&frame).ok_or_else(|| FrameError::Unknown("there is no `body` in it".to_owned()))?;
    let start = body.as_ptr().addr() - received.as_ptr().addr();
    Ok(Some(Place { end: received.len() - rest.len(), body_start: start, body_length: body.len() }))
}

fn body<'f>(frame: &'f ValueRef<'_>) -> Option<&'f [u8]> {
    let ValueRef::Map(members) = frame else { return None };
    members.iter().find_map(|(key, value)| match (key, value) {
        (ValueRef::String(key), ValueRef::Binary(body)) if key.as_bytes() == b"body" => Some(*body),
        (ValueRef::String(key), ValueRef::String(body)) if key.as_bytes() == b"body" => Some(body.as_bytes()),
        _ => None,
    })
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
