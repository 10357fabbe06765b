//! The canonical form of a JSON value: the same bytes for every spelling of it.
//!
//! A letter for the kind, then the content, so that no two different values have the same form.
//! Strings, arrays and objects carry their length, objects are in the order of their keys, and
//! integers have no more bytes than they need: [`expanded`] gives them those that count for a key.

/// Where one member of an object stands in the canonical form.
pub(super) struct Member {
    pub(super) start: usize,
    pub(super) key_end: usize,
    pub(super) end: usize,
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b's');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A letter, the number of bytes, and the low ones of the number: the rest are its sign.
pub(super) fn write_integer(out: &mut Vec<u8>, value: i128) {
    let bytes = value.to_le_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let mut needed = bytes.iter().rposition(|byte| *byte != sign).map_or(0, |last| last + 1);
    // The highest bit says the sign; where there is no byte, it is 0.
    let shown = needed.checked_sub(1).map_or(0, |last| bytes[last]);
    if (shown ^ sign) & 0x80 != 0 {
        needed += 1;
    }
    out.extend([b'i', needed as u8]);
    out.extend(&bytes[..needed]);
}

/// Hands on what counts for a key of a canonical form: the form itself, and of an integer its 16
/// bytes. Those would be several times the text of an array of small numbers, if they were kept.
pub(in crate::items) fn expanded(form: &[u8], mut to: impl FnMut(&[u8])) {
    let size = |at: usize| match form[at] {
        b's' => {
            let length = form[at + 1..at + 5].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            5 + length
        }
        b'a' | b'o' => 5,
        b'd' => 9,
        b'i' => 2 + usize::from(form[at + 1]),
        _ => 1,
    };
    let (mut from, mut at) = (0, 0);
    while at < form.len() {
        let next = at + size(at);
        if form[at] == b'i' {
            let low = &form[at + 2..next];
            let sign = if low.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
            let mut bytes = [sign; 16];
            bytes[..low.len()].copy_from_slice(low);
            to(&form[from..=at]);
            to(&bytes);
            from = next;
        }
        at = next;
    }
    to(&form[from..]);
}

/// A moment of Python's `isoformat` without its time zone, as Salt packs it for the event bus
/// (`salt.payload`, `ext_type_encoder`): `2026-02-14T09:30:12+01:00` is `2026-02-14T09:30:12` there.
pub(super) fn without_offset(text: &str) -> &str {
    const TIME: &str = "0000-00-00T00:00:00";
    const MICROSECONDS: &str = ".000000";
    // Python writes an offset as far as it has seconds, and parts of them.
    const OFFSETS: [&str; 3] = ["00:00:00.000000", "00:00:00", "00:00"];
    if text.len() > TIME.len() && is_like(&text.as_bytes()[..TIME.len()], TIME) {
        let ends_like = |offset: &&str| {
            let from = text.len().checked_sub(offset.len() + 1)?;
            let (sign, rest) = text.as_bytes()[from..].split_first()?;
            let moment = text.as_bytes()[..from].get(TIME.len()..)?;
            (matches!(sign, b'+' | b'-')
                && is_like(rest, offset)
                && (moment.is_empty() || is_like(moment, MICROSECONDS)))
            .then_some(from)
        };
        if let Some(end) = OFFSETS.iter().find_map(ends_like) {
            return &text[..end];
        }
    }
    text
}

/// Whether it has digits where the form has them, and else what the form has.
fn is_like(text: &[u8], form: &str) -> bool {
    let fits = |(byte, form): (&u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { *byte == form };
    text.len() == form.len() && text.iter().zip(form.bytes()).all(fits)
}

/// Puts the members into the order of their keys; gives a key that stands twice.
pub(super) fn sort_members(out: &mut Vec<u8>, members: &mut [Member]) -> Option<String> {
    let start = members.first()?.start;
    let key = |member: &Member| member.start..member.key_end;
    let sorted = members.windows(2).all(|pair| out[key(&pair[0])] < out[key(&pair[1])]);
    if sorted {
        return None;
    }
    members.sort_by(|a, b| out[key(a)].cmp(&out[key(b)]));
    let twice = members.windows(2).find(|pair| out[key(&pair[0])] == out[key(&pair[1])]);
    // Past the kind and the length is the key's text.
    let twice =
        twice.map(|pair| String::from_utf8_lossy(&out[pair[0].start + 5..pair[0].key_end]).into_owned());
    let ordered: Vec<u8> =
        members.iter().flat_map(|member| &out[member.start..member.end]).copied().collect();
    out.truncate(start);
    out.extend(ordered);
    twice
}

#[cfg(test)]
mod tests {
    use super::super::Walk;
    use super::*;

    fn canonical(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut walk = Walk::new(text);
        walk.value(Some(&mut out)).unwrap();
        walk.finish().unwrap();
        out
    }

    #[test]
    fn spelling_does_not_change_the_canonical_form() {
        assert_eq!(
            canonical(r#"{"b": [1, "é"], "a": 1e2}"#),
            canonical("{\"a\":100.0,\"b\":[1,\"\\u00e9\"]}")
        );
        assert_eq!(canonical("18446744073709551615"), canonical(" 18446744073709551615 "));
    }

    #[test]
    fn different_values_differ() {
        let all = [
            "1",
            "1.0",
            "\"1\"",
            "true",
            "null",
            "[]",
            "{}",
            "[[],[]]",
            "[[[]]]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"["a",1]"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            "\"\"",
            "-1",
            "0",
            "-0.0",
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(canonical(a), canonical(b), "{a} and {b}");
            }
        }
    }

    /// So that a minion's return is the same by its module and by the event bus.
    #[test]
    fn a_moment_is_the_same_with_its_time_zone_and_without() {
        let moments = ["2026-02-14T09:30:12", "2026-02-14T09:30:12.345678"];
        for moment in moments {
            for offset in ["+00:00", "-03:30", "+01:00:00.000001"] {
                assert_eq!(without_offset(&format!("{moment}{offset}")), moment);
            }
        }
        let others =
            ["T09:30:12-0001", "T09:30:12.5+01:00", "T09:30:12é", "T09:30:12 +x", " 09:30:12+00:00", ""];
        for other in others.map(|end| format!("2026-02-14{end}")) {
            assert_eq!(without_offset(&other), other);
        }
        let either_way = |text: &str| {
            let mut out = Vec::new();
            Walk::new(text).value_of_either_way(&mut out).unwrap();
            out
        };
        let (with, without) = (r#"{"a":["2026-02-14T09:30:12-01:00"]}"#, r#"{"a":["2026-02-14T09:30:12"]}"#);
        assert_eq!(either_way(with), either_way(without));
        assert_ne!(canonical(with), canonical(without));
        let (with, without) = (r#"{"2026-02-14T09:30:12-01:00":1}"#, r#"{"2026-02-14T09:30:12":1}"#);
        assert_ne!(either_way(with), either_way(without));
    }

    /// The bytes that a key is a hash of.
    fn counted(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        expanded(&canonical(text), |part| out.extend(part));
        out
    }

    /// Stores know a return by its key, also those that an older host wrote.
    #[test]
    fn an_integer_counts_with_sixteen_bytes_and_is_kept_in_as_few_as_it_needs() {
        let edges =
            [0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, i64::MAX.into(), i64::MIN.into()];
        for value in edges.into_iter().chain([i128::from(u64::MAX), 1 << 63]) {
            let expected: Vec<u8> = b"i".iter().copied().chain(value.to_le_bytes()).collect();
            assert_eq!(counted(&value.to_string()), expected, "{value}");
        }
        let text = r#"{"b":[1,"i\u0001x",2.5,null],"a":{"i":-7,"s":true}}"#;
        let mut expected = b"o\x02\0\0\0s\x01\0\0\0ao\x02\0\0\0s\x01\0\0\0ii".to_vec();
        expected.extend((-7i128).to_le_bytes());
        expected.extend(b"s\x01\0\0\0sts\x01\0\0\0ba\x04\0\0\0i");
        expected.extend(1i128.to_le_bytes());
        expected.extend(b"s\x03\0\0\0i\x01xd");
        expected.extend(2.5f64.to_bits().to_le_bytes());
        expected.extend(b"n");
        assert_eq!(counted(text), expected);
        assert!(canonical(&format!("[{}0]", "0,".repeat(100_000))).len() <= 200_010);
    }
}
