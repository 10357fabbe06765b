//! Keeps `ARCHITECTURE.md` honest: the order of the modules that it states is the
//! order in which they import each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The lines of the list between the markers.
fn list() -> Vec<String> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let (_, list) = text.split_once("<!-- layers").expect("the list of layers begins");
    let (list, _) = list.split_once("<!-- end of layers -->").expect("the list of layers ends");
    list.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect()
}

/// The layer of each module.
fn layers() -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    for (layer, line) in list().iter().enumerate() {
        let (names, _) = line.split_once(": ").expect("a layer is names, a colon and what they do");
        for name in names.split(", ") {
            layers.insert(name.trim_matches('`').to_owned(), layer);
        }
    }
    layers
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("the sources can be listed");
    for entry in entries {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top module that a source file belongs to.
fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).expect("a source is below `src`");
    let first = relative.components().next().expect("a source has a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The top modules that a source file names by `crate::`.
fn uses(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut used = Vec::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            used.push(name);
        }
    }
    used
}

#[test]
fn modules_use_only_what_is_above_them() {
    let layers = layers();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for file in files {
        let module = module_of(&file);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = layers.get(&module) else {
            wrong.push(format!("`{module}` is not in the list of ARCHITECTURE.md"));
            continue;
        };
        for used in uses(&read(&file)) {
            match layers.get(&used) {
                Some(layer) if layer < own || used == module => {}
                Some(layer) if layer == own && is_before(&used, &module) => {}
                Some(_) => {
                    wrong.push(format!("{} uses `{used}`, which is not above `{module}`", file.display()))
                }
                None => wrong.push(format!("{} uses `{used}`, which is not in the list", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Within a layer, a module may use those that are named before it.
fn is_before(used: &str, module: &str) -> bool {
    let place = |line: &str, name: &str| line.find(&format!("`{name}`"));
    list()
        .iter()
        .any(|line| matches!((place(line, used), place(line, module)), (Some(used), Some(module)) if used < module))
}

#[test]
fn every_module_has_its_place() {
    let layers = layers();
    let lib = read(&root().join("src/lib.rs"));
    let modules: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    assert!(!modules.is_empty());
    for module in modules {
        assert!(layers.contains_key(module), "`{module}` is not in the list of ARCHITECTURE.md");
    }
}
