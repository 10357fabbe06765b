//! What a language's template needs of the machine.

use std::env;
use std::path::Path;

use crate::Language;

/// A tool that is not in `PATH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingTool {
    /// The command.
    pub what: &'static str,
    /// How to install it on Debian.
    pub debian: &'static str,
    /// How to install it elsewhere.
    pub elsewhere: &'static str,
}

const MAKE: MissingTool = MissingTool {
    what: "make",
    debian: "apt-get install make",
    elsewhere: "macOS: `xcode-select --install`; Fedora: `dnf install make`",
};

/// The tools that are not there. All of them are looked up in `PATH`; what they bring with
/// them (a library of clang's, Python's `venv`) the Makefile of the new folder looks for.
pub fn missing_tools(language: Language) -> Vec<MissingTool> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there =
        |tool: &MissingTool| env::split_paths(&path).any(|place| is_program(&place.join(tool.what)));
    needed(language).into_iter().filter(|tool| !is_there(tool)).collect()
}

fn needed(language: Language) -> Vec<MissingTool> {
    let tool = |what, debian, elsewhere| MissingTool { what, debian, elsewhere };
    let mut needed = vec![MAKE];
    needed.extend(match language {
        Language::Rust => {
            vec![tool(
                "rustup",
                "apt-get install rustup build-essential (from Debian 13 on)",
                "https://rustup.rs",
            )]
        }
        Language::Python => {
            vec![tool(
                "python3",
                "apt-get install python3 python3-venv",
                "https://www.python.org/downloads, 3.10 or newer",
            )]
        }
        Language::Javascript => {
            let elsewhere = "https://nodejs.org, version 20 or newer";
            vec![
                tool("node", "apt-get install nodejs npm", elsewhere),
                tool("npm", "apt-get install npm", elsewhere),
            ]
        }
        Language::Go => {
            vec![tool(
                "go",
                "apt-get install golang-go (Debian 13, or bookworm-backports)",
                "https://go.dev/dl, 1.21 or newer",
            )]
        }
        Language::C | Language::Cpp => {
            let debian = if language == Language::C {
                "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32"
            } else {
                "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32 libc++-dev-wasm32"
            };
            let elsewhere = if language == Language::C {
                "https://github.com/WebAssembly/wasi-sdk, and `make CC=/opt/wasi-sdk/bin/clang`"
            } else {
                "https://github.com/WebAssembly/wasi-sdk, and `make CC=/opt/wasi-sdk/bin/clang \
                 CXX=/opt/wasi-sdk/bin/clang++`"
            };
            vec![tool("clang", debian, elsewhere), tool("wasm-ld", debian, elsewhere)]
        }
    });
    needed
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.with_extension("exe").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_needs_something_and_says_how_to_get_it() {
        for language in Language::ALL {
            let needed = needed(language);
            assert!(needed.len() > 1, "{language:?}");
            assert!(
                needed
                    .iter()
                    .all(|tool| tool.debian.contains("apt-get install ") && !tool.elsewhere.is_empty())
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_program_can_be_run() {
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/etc/passwd")));
        assert!(!is_program(Path::new("/bin")));
        assert!(!is_program(Path::new("/no/such/program")));
    }
}
