//! Whole configurations, from a file to the settings.

use std::path::PathBuf;

use super::*;

mod difference;
mod fuzz;
mod loading;
mod page;
mod postgres;
mod returners;
mod salt;
mod salt_events;
mod variants;

/// A directory with the configuration `conf` in it.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = Directory(tempfile::tempdir().expect("a directory"));
        for (name, text) in files {
            let path = directory.path(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Messages name files without the directory, which is another one each time.
    fn load(&self) -> Result<(Settings, Vec<String>), String> {
        let plain = |text: String| text.replace(&format!("{}/", self.0.path().display()), "");
        let loaded = Settings::load(Some(&self.path("conf"))).map_err(|errors| plain(errors.to_string()))?;
        Ok((loaded.settings, loaded.warnings.iter().map(|warning| plain(warning.to_string())).collect()))
    }
}

/// With a plugin `a.wasm` beside it.
fn load(text: &str) -> Result<(Settings, Vec<String>), String> {
    Directory::new(&[("conf", text), ("a.wasm", "")]).load()
}

fn settings(text: &str) -> Settings {
    load(text).expect("a good configuration").0
}

fn errors(text: &str) -> String {
    load(text).expect_err("a bad configuration")
}

fn warnings(text: &str) -> Vec<String> {
    load(text).expect("a good configuration").1
}

fn mysql<'a>(settings: &'a Settings, name: &str) -> &'a MysqlSettings {
    match &settings.connections[name] {
        ConnectionSettings::Mysql(mysql) => mysql,
        other => panic!("no MySQL: {other:?}"),
    }
}

fn mongo(settings: &Settings) -> &MongoSettings {
    match &settings.connections["mongo"] {
        ConnectionSettings::Mongo(mongo) => mongo,
        other => panic!("no MongoDB: {other:?}"),
    }
}

fn redis(settings: &Settings) -> &RedisSettings {
    match &settings.connections["redis"] {
        ConnectionSettings::Redis(redis) => redis,
        other => panic!("no Redis: {other:?}"),
    }
}

fn sqlite(settings: &Settings) -> &SqliteSettings {
    match &settings.connections["sqlite3"] {
        ConnectionSettings::Sqlite(sqlite) => sqlite,
        other => panic!("no SQLite: {other:?}"),
    }
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

fn shown(secret: &Option<secret::Secret>) -> Option<&str> {
    secret.as_ref().map(secret::Secret::expose)
}
