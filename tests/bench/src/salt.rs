//! Salt's own returner, called in one Python process.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::store::Store;

/// Returns per second: with a connection for each return, and with one that is kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) new: Option<f64>,
    pub(crate) kept: Option<f64>,
}

pub(crate) fn measure(store: &Store, size: usize) -> Figures {
    match store {
        // Salt's own needs a PyMongo that no server of today speaks to the end with.
        Store::Mongo(_) | Store::Sqlite => Figures::default(),
        Store::Mysql(_) => {
            Figures { new: run(store, 200, size, "new"), kept: run(store, 2000, size, "kept") }
        }
        Store::Redis(_) => {
            Figures { new: run(store, 500, size, "new"), kept: run(store, 4000, size, "kept") }
        }
    }
}

fn run(store: &Store, count: usize, size: usize, how: &str) -> Option<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = returner_servers::Directory::new("bench-salt");
    let mut options: Map<String, Value> = store
        .options()
        .into_iter()
        .map(|(key, value)| (format!("{}.{key}", store.name()), value.into()))
        .collect();
    options.insert("root_dir".to_owned(), directory.path().display().to_string().into());
    let file = directory.write("options.json", Value::from(options).to_string());
    let output = Command::new(root.join("../../target/test-env/salt/bin/python"))
        .arg(root.join("salt_returner.py"))
        .arg(file)
        .args([store.name(), &count.to_string(), &size.to_string(), how])
        .output();
    let output = output.unwrap_or_else(|error| panic!("Salt's Python cannot be run: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.trim().lines().last().and_then(|line| line.parse().ok());
    if rate.is_none() {
        eprintln!("Salt's {} returner: {}", store.name(), String::from_utf8_lossy(&output.stderr));
    }
    rate
}
