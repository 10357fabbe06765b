//! `returner`: exit codes, nothing else.

use std::process::ExitCode;

/// Items are made on one thread and freed on another, which costs the system's allocator
/// a sixth of all processor time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    returner::main()
}
