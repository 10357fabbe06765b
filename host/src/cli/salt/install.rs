//! `returner salt install`: the modules by which Salt sends to the host.
//!
//! It owns the files that carry its mark, removes the ones whose returner is gone, and
//! touches no other file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{ConfigArgs, Failure, output};
use crate::config::{Settings, other_names};

/// What the modules share.
pub(super) const SHARED: &str = include_str!("../../../salt/_returner_host.py");
const RETURNER: &str = include_str!("../../../salt/module.py");
const FLUSH: &str = include_str!("../../../salt/flush.py");

/// In each file that is ours.
pub(super) const MARK: &str = "Written by ``returner salt install``";

#[derive(Debug, Args)]
pub(super) struct Install {
    /// The directory of Salt's files (`file_roots`), usually `/srv/salt`
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Install {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { to, config } = self;
        let loaded = Settings::load(config.file().as_deref());
        let settings = loaded.map_err(|errors| Failure::usage(errors.to_string()))?.settings;
        // A profile's is the same module, told by Salt's `ret_config`.
        let names = settings.returners.keys().filter(|name| !name.contains('.'));
        let names: Vec<&str> = names.map(String::as_str).collect();
        if !to.is_dir() {
            let message = format!("`{}` is no directory", to.display());
            return Err(Failure::usage(format!("{message}\n  hint: {HINT}")));
        }
        let changes = Changes::plan(&to, &names)?;
        changes.make(&to)?;
        if names.is_empty() {
            return output::line("no returner is configured: nothing is installed");
        }
        output::line(&format!("\nnow, on the master:\n{}", next(names[0])))
    }
}

const HINT: &str = "`--to` is one of the master's `file_roots`; `salt-run config.get file_roots` has them";

fn next(name: &str) -> String {
    format!(
        "  salt '*' saltutil.sync_all\n  salt '*' sys.list_returners\n  salt '*' test.ping --return {name}\n\
         and for `master_job_cache` and `event_return`:\n  salt-run saltutil.sync_all"
    )
}

/// The module of a returner, which Salt finds by the other names of its own module, too.
pub(super) fn module(name: &str) -> String {
    let others: String = other_names(name).map(|other| format!("\"{other}\", ")).collect();
    RETURNER.replace("NAME", name).replace("(OTHERS)", &format!("({})", others.trim_end()))
}

/// What is to be done, by path below the directory; `None` removes.
struct Changes(BTreeMap<PathBuf, Option<String>>);

impl Changes {
    /// Nothing is written if one of the files is somebody else's.
    fn plan(to: &Path, names: &[&str]) -> Result<Self, Failure> {
        let mut wanted = BTreeMap::new();
        if !names.is_empty() {
            wanted.insert(PathBuf::from("_returners/_returner_host.py"), Some(SHARED.to_owned()));
        }
        for name in names {
            wanted.insert(format!("_returners/{name}.py").into(), Some(module(name)));
            for directory in ["_modules", "_runners"] {
                let path = format!("{directory}/returner_{name}.py");
                wanted.insert(path.into(), Some(FLUSH.replace("NAME", name)));
            }
        }
        for directory in ["_returners", "_modules", "_runners"] {
            for file in ours(&to.join(directory)).map_err(|error| failed(&to.join(directory), &error))? {
                wanted.entry(Path::new(directory).join(file)).or_insert(None);
            }
        }
        for path in wanted.keys() {
            let path = to.join(path);
            if path.exists() && !is_ours(&path) {
                return Err(Failure::failed(format!(
                    "`{}` is there and not written by this command; nothing was changed\n  hint: move it away, or give the returner another name",
                    path.display()
                )));
            }
        }
        Ok(Self(wanted))
    }

    fn make(self, to: &Path) -> Result<(), Failure> {
        for (path, content) in self.0 {
            let path = to.join(path);
            let word = match content {
                Some(content) => write(&path, &content),
                None => fs::remove_file(&path).map(|()| "removed"),
            };
            let word = word.map_err(|error| failed(&path, &error))?;
            output::line(&format!("{word:<10} {}", path.display()))?;
        }
        Ok(())
    }
}

/// Whole or not at all: a master may read it at any moment.
fn write(path: &Path, content: &str) -> io::Result<&'static str> {
    if fs::read_to_string(path).is_ok_and(|present| present == content) {
        return Ok("unchanged");
    }
    let word = if path.exists() { "updated" } else { "written" };
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Under a name that nobody knows before: where others may write, one could be waiting that
    // leads to another file. Whoever reads Salt's files may read it, as the umask has it.
    let mut beside = tempfile::Builder::new()
        .prefix(".")
        .suffix(".new")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    beside.write_all(content.as_bytes())?;
    beside.persist(path)?;
    Ok(word)
}

/// The names of the files of a directory that carry the mark.
pub(super) fn ours(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(name) =
            path.file_name().filter(|_| path.extension().is_some_and(|is| is == "py") && is_ours(&path))
        {
            files.push(name.into());
        }
    }
    Ok(files)
}

fn is_ours(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.contains(MARK))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("`{}`: {error}", path.display()))
}
