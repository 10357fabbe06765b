//! Where a guest was when it was stopped, in lines for people.
//!
//! The names are the guest's own, and may be as long as it likes; what a name of C++ stands for
//! doubles with each of a few characters. So only Rust's names are written out, and each is cut.

use std::fmt::{self, Write};

use wasmtime::WasmBacktrace;

use super::words;

/// The longest name of a function, module or file, in bytes.
const LONGEST_NAME: usize = 200;

/// The longest name that is read as one of Rust's.
const LONGEST_MANGLED: usize = 4 << 10;

/// The longest text, in bytes.
const LONGEST: usize = 16 << 10;

/// The guest's functions, innermost first.
pub(super) fn text(backtrace: &WasmBacktrace) -> String {
    let mut text = "error while executing at wasm backtrace:".to_owned();
    for (number, frame) in backtrace.frames().iter().enumerate() {
        text += &format!("\n  {number:>3}: ");
        if let Some(offset) = frame.module_offset() {
            text += &format!("{offset:#8x} - ");
        }
        let called = match frame.func_name() {
            Some(name) => function(name),
            None => format!("<wasm function {}>", frame.func_index()),
        };
        text += &format!("{}!{called}", name(frame.module().name().unwrap_or("<unknown>")));
        // With its lines, where it was built with them; what was inlined is said there, too.
        for symbol in frame.symbols() {
            let Some(file) = symbol.file() else { continue };
            let inlined = symbol.name().map(function).unwrap_or_default();
            text += &format!("\n         at {}:{} {inlined}", name(file), symbol.line().unwrap_or(0));
        }
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text += "…";
            break;
        }
    }
    text
}

fn function(mangled: &str) -> String {
    if mangled.len() > LONGEST_MANGLED {
        return name(mangled);
    }
    let mut cut = Cut(String::new());
    // It ends with an error where the name is too long.
    let _ = write!(cut, "{:#}", rustc_demangle::demangle(mangled));
    words::line(&cut.0)
}

fn name(name: &str) -> String {
    let mut cut = Cut(String::new());
    let _ = cut.write_str(name);
    words::line(&cut.0)
}

/// Takes so much of a text, and then ends it.
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST_NAME.saturating_sub(self.0.len());
        self.0 += &text[..text.floor_char_boundary(room)];
        if text.len() > room {
            self.0 += "…";
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_are_written_out_and_others_stay_as_they_are() {
        assert_eq!(function("_ZN4core9panicking5panic17h0123456789abcdefE"), "core::panicking::panic");
        assert_eq!(function("_Z3fooi"), "_Z3fooi");
        assert_eq!(function("a\u{1b}[31mb"), "a [31mb");
    }

    /// Each of its levels says twice what the one below says.
    #[test]
    fn no_name_grows() {
        let levels: String = (0..40).map(|level| format!("N1aIS{level}_S{level}_E")).collect();
        for long in [format!("_Z1fI{levels}"), "x".repeat(1 << 20), "ü".repeat(LONGEST_MANGLED)] {
            assert!(function(&long).len() <= LONGEST_NAME + "…".len());
            assert!(name(&long).len() <= LONGEST_NAME + "…".len());
        }
    }
}
