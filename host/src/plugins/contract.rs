//! The contract `salt:returner@0.1.0` as Rust types, generated from `wit/`.
//!
//! Guests take borrowed records, so that handing over a batch copies each text once:
//! into the guest's memory.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "full-returner",
    imports: { default: async | trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
