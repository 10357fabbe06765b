//! The four bundled plugins, inside the binary: each as a component, and as code
//! compiled for the machine that built it.

use wasmtime::Engine;
use wasmtime::component::Component;

/// A plugin that is part of the binary.
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// `mysql`, `mongo`, `redis` or `sqlite`.
    pub name: &'static str,
    /// The component, as its build made it.
    pub component: &'static [u8],
    compiled: &'static [u8],
}

macro_rules! plugin {
    ($name:literal) => {
        Plugin {
            name: $name,
            component: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")),
            compiled: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".cwasm")),
        }
    };
}

/// Stores in MySQL and MariaDB.
pub const MYSQL: Plugin = plugin!("mysql");
/// Stores in MongoDB.
pub const MONGO: Plugin = plugin!("mongo");
/// Stores in Redis.
pub const REDIS: Plugin = plugin!("redis");
/// Stores in an SQLite file.
pub const SQLITE: Plugin = plugin!("sqlite");

impl Plugin {
    /// Gives the component, ready to run. Where the compiled code does not fit (the
    /// binary was built on a machine with another processor) it is compiled now,
    /// which takes some hundred milliseconds.
    ///
    /// # Errors
    /// If the engine is not [`returner_engine::engine`]'s.
    pub fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        self.load_compiled(engine).or_else(|_| Component::new(engine, self.component))
    }

    #[allow(unsafe_code, reason = "the compiled code is part of this binary")]
    fn load_compiled(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: this crate's build script made it with `returner_engine::precompile`,
        // and nobody could alter it who could not alter the program.
        unsafe { returner_engine::deserialize(engine, self.compiled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_code_fits_the_engine_that_the_host_makes() {
        let engine = returner_engine::engine().unwrap();
        for plugin in [MYSQL, MONGO, REDIS, SQLITE] {
            plugin.load_compiled(&engine).unwrap();
        }
    }

    #[test]
    fn a_component_is_compiled_where_its_code_does_not_fit() {
        let engine = returner_engine::engine().unwrap();
        for plugin in [MYSQL, MONGO, REDIS, SQLITE] {
            Plugin { compiled: b"of another machine", ..plugin }.load(&engine).unwrap();
        }
    }
}
