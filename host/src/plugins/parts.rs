//! What one instance of a component takes of the host beside its memories and tables: for each
//! core instance, wasmtime keeps a place for every global and every function of its module.
//!
//! None of that is asked for while the component is instantiated, and a small file can have a module
//! of a million globals instantiated a thousand times. So it is read from the file beforehand.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    ElementItems, ElementKind, Encoding, Instance, Parser, Payload, TypeRef,
};

/// The most core instances, and tables, of one component. What Python's tools make has 14, and one
/// more for each library of its own.
pub(super) const INSTANCES: usize = 200;

/// The most memories of one component, and modules that have one of their own: each instance of
/// such a memory takes mappings, and each such module may take a descriptor. Tools make one of them.
pub(super) const MEMORIES: usize = 8;

/// The most that the core instances of one component may take, in bytes. Python's take 0.6 MiB,
/// Rust's 0.02.
pub(super) const BYTES: u64 = 16 << 20;

/// The most instances of components within one component: wasmtime has a place for each, also where
/// nothing is in it. Python's tools make some thirty.
pub(super) const COMPONENTS: u64 = 1000;

/// The most names that a component imports and exports, and of their bytes together: they are told
/// of in the log and in answers. Python's tools make some thirty.
pub(super) const NAMES: usize = 1000;
pub(super) const NAME_BYTES: usize = 64 << 10;

/// A core instance, whatever is in it.
const INSTANCE: u64 = 1 << 10;

/// An instance of a component, whatever is in it.
const COMPONENT: u64 = 256;

/// A global, and an element of a table or of a segment that fills one later.
const GLOBAL: u64 = 16;

/// A function, or something else that is imported.
const FUNCTION: u64 = 40;

/// Of a module or a component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The core instances that one of it comes to.
    instances: u64,
    /// The instances of components.
    components: u64,
    /// What those take of the host, in bytes.
    pub(super) bytes: u64,
}

impl Parts {
    fn and(self, more: Self) -> Self {
        Self {
            instances: self.instances.saturating_add(more.instances),
            components: self.components.saturating_add(more.components),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    fn have(&mut self, count: impl Into<u64>, each: u64) {
        self.bytes = self.bytes.saturating_add(count.into().saturating_mul(each));
    }
}

/// Why a component is more than the host is to instantiate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TooMuch {
    #[error("has {0} modules with a memory of their own, where {MEMORIES} are the most")]
    Memories(usize),
    #[error("has {0} core instances, where {INSTANCES} are the most")]
    Instances(u64),
    #[error("has {0} instances of components, where {COMPONENTS} are the most")]
    Components(u64),
    #[error("has {names} imports and exports of {bytes} bytes, where {NAMES} of {NAME_BYTES} are the most")]
    Names { names: usize, bytes: usize },
    #[error(
        "takes {} of the host for its globals and functions, where {} are the most",
        bytesize::ByteSize(*.0), bytesize::ByteSize(BYTES)
    )]
    Bytes(u64),
    #[error("instantiates what it is handed, which nobody can tell the size of")]
    Handed,
    /// It is no component; compiling says so in more words.
    #[error("cannot be read: {0}")]
    Damaged(#[from] wasmparser::BinaryReaderError),
}

/// What one instance of this component comes to. Its code is not looked at.
pub(super) fn of(component: &[u8]) -> Result<Parts, TooMuch> {
    let mut reading = Reading::default();
    for payload in Parser::new(0).parse_all(component) {
        reading.take(payload?)?;
    }
    let Some(parts) = reading.done else { return Ok(Parts::default()) };
    if reading.memories > MEMORIES {
        return Err(TooMuch::Memories(reading.memories));
    }
    if parts.instances > INSTANCES as u64 {
        return Err(TooMuch::Instances(parts.instances));
    }
    if parts.components > COMPONENTS {
        return Err(TooMuch::Components(parts.components));
    }
    if reading.names > NAMES || reading.name_bytes > NAME_BYTES {
        return Err(TooMuch::Names { names: reading.names, bytes: reading.name_bytes });
    }
    match parts.bytes <= BYTES {
        true => Ok(parts),
        false => Err(TooMuch::Bytes(parts.bytes)),
    }
}

#[derive(Default)]
struct Reading {
    /// The component that is being read, and those around it, outermost first.
    around: Vec<Component>,
    module: Option<Module>,
    /// Modules that have a memory of their own.
    memories: usize,
    /// What the outermost imports and exports.
    names: usize,
    name_bytes: usize,
    /// The outermost, read to its end.
    done: Option<Parts>,
}

/// What a component has by number; none where somebody hands it in.
#[derive(Default)]
struct Component {
    modules: Vec<Option<Parts>>,
    components: Vec<Option<Parts>>,
    parts: Parts,
}

#[derive(Default)]
struct Module {
    parts: Parts,
    has_memory: bool,
}

impl Reading {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), TooMuch> {
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                let parts = Parts { instances: 0, components: 1, bytes: COMPONENT };
                self.around.push(Component { parts, ..Component::default() });
            }
            Payload::Version { encoding: Encoding::Module, .. } => {
                let parts = Parts { instances: 1, components: 0, bytes: INSTANCE };
                self.module = Some(Module { parts, has_memory: false });
            }
            Payload::End(_) => self.end(),
            payload => match &mut self.module {
                Some(module) => module.take(payload)?,
                None => self.take_of_component(payload)?,
            },
        }
        Ok(())
    }

    /// A module or a component is read: it is the next in the one around it.
    fn end(&mut self) {
        if let Some(Module { parts, has_memory }) = self.module.take() {
            self.memories += usize::from(has_memory);
            if let Some(around) = self.around.last_mut() {
                around.modules.push(Some(parts));
            }
        } else if let Some(Component { parts, .. }) = self.around.pop() {
            match self.around.last_mut() {
                Some(around) => around.components.push(Some(parts)),
                None => self.done = Some(parts),
            }
        }
    }

    fn take_of_component(&mut self, payload: Payload<'_>) -> Result<(), TooMuch> {
        match payload {
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    self.alias(&alias?);
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.instantiate(|around| &around.modules, module_index)?;
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        self.instantiate(|around| &around.components, component_index)?;
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let import = import?;
                    self.name(import.name.name);
                    match (import.ty, self.around.last_mut()) {
                        (ComponentTypeRef::Module(_), Some(own)) => own.modules.push(None),
                        (ComponentTypeRef::Component(_), Some(own)) => own.components.push(None),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                // What is exported has another number from here on.
                for export in exports {
                    let export = export?;
                    self.name(export.name.name);
                    let Some(own) = self.around.last_mut() else { continue };
                    match export.kind {
                        ComponentExternalKind::Module => own.modules.push(at(&own.modules, export.index)),
                        ComponentExternalKind::Component => {
                            own.components.push(at(&own.components, export.index));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn name(&mut self, name: &str) {
        if self.around.len() == 1 {
            self.names += 1;
            self.name_bytes += name.len();
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        let outer = |count: u32| {
            let place = self.around.len().checked_sub(1)?.checked_sub(count as usize)?;
            self.around.get(place)
        };
        let (module, component) = match *alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => (Some(None), None),
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                (None, Some(None))
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                (Some(outer(count).and_then(|outer| at(&outer.modules, index))), None)
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                (None, Some(outer(count).and_then(|outer| at(&outer.components, index))))
            }
            _ => (None, None),
        };
        if let Some(own) = self.around.last_mut() {
            own.modules.extend(module);
            own.components.extend(component);
        }
    }

    fn instantiate(
        &mut self,
        of: impl Fn(&Component) -> &Vec<Option<Parts>>,
        index: u32,
    ) -> Result<(), TooMuch> {
        let Some(own) = self.around.last_mut() else { return Ok(()) };
        let parts = at(of(own), index).ok_or(TooMuch::Handed)?;
        own.parts = own.parts.and(parts);
        Ok(())
    }
}

fn at(known: &[Option<Parts>], index: u32) -> Option<Parts> {
    known.get(index as usize).copied().flatten()
}

impl Module {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), TooMuch> {
        let Self { parts, has_memory } = self;
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let each = if let TypeRef::Global(_) = import?.ty { GLOBAL } else { FUNCTION };
                    parts.have(1_u64, each);
                }
            }
            Payload::FunctionSection(functions) => parts.have(functions.count(), FUNCTION),
            Payload::GlobalSection(globals) => parts.have(globals.count(), GLOBAL),
            Payload::TableSection(tables) => parts.have(tables.count(), FUNCTION),
            Payload::TagSection(tags) => parts.have(tags.count(), FUNCTION),
            Payload::MemorySection(memories) => {
                parts.have(memories.count(), FUNCTION);
                *has_memory |= memories.count() > 0;
            }
            Payload::ElementSection(elements) => {
                for element in elements {
                    let element = element?;
                    let items = match element.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    // What fills a table at once stands there.
                    let later = !matches!(element.kind, ElementKind::Active { .. });
                    parts.have(1 + u64::from(if later { items } else { 0 }), GLOBAL);
                }
            }
            Payload::DataCountSection { count, .. } => parts.have(count, 1),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        bytes.push(value.to_le_bytes()[0]);
        bytes
    }

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [vec![id], number(content.len()), content.to_vec()].concat()
    }

    /// A section of so many of the same.
    fn same(id: u8, count: usize, each: &[u8]) -> Vec<u8> {
        section(id, &[number(count), each.repeat(count)].concat())
    }

    fn module(sections: &[u8]) -> Vec<u8> {
        section(1, &[b"\0asm\x01\0\0\0", sections].concat())
    }

    fn globals(count: usize) -> Vec<u8> {
        // i32, which does not change, of 0.
        module(&same(6, count, &[0x7f, 0, 0x41, 0, 0x0b]))
    }

    /// So many core instances of the first module.
    fn instances(count: usize) -> Vec<u8> {
        same(2, count, &[0, 0, 0])
    }

    fn component(sections: &[&[u8]]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0", &*sections.concat()].concat()
    }

    #[test]
    fn what_is_instantiated_counts_as_often_as_it_is() {
        let one = of(&component(&[&globals(1000), &instances(1)])).unwrap();
        let outer = Parts { instances: 0, components: 1, bytes: COMPONENT };
        let each = INSTANCE + 1000 * GLOBAL;
        assert_eq!(one, Parts { instances: 1, bytes: COMPONENT + each, ..outer });
        let never = of(&component(&[&globals(1_000_000)])).unwrap();
        assert_eq!(never, outer);
        let ten = of(&component(&[&globals(1000), &instances(10)])).unwrap();
        assert_eq!(ten, Parts { instances: 10, bytes: COMPONENT + 10 * each, ..outer });
        let many = of(&component(&[&globals(100_000), &instances(11)])).unwrap_err();
        assert!(matches!(many, TooMuch::Bytes(_)), "{many}");
        let many = of(&component(&[&globals(0), &instances(INSTANCES + 1)])).unwrap_err();
        assert!(matches!(many, TooMuch::Instances(_)), "{many}");
    }

    /// A module of the component around, instantiated in components that are instantiated.
    #[test]
    fn components_within_count_as_often_as_they_are_instantiated() {
        // An alias of the first core module, one component outward.
        let inner = component(&[&same(6, 1, &[0, 0x11, 2, 1, 0]), &instances(10)]);
        let twice = same(5, 2, &[0, 0, 0]);
        let parts = of(&component(&[&globals(1000), &section(4, &inner), &twice])).unwrap();
        let bytes = 3 * COMPONENT + 20 * (INSTANCE + 1000 * GLOBAL);
        assert_eq!(parts, Parts { instances: 20, components: 3, bytes });
        let many = of(&component(&[&globals(60_000), &section(4, &inner), &twice])).unwrap_err();
        assert!(matches!(many, TooMuch::Bytes(_)), "{many}");
    }

    #[test]
    fn memories_functions_and_what_is_handed_in_have_bounds() {
        let memory = module(&same(5, 1, &[0, 1]));
        of(&component(&[&memory.repeat(MEMORIES)])).unwrap();
        let many = of(&component(&[&memory.repeat(MEMORIES + 1)])).unwrap_err();
        assert!(matches!(many, TooMuch::Memories(_)), "{many}");
        // Functions without a name, of the first type.
        let imports = module(&same(2, 500_000, &[0, 0, 0, 0]));
        let functions = of(&component(&[&imports, &instances(1)])).unwrap_err();
        assert!(matches!(functions, TooMuch::Bytes(_)), "{functions}");
        // Of a number that nothing has, as an import would be.
        let handed = of(&component(&[&instances(1)])).unwrap_err();
        assert!(matches!(handed, TooMuch::Handed), "{handed}");
        of(&component(&[&globals(3)[..9]])).unwrap_err();
    }

    /// Nothing is in them, and wasmtime has a place for each.
    #[test]
    fn empty_components_within_have_a_bound() {
        let many_of =
            |inner: &[u8], count: usize| component(&[&section(4, inner), &same(5, count, &[0, 0, 0])]);
        let inner = many_of(&component(&[]), 30);
        of(&many_of(&inner, 30)).unwrap();
        let many = of(&many_of(&inner, 40)).unwrap_err();
        assert!(matches!(many, TooMuch::Components(1241)), "{many}");
        let deep = (0..12).fold(component(&[]), |inner, _| many_of(&inner, 900));
        assert!(matches!(of(&deep).unwrap_err(), TooMuch::Components(_)), "no overflow");
    }
}
