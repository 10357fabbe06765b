//! JSON in a column of the type `jsonb`, which cannot hold all of it.

/// Stands before the code of what PostgreSQL's JSON cannot hold; and that of itself.
const MARK: char = '␀';
const MARKED: &str = "␀2400";

/// A return's JSON for a column: PostgreSQL's has no NUL and no half of a surrogate pair. They
/// are kept as a sign that is shown, and their code: `\u0000` as `␀0000`, a `␀` itself as `␀2400`.
pub fn jsonb(json: &str) -> String {
    let mut written = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find(['\\', MARK]) {
        let (before, sign) = rest.split_at(at);
        written.push_str(before);
        let length = match unit(sign) {
            None if sign.starts_with(MARK) => {
                written.push_str(MARKED);
                MARK.len_utf8()
            }
            Some(0xd800..0xdc00) if matches!(unit(&sign[6..]), Some(0xdc00..0xe000)) => {
                written.push_str(&sign[..12]);
                12
            }
            Some(code @ (0 | 0x2400 | 0xd800..0xe000)) => {
                written.push_str(&format!("{MARK}{code:04x}"));
                6
            }
            // Any other sign after a backslash is one byte.
            _ => {
                written.push_str(&sign[..2.min(sign.len())]);
                2.min(sign.len())
            }
        };
        rest = &sign[length..];
    }
    written.push_str(rest);
    written
}

/// The return's JSON of what stands in a column.
pub fn json_of(column: &str) -> String {
    let mut parts = column.split(MARK);
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..4) {
            Some("2400") => written.push(MARK),
            Some(code) => written.push_str(&format!("\\u{code}")),
            // Written by somebody else.
            None => written.push(MARK),
        }
        written.push_str(part.get(4..).unwrap_or(part));
    }
    written
}

/// The code unit of `\u1234`.
fn unit(escape: &str) -> Option<u32> {
    u32::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_cannot_hold_comes_back() {
        for (salts, column) in [
            (r#""a\u0000b""#, r#""a␀0000b""#),
            (r#""\\u0000""#, r#""\\u0000""#),
            (r#""\ud83d\ude00 \n""#, r#""\ud83d\ude00 \n""#),
            (r#""\ud83d x""#, r#""␀d83d x""#),
            (r#""␀0000""#, r#""␀24000000""#),
        ] {
            assert_eq!((jsonb(salts).as_str(), json_of(column).as_str()), (column, salts));
        }
        assert_eq!(json_of("\"\u{2400}\""), "\"\u{2400}\"");
    }
}
