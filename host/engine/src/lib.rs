//! The wasmtime engine that plugins run in: its settings, compiling a component,
//! and the cache of compiled code on disk.
//!
//! The host and the build script that precompiles the bundled plugins share this
//! crate, because compiled code fits only an engine with the same settings.
//!
//! Invariant: compiled code is native code that the host will run with all its
//! rights. It is taken from two places only: the host's own binary, and files that
//! this host wrote into a directory that nobody else can write to. See
//! [`cache`] for how the second is held.

mod cache;

use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

pub use cache::{Cache, CacheError};

/// How often the engine's epoch moves on: the grain in which processor time of
/// guests is bounded, and after which a guest that computes lets others run.
pub const EPOCH: Duration = Duration::from_millis(10);

/// The stack of a guest in bytes; wasmtime's own default, named because the fibers
/// that guests run on must be larger.
const WASM_STACK: usize = 512 << 10;

/// Makes an engine with the settings of this version of the host.
///
/// # Errors
/// If wasmtime does not support this machine.
pub fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // The contract has no async functions; imports suspend the guest's fiber.
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.max_wasm_stack(WASM_STACK);
    config.async_stack_size(WASM_STACK + (1 << 20));
    // What no language that makes components needs, a hostile one may use: a 64-bit memory asks
    // for more bytes than there are numbers to count them.
    config.wasm_memory64(false);
    config.wasm_component_model_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_custom_page_sizes(false);
    config.wasm_gc(false);
    config.wasm_function_references(false);
    config.wasm_wide_arithmetic(false);
    config.wasm_relaxed_simd(false);
    // A trap names the guest's functions where its name section has them.
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    Engine::new(&config)
}

/// Compiles a component to code that only [`engine`] of the same build takes.
///
/// # Errors
/// If the bytes are not a valid component.
pub fn precompile(engine: &Engine, component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    engine.precompile_component(component)
}

/// Takes compiled code that is part of the host's own binary.
///
/// # Errors
/// If the code is of an engine with other settings or another processor; compile
/// the component itself then.
///
/// # Safety
/// See [`Component::deserialize`]: the bytes must be what [`precompile`] made.
#[allow(unsafe_code, reason = "the one kind of code that wasmtime cannot check; see this crate's invariant")]
pub unsafe fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the caller's promise.
    unsafe { Component::deserialize(engine, compiled) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with one core module, which has one memory of this kind.
    fn component(memory: &[u8]) -> Vec<u8> {
        let section = [&[5, memory.len() as u8 + 1, 1], memory].concat();
        let module = [&b"\0asm\x01\0\0\0"[..], &section].concat();
        [&b"\0asm\x0d\0\x01\0"[..], &[1, module.len() as u8], &module].concat()
    }

    #[test]
    fn a_memory_has_32_bits() {
        let engine = engine().unwrap();
        precompile(&engine, &component(&[0, 1])).unwrap();
        for (flags, proposal) in [(4, "memory64"), (8, "custom page sizes")] {
            let refused = precompile(&engine, &component(&[flags, 1, 0]));
            assert!(refused.is_err(), "{proposal}");
        }
    }
}
