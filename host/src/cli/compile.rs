//! `returner compile`: compiles one component, for a host that has started this and gives it
//! over. Nobody else calls it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::plugins::{CompileBounds, compile_alone};

#[derive(Debug, Args)]
pub(super) struct Compile {
    /// Bytes of address space
    #[arg(long)]
    memory: u64,
    /// Seconds of processor time
    #[arg(long)]
    processor: u64,
    /// Bytes of compiled code
    #[arg(long)]
    output: u64,
    /// The process with which this one ends
    #[arg(long)]
    parent: u32,
}

impl Compile {
    pub(super) fn run(self) -> ExitCode {
        let Self { memory, processor, output, parent } = self;
        // Time on the wall is who started it to look at.
        compile_alone(&CompileBounds { memory, processor, output, time: Duration::MAX }, parent)
    }
}
