//! `returner plugins run --watch`: what is run is built and run again on each change.
//!
//! The sources are what stands in the component's folder, but for what its `.gitignore` names:
//! that is made, and not written. A folder with a `Makefile` is built by `make`; without one,
//! somebody else builds, and the component itself is looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use ignore::WalkBuilder;

use super::{Failure, output};
use crate::daemon::Watch;

/// Never ends by itself. What goes wrong is said, and the next change waited for.
pub(super) async fn on_each_change(
    component: &Path,
    run: impl AsyncFn() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let folder = component.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let is_built = folder.join("Makefile").is_file();
    loop {
        let mut sources = sources(folder);
        if !is_built {
            sources.insert(component.to_owned());
        }
        let (count, watch) = (sources.len(), Watch::of(sources));
        let done = match is_built {
            true => build(folder, component),
            false => Ok(()),
        };
        let done = match done {
            Ok(()) => run().await,
            failed => failed,
        };
        if let Err(failure) = done {
            failure.report();
        }
        let files = output::counted(count as u64, "file", "files");
        output::line(&format!("-- waiting for a change of {files} in `{}`; ctrl-c ends", folder.display()))?;
        watch.changed().await;
    }
}

fn sources(folder: &Path) -> BTreeSet<PathBuf> {
    let mut walk = WalkBuilder::new(folder);
    // As git takes them, but without a repository, and without those around it.
    walk.require_git(false).parents(false).git_global(false).git_exclude(false);
    let files = walk.build().flatten().filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    files.map(ignore::DirEntry::into_path).collect()
}

fn build(folder: &Path, component: &Path) -> Result<(), Failure> {
    let mut make = Command::new("make");
    make.current_dir(folder).args(component.file_name());
    // It may have been `make` that has called us.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    match make.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed(format!("`make` ended with {status}"))),
        Err(error) => Err(Failure::failed(format!(
            "`make` cannot be run: {error}\n  hint: `apt-get install make`, or take the `Makefile` away"
        ))),
    }
}
