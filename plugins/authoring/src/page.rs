//! `wit/README.md`: the contract as a page, made of the WIT and of the templates.

use std::fmt::Write as _;

use wit_parser::{Docs, Function, Interface, Resolve, Type, TypeDef, TypeDefKind, WorldItem, WorldKey};

use crate::templates;
use crate::{Error, Kind, Language, contract};

const HEAD: &str = "# The contract

`salt:returner@0.1.0` is what passes between the host and a returner, the plugin that stores what Salt's minions \
answered. This page is made of the `.wit` files beside it, and a test keeps it so. A returner exports some of the \
interfaces of the first part and imports those of the second; it reaches through them what the configuration grants \
to it, and nothing else of the machine. [`plugins/README.md`](../plugins/README.md) tells how to write one.
";

/// The interfaces that a returner exports, in the order in which to read them.
const EXPORTED: [&str; 6] = ["returns", "lifecycle", "about", "loads", "events", "job-cache"];

/// Those that it may import.
const IMPORTED: [&str; 6] = ["config", "log", "sql", "redis", "mongo", "http"];

/// The page's text.
///
/// # Errors
/// If the contract cannot be read.
pub fn contract_page() -> Result<String, Error> {
    let failed = |error| Error::Contract { path: "wit".into(), error };
    let (resolve, _) = contract::with("package salt:returner@0.1.0;").map_err(failed)?;
    let mut page = HEAD.to_owned();
    worlds(&resolve, &mut page);
    page.push_str("\n## What passes\n");
    interface(&resolve, "types", &mut page);
    page.push_str("\n## What a returner exports\n");
    EXPORTED.iter().for_each(|name| interface(&resolve, name, &mut page));
    page.push_str("\n## What it may import\n");
    IMPORTED.iter().for_each(|name| interface(&resolve, name, &mut page));
    examples(&mut page)?;
    Ok(page)
}

fn worlds(resolve: &Resolve, page: &mut String) {
    page.push_str("\n## Worlds\n\n| world | exports | |\n|---|---|---|\n");
    for (_, world) in resolve.worlds.iter() {
        let exports = world.exports.iter().filter_map(|(key, _)| match key {
            WorldKey::Interface(id) => Some(format!("`{}`", resolve.interfaces[*id].name.as_deref()?)),
            WorldKey::Name(_) => None,
        });
        let exports: Vec<String> = exports.collect();
        let _ = writeln!(page, "| `{}` | {} | {} |", world.name, exports.join(", "), line(&world.docs));
    }
    let imports = resolve.worlds.iter().flat_map(|(_, world)| world.imports.values());
    debug_assert!(imports.into_iter().all(|item| matches!(item, WorldItem::Interface { .. })));
}

fn interface(resolve: &Resolve, name: &str, page: &mut String) {
    let found = resolve.interfaces.iter().find(|(_, interface)| interface.name.as_deref() == Some(name));
    let Some((_, interface)) = found else { return };
    let _ = writeln!(page, "\n### `{name}`\n\n{}", text(&interface.docs));
    for (name, id) in &interface.types {
        // What it uses of `types` is told there.
        if !matches!(resolve.types[*id].kind, TypeDefKind::Type(Type::Id(_))) {
            definition(resolve, name, &resolve.types[*id], page);
        }
    }
    functions(resolve, interface, page);
}

fn definition(resolve: &Resolve, name: &str, definition: &TypeDef, page: &mut String) {
    let _ = write!(page, "\n#### {} `{name}`\n\n{}", definition.kind.as_str(), text(&definition.docs));
    let row = |name: &str, of: Option<&Type>, docs: &Docs| {
        let of = of.map_or_else(String::new, |of| format!("`{}`", type_name(resolve, of)));
        format!("| `{name}` | {of} | {} |\n", line(docs))
    };
    let rows: String = match &definition.kind {
        TypeDefKind::Record(record) => {
            record.fields.iter().map(|field| row(&field.name, Some(&field.ty), &field.docs)).collect()
        }
        TypeDefKind::Variant(variant) => {
            variant.cases.iter().map(|case| row(&case.name, case.ty.as_ref(), &case.docs)).collect()
        }
        TypeDefKind::Enum(all) => all.cases.iter().map(|case| row(&case.name, None, &case.docs)).collect(),
        kind => format!("It is `{}`.\n", kind_name(resolve, kind)),
    };
    let is_table = rows.starts_with('|');
    let _ = write!(page, "\n{}{rows}", if is_table { "| | | |\n|---|---|---|\n" } else { "" });
}

fn functions(resolve: &Resolve, interface: &Interface, page: &mut String) {
    for function in interface.functions.values() {
        let Function { name, docs, .. } = function;
        let _ = writeln!(
            page,
            "\n#### `{name}`\n\n```wit\n{}\n```\n\n{}",
            signature(resolve, function),
            text(docs)
        );
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let params =
        function.params.iter().map(|param| format!("{}: {}", param.name, type_name(resolve, &param.ty)));
    let result = function.result.as_ref().map(|of| format!(" -> {}", type_name(resolve, of)));
    format!(
        "{}: func({}){};",
        function.name,
        params.collect::<Vec<_>>().join(", "),
        result.unwrap_or_default()
    )
}

fn type_name(resolve: &Resolve, of: &Type) -> String {
    let Type::Id(id) = of else { return format!("{of:?}").to_lowercase() };
    let definition = &resolve.types[*id];
    definition.name.clone().unwrap_or_else(|| kind_name(resolve, &definition.kind))
}

fn kind_name(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let name = |of: &Type| type_name(resolve, of);
    let or_none = |of: &Option<Type>| of.as_ref().map_or_else(|| "_".to_owned(), name);
    match kind {
        TypeDefKind::List(of) => format!("list<{}>", name(of)),
        TypeDefKind::Option(of) => format!("option<{}>", name(of)),
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Result(result) => format!("result<{}, {}>", or_none(&result.ok), or_none(&result.err)),
        TypeDefKind::Type(of) => name(of),
        other => other.as_str().to_owned(),
    }
}

fn text(docs: &Docs) -> String {
    docs.contents.as_deref().unwrap_or_default().trim().to_owned() + "\n"
}

/// In a cell of a table.
fn line(docs: &Docs) -> String {
    let words: Vec<&str> = docs.contents.as_deref().unwrap_or_default().split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

fn examples(page: &mut String) -> Result<(), Error> {
    page.push_str("\n## The same returner in each language\n\n");
    page.push_str(
        "What `returner plugins new audit --lang LANGUAGE` writes: a row for each return in a table.\n",
    );
    for language in Language::ALL {
        let source = templates::example("audit", language, Kind::Sql)?;
        let _ = write!(page, "\n### {}\n\n```{}\n{}```\n", language.title(), language.name(), source);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `UPDATE=1` it writes the page.
    #[test]
    fn the_page_is_that_of_the_contract() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/README.md");
        let page = contract_page().expect("the contract can be read");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &page).expect("the page can be written");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == written,
            "`wit/README.md` is another: `UPDATE=1 cargo test -p returner-authoring` writes it"
        );
    }

    /// Authors of plugins read nothing else: each interface, type, member and function of the
    /// contract says what it is.
    #[test]
    fn everything_has_words() {
        let (resolve, _) = contract::with("package salt:returner@0.1.0;").expect("the contract can be read");
        let mut mute = Vec::new();
        let mut look = |name: String, docs: &Docs| {
            if docs.contents.is_none() {
                mute.push(name);
            }
        };
        for (_, world) in resolve.worlds.iter() {
            look(world.name.clone(), &world.docs);
        }
        for (_, interface) in resolve.interfaces.iter() {
            let of = interface.name.clone().unwrap_or_default();
            look(of.clone(), &interface.docs);
            interface
                .functions
                .values()
                .for_each(|function| look(format!("{of}.{}", function.name), &function.docs));
            for (name, id) in &interface.types {
                let definition = &resolve.types[*id];
                let member = |member: &str| format!("{of}.{name}.{member}");
                match &definition.kind {
                    // What it uses of another interface is told there.
                    TypeDefKind::Type(Type::Id(_)) => continue,
                    TypeDefKind::Record(record) => {
                        record.fields.iter().for_each(|field| look(member(&field.name), &field.docs));
                    }
                    TypeDefKind::Variant(variant) => {
                        variant.cases.iter().for_each(|case| look(member(&case.name), &case.docs));
                    }
                    TypeDefKind::Enum(all) => {
                        all.cases.iter().for_each(|case| look(member(&case.name), &case.docs));
                    }
                    _ => {}
                }
                look(format!("{of}.{name}"), &definition.docs);
            }
        }
        assert_eq!(mute, Vec::<String>::new(), "`///` is missing in `wit/*.wit`");
    }

    #[test]
    fn everything_is_on_it() {
        let page = contract_page().expect("the contract can be read");
        for words in [
            "| `described-returner` | `about`, `lifecycle`, `returns` |",
            "store: func(batch: list<job-return>) -> result<list<refusal>, failure>;",
            "| `redelivered` | `bool` | An earlier delivery",
            "#### enum `kind`",
            "It is `string`.",
            "```python",
        ] {
            assert!(page.contains(words), "nothing of `{words}`");
        }
    }
}
