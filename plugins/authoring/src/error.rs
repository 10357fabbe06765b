//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why there is no new folder, no bindings or no component.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be that of a returner of one's own.
    #[error("`{name}` cannot be the name of a returner: {why}\n  hint: {hint}")]
    Name {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it.
        why: &'static str,
        /// What would do.
        hint: &'static str,
    },
    /// There is something in the place of the new folder.
    #[error("`{}` is there already\n  hint: nothing was changed; choose another name, or remove it", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The new folder cannot be written.
    #[error("cannot write `{}`: {error}\n  hint: is the disk full, or does the directory belong to another user?", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The contract that bindings are to be made of cannot be read.
    #[error("cannot make bindings of `{}`: {error}\n  hint: `wit/` of a new returner is the contract as the host speaks it", path.display())]
    Contract {
        /// The contract's folder.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// There are no bindings to be made for a language.
    #[error("bindings for `{language}` are not made by this command\n  hint: {hint}")]
    NoBindings {
        /// The language.
        language: &'static str,
        /// Who makes them.
        hint: &'static str,
    },
    /// It is no core module of WebAssembly.
    #[error(
        "it is no WebAssembly module: {0}\n  hint: this takes what `clang` or `go build` made for WASI, a `.wasm` file"
    )]
    NoModule(String),
    /// It is a component already.
    #[error(
        "it is a component already\n  hint: nothing is left to do; `returner plugins show` tells what it exports"
    )]
    IsComponent,
    /// The module exports nothing of the contract.
    #[error(
        "the module exports nothing that a returner exports\n  hint: the bindings must be linked in; for C give their \
         `.c` file to clang, too, with `-mexec-model=reactor`, for Go build with `-buildmode=c-shared`"
    )]
    NoReturner,
    /// The module and the contract do not fit.
    #[error(
        "the module does not become a component: {0}\n  hint: are its bindings those of this host's contract? `plugins bindings` makes them"
    )]
    Component(String),
}
