//! What the configuration of a minion or master says of this host: the options of the
//! modules that `returner salt install` writes (`host/salt/_returner_host.py`).

use std::path::{Path, PathBuf};

use super::error::{ConfigErrors, Findings};
use super::files;
use super::secret::Secret;
use super::section::{Found, Section};
use super::settings::Bundled;
use super::{bundled::keys_of, profiles};

/// A minion's or master's own options, as far as they matter here.
#[derive(Debug)]
pub(crate) struct SaltOptions {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Where a minion finds its master.
    pub(crate) master: Option<String>,
    root: Option<PathBuf>,
    cache: Option<PathBuf>,
    extension_modules: Option<PathBuf>,
    /// The returner that has a master's jobs, if that is not its own disk.
    pub(crate) job_cache: Option<String>,
    /// The returners that it names, as `return` and its like.
    pub(crate) returners: Vec<String>,
    /// Where it has keys of Salt's own returners, as `mysql` or `alternative.mysql`: the modules
    /// do not read them.
    pub(crate) unread: Vec<String>,
}

impl SaltOptions {
    /// Reads Salt's configuration file and what it includes.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let mut findings = Findings::default();
        let read = files::read(path, &mut findings);
        let order: Vec<_> = read.files.iter().map(|file| file.path.clone()).collect();
        let root = Section::root(&read.files);
        let options = Self::read(&root, &mut findings);
        findings.end(&order).map(|_| options)
    }

    fn read(root: &Section<'_>, findings: &mut Findings) -> Self {
        let own = root.under("returner");
        let mut returners = Vec::new();
        for key in ["return", "master_job_cache", "event_return"] {
            let named = root.get(key, Found::texts, findings).unwrap_or_default();
            returners.extend(named.into_iter().map(|(_, name)| name).filter(|name| name != "local_cache"));
        }
        returners.sort();
        returners.dedup();
        let job_cache = root.get("master_job_cache", Found::text, findings);
        // A minion may have several masters: its modules ask the first.
        let masters = root.get("master", Found::texts, findings).unwrap_or_default();
        let mut path = |name| own.get(name, Found::text, findings).map(PathBuf::from);
        let [token_file, ca, certificate, key] = ["token_file", "ca", "certificate", "key"].map(&mut path);
        Self {
            url: own.get("url", Found::text, findings),
            token: own.get("token", Found::text, findings).map(Secret::from),
            token_file,
            ca,
            certificate,
            key,
            master: masters.into_iter().next().map(|(_, master)| master),
            root: root.get("root_dir", Found::text, findings).map(PathBuf::from),
            cache: root.get("cachedir", Found::text, findings).map(PathBuf::from),
            extension_modules: root.get("extension_modules", Found::text, findings).map(PathBuf::from),
            job_cache: job_cache.filter(|name| name != "local_cache"),
            returners,
            unread: unread(root),
        }
    }

    /// Where a `master` or `minion` keeps what it caches; the spool is in it.
    pub(crate) fn cache(&self, role: &str) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.usual_cache(role))
    }

    /// Where the synchronised modules are. Not below `cachedir`, where that is set: Salt has a
    /// default of its own for these (`salt.config.DEFAULT_MINION_OPTS`).
    pub(crate) fn extension_modules(&self, role: &str) -> PathBuf {
        self.extension_modules.clone().unwrap_or_else(|| self.usual_cache(role).join("extmods"))
    }

    fn usual_cache(&self, role: &str) -> PathBuf {
        self.root.as_deref().unwrap_or(Path::new("/")).join("var/cache/salt").join(role)
    }
}

fn unread(root: &Section<'_>) -> Vec<String> {
    let has_keys = |bundled: &Bundled| {
        let section = root.under(bundled.name());
        keys_of(*bundled).any(|key| section.has(key))
    };
    let declared = Bundled::ALL.into_iter().filter(has_keys).map(|bundled| bundled.name().to_owned());
    let profiles = profiles::find(root);
    let profiles = profiles.into_iter().map(|(profile, bundled)| format!("{profile}.{}", bundled.name()));
    declared.chain(profiles).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> SaltOptions {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minion");
        std::fs::write(&path, text).unwrap();
        SaltOptions::load(&path).unwrap()
    }

    #[test]
    fn modules_are_where_salt_puts_them() {
        for (text, cache, modules) in [
            ("", "/var/cache/salt/minion", "/var/cache/salt/minion/extmods"),
            ("cachedir: /srv/cache", "/srv/cache", "/var/cache/salt/minion/extmods"),
            ("root_dir: /opt/s", "/opt/s/var/cache/salt/minion", "/opt/s/var/cache/salt/minion/extmods"),
            ("extension_modules: /srv/ext", "/var/cache/salt/minion", "/srv/ext"),
        ] {
            let options = options(text);
            assert_eq!(options.cache("minion"), Path::new(cache), "{text}");
            assert_eq!(options.extension_modules("minion"), Path::new(modules), "{text}");
        }
    }
}
