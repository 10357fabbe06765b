//! What a guest says, made fit for a log, a terminal and the journal: it must not forge
//! lines, steer a terminal, or fill a disk.

use bytesize::ByteSize;

/// The longest text that is kept, in bytes.
pub(super) const LONGEST: usize = 8 << 10;

/// The longest that stands in a line of the host's, in bytes: the whole is where the line is about.
const BRIEF: usize = 200;

/// The longest name, in bytes.
const SHORT: usize = 100;

/// What it takes to say that something was cut, in bytes.
const MARK: usize = 32;

/// On one line, and cut to a measure; says so where it is cut.
pub(super) fn line(text: &str) -> String {
    cut(text, LONGEST)
}

/// A name: the same to another measure.
pub(super) fn short(text: &str) -> String {
    cut(text, SHORT)
}

/// What a plugin says, in a line of the host's log, or where much of it is kept. In short it stays
/// as it is.
pub(crate) fn brief(text: &str) -> String {
    cut(text, BRIEF)
}

/// The beginning and the end of lines, no longer together than what is brief.
pub(crate) fn brief_lines(text: &str) -> String {
    if text.len() <= BRIEF {
        return lines(text);
    }
    let part = (BRIEF - MARK) / 2;
    let (first, last) = (text.floor_char_boundary(part), text.ceil_char_boundary(text.len() - part));
    let left_out = ByteSize((last - first) as u64);
    lines(&format!("{}\n[{left_out} cut]\n{}", &text[..first], &text[last..]))
}

fn cut(text: &str, longest: usize) -> String {
    let is_whole = text.len() <= longest;
    let end = if is_whole { longest } else { longest - MARK };
    let shown = text[..text.floor_char_boundary(end)].chars();
    let mut line: String = shown.map(|c| if steers(c) { ' ' } else { c }).collect();
    if !is_whole {
        line += &format!("… ({}, cut)", ByteSize(text.len() as u64));
    }
    line
}

/// With its lines, and nothing that steers a terminal.
pub(crate) fn lines(text: &str) -> String {
    let is_fit = |c: char| !steers(c) || matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_fit(c) { c } else { ' ' }).collect()
}

/// Whether it is no letter but tells whoever shows it what to do: a control, what Unicode calls a
/// line or paragraph separator, or one of those that turn the direction of the text around them
/// (the property `Bidi_Control`), so that it reads otherwise than it is.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_no_longer_than_the_measure() {
        assert_eq!(line("a\nb\u{1b}[31m\0c"), "a b [31m c");
        assert_eq!(line(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
        let cut = line(&"ä".repeat(5 << 20));
        assert!(cut.len() < LONGEST + 32 && cut.ends_with("… (10.0 MiB, cut)"));
    }

    #[test]
    fn a_name_is_short_and_steers_no_terminal() {
        assert_eq!(short("\u{1b}]0;x\u{7}"), " ]0;x ");
        assert_eq!(short(&"x".repeat(SHORT)), "x".repeat(SHORT));
        assert!(short(&"x".repeat(1 << 20)).len() < SHORT + 32);
    }

    #[test]
    fn what_is_brief_stays_as_it_is() {
        for long in ["x".repeat(BRIEF + 1), "ü".repeat(5 << 20)] {
            let cut = brief(&long);
            assert!(cut.len() <= BRIEF && cut.ends_with(", cut)"), "{cut}");
            assert_eq!(brief(&cut), cut);
            let ends = brief_lines(&format!("first\n{long}\nlast"));
            assert!(ends.len() <= BRIEF && ends.starts_with("first\n") && ends.ends_with("\nlast"), "{ends}");
            assert_eq!(brief_lines(&ends), ends);
        }
        assert_eq!(brief_lines("a\nb\u{1b}"), "a\nb ");
    }

    #[test]
    fn nothing_turns_the_text_around_it() {
        let turned = "ok \u{202e}deliaf\u{202c}\u{2066}\u{2069}\u{200f}\u{61c}\u{2028}.";
        assert_eq!(line(turned), "ok  deliaf      .");
        assert_eq!(lines(turned), line(turned));
        assert_eq!(line("é 👩\u{200d}🚀 नमस्ते"), "é 👩\u{200d}🚀 नमस्ते", "what joins letters is one of them");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(lines("a\n\tb\r\u{7}"), "a\n\tb  ");
    }
}
