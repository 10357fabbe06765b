//! From a core module to a component.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::Error;
use crate::contract::{self, PREFIX, VERSION};

/// Where a core module says what component it is to be.
const TYPE_SECTION: &str = "component-type";

/// The name of the world that a module is given.
const WORLD: &str = "made";

/// Makes a component of a core module for WASI 0.1, a reactor as clang and Go make it.
///
/// Where the module does not say yet what it exports of the contract, its exports' names do:
/// a returner in C or Go can export `job-cache` or leave `lifecycle` out, and needs no
/// description of that beside it.
///
/// # Errors
/// If it is no module, or none of a returner.
pub fn componentize(core: &[u8]) -> Result<Vec<u8>, Error> {
    let described = look_at(core)?;
    let mut module = core.to_vec();
    if !described.has_type {
        embed(&mut module, &described.exports)?;
    }
    let failed = |error| Error::Component(format!("{error:#}"));
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).map_err(failed)?;
    encoder
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        .map_err(failed)?;
    encoder.encode().map_err(failed)
}

/// What a module says of itself.
#[derive(Debug, Default)]
struct Described {
    has_type: bool,
    /// The interfaces of the contract that it exports.
    exports: BTreeSet<String>,
}

fn look_at(core: &[u8]) -> Result<Described, Error> {
    let mut described = Described::default();
    for payload in Parser::new(0).parse_all(core) {
        match payload.map_err(|error| Error::NoModule(error.to_string()))? {
            Payload::Version { encoding: Encoding::Component, .. } => return Err(Error::IsComponent),
            Payload::CustomSection(section) if section.name().starts_with(TYPE_SECTION) => {
                described.has_type = true;
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.map_err(|error| Error::NoModule(error.to_string()))?;
                    described.exports.extend(interface(export.name).map(str::to_owned));
                }
            }
            _ => {}
        }
    }
    Ok(described)
}

/// The interface of an exported function: `returns` of `salt:returner/returns@0.1.0#store`.
fn interface(export: &str) -> Option<&str> {
    let (interface, version) = export.strip_prefix(PREFIX)?.split_once('#')?.0.split_once('@')?;
    (version == VERSION).then_some(interface)
}

/// Adds what the module does not say: a world with these exports.
fn embed(module: &mut Vec<u8>, exports: &BTreeSet<String>) -> Result<(), Error> {
    if exports.is_empty() {
        return Err(Error::NoReturner);
    }
    let mut text = format!("package {}@{VERSION};\nworld {WORLD} {{\n", PREFIX.trim_end_matches('/'));
    for import in ["config", "log", "sql", "redis", "mongo", "http"] {
        let _ = writeln!(text, "import {import};");
    }
    for export in exports {
        let _ = writeln!(text, "export {export};");
    }
    text.push('}');
    let (resolve, package) = contract::with(&text).map_err(Error::Component)?;
    let world = contract::world(&resolve, package, WORLD).map_err(Error::Component)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8, false)
        .map_err(|error| Error::Component(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_is_no_module_is_refused() {
        for garbage in [&b""[..], b"\x7fELF", b"garbage that is long enough", b"\0asm\x01\0\0\0\xff\xff"] {
            let error = componentize(garbage).expect_err("garbage");
            assert!(matches!(error, Error::NoModule(_)), "{error}");
            assert!(error.to_string().starts_with("it is no WebAssembly module: "), "{error}");
        }
    }

    #[test]
    fn what_is_no_returner_is_refused() {
        assert!(matches!(componentize(EMPTY_MODULE), Err(Error::NoReturner)));
        assert!(matches!(componentize(EMPTY_COMPONENT), Err(Error::IsComponent)));
    }

    #[test]
    fn an_export_names_its_interface() {
        assert_eq!(interface("salt:returner/job-cache@0.1.0#get-jid"), Some("job-cache"));
        assert_eq!(interface("salt:returner/returns@9.0.0#store"), None);
        assert_eq!(interface("cabi_post_salt:returner/returns@0.1.0#store"), None);
        assert_eq!(interface("memory"), None);
    }

    #[test]
    fn every_world_can_be_described() {
        for exports in
            [&["returns"][..], &["about", "lifecycle", "returns"], &["job-cache", "loads", "returns"]]
        {
            let mut module = EMPTY_MODULE.to_vec();
            embed(&mut module, &exports.iter().map(|&name| name.to_owned()).collect()).expect("a world");
            assert!(look_at(&module).expect("a module").has_type);
        }
        let unknown = BTreeSet::from(["unknown".to_owned()]);
        assert!(embed(&mut EMPTY_MODULE.to_vec(), &unknown).is_err());
    }
}
