//! What stands in Salt's cache: the modules, and what waits there for the host.

use std::fs;
use std::path::Path;

use super::Visit;
use crate::cli::output::counted;
use crate::cli::salt::{install, job_cache};
use crate::config::{Bundled, is_salts};

impl Visit {
    /// What Salt's file names is there: on the host, or as a returner of Salt's own.
    pub(super) fn names(&mut self, known: Option<&Vec<String>>) {
        let Some(known) = known else { return };
        let directory = self.options.extension_modules(self.role()).join("returners");
        let is_there = |name: &&String| known.contains(name) || directory.join(format!("{name}.py")).exists();
        let returners = std::mem::take(&mut self.options.returners);
        for name in returners.iter().filter(|name| !is_there(name)) {
            let what = format!(
                "Salt's file names the returner `{name}`, which the host does not have: it has `{}`",
                known.join("`, `")
            );
            let hint = format!("declare `{name}` in the host's configuration, or name one that it has");
            match is_salts(name) {
                true => self
                    .note(format!("{what}; Salt's own of that name runs, where this version has it"), hint),
                false => self.wrong(what, hint),
            }
        }
        self.options.returners = returners;
    }

    /// The synchronised modules are there, and those of this program's version. `known` are the
    /// host's returners, where it tells them.
    pub(super) fn modules(&mut self, known: Option<&Vec<String>>) {
        let directory = self.options.extension_modules(self.role());
        let carry = if self.is_master { "salt-run saltutil.sync_all" } else { "salt '*' saltutil.sync_all" };
        let again = format!("`returner salt install --to /srv/salt` on the master, then `{carry}`");
        let mut names = installed(&directory.join("returners"));
        // Salt has returners of its own, which are none of this host's business.
        let is_ours = |name: &&String| {
            let known =
                known.map_or_else(|| Bundled::from_name(name).is_some(), |known| known.contains(name));
            // Neither a profile nor what `ret_kwargs` asked for has a module of its own.
            known && !name.contains(['.', '{'])
        };
        names.extend(self.options.returners.iter().filter(is_ours).cloned());
        // A master needs those that it names itself, and a minion whatever it may be asked for.
        let on_host = known.into_iter().flatten().filter(|_| !self.is_master);
        names.extend(on_host.filter(is_ours).cloned());
        names.sort();
        names.dedup();
        if names.is_empty() && self.is_master && self.options.returners.is_empty() {
            return self.ok("nothing in this master's file asks for a module of the host");
        }
        if names.is_empty() {
            let what = format!("no module of this host is in `{}`", directory.join("returners").display());
            return self.wrong(what, again);
        }
        for name in names {
            if known.is_some_and(|known| !known.contains(&name)) {
                let what = format!("the module `{name}` is there, and the host has no returner of that name");
                let hint = "what is returned to it waits here: configure it on the host, or remove the module on the \
                            master and synchronise again";
                self.wrong(what, hint);
                continue;
            }
            match self.module(&directory, &name) {
                Ok(()) => self.ok(format!("the module `{name}` is there")),
                Err(what) => self.wrong(what, again.clone()),
            }
        }
    }

    /// What is wrong with a module.
    fn module(&self, directory: &Path, name: &str) -> Result<(), String> {
        let read = |file: String| fs::read_to_string(directory.join(file)).ok();
        let Some(module) = read(format!("returners/{name}.py")) else {
            return Err(format!(
                "the module `{name}` is not synchronised: Salt's own of that name runs, if it has one"
            ));
        };
        let shared = read("returners/_returner_host.py".to_owned());
        if module != install::module(name) || shared.as_deref() != Some(install::SHARED) {
            let ours = if module.contains(install::MARK) {
                "of another version of `returner`"
            } else {
                "not this host's"
            };
            return Err(format!(
                "the module `{name}` in `{}` is {ours}",
                directory.join("returners").display()
            ));
        }
        let kind = if self.is_master { "runners" } else { "modules" };
        match read(format!("{kind}/returner_{name}.py")) {
            Some(_) => Ok(()),
            None => Err(format!("`{name}.flush` is not synchronised, which sends what was kept")),
        }
    }

    /// What waits in the cache, and what the host refused for good.
    pub(super) fn spools(&mut self) {
        let directory = self.options.cache(self.role()).join("returner");
        let mut spools = job_cache::directories(&directory).unwrap_or_default();
        spools.sort();
        for spool in spools {
            let name = spool.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (waiting, refused) = (numbered(&spool), numbered(&spool.join("refused")));
            if waiting > 0 {
                let flush = if self.is_master { "salt-run" } else { "salt '*'" };
                let what = format!(
                    "{} for `{name}` in `{}`",
                    counted(waiting as u64, "waits", "wait"),
                    spool.display()
                );
                self.wrong(what, format!("`{flush} {name}.flush` sends them and says what the host answers"));
            }
            if refused > 0 {
                let place = spool.join("refused");
                let what = format!("the host refused {refused} for `{name}`, in `{}`", place.display());
                self.wrong(
                    what,
                    "the first line of each file has the reason; remove the file when it is settled",
                );
            }
        }
    }
}

/// The names of the modules there that are this host's.
fn installed(directory: &Path) -> Vec<String> {
    let names = install::ours(directory).unwrap_or_default();
    let names = names.iter().filter_map(|path| path.file_stem()?.to_str());
    names.filter(|name| !name.starts_with('_')).map(str::to_owned).collect()
}

/// How many files have a number for a name.
fn numbered(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count()
}
