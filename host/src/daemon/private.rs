//! The directories that hold what Salt answered, and code that is run as it is.
//!
//! Promise: the host uses none that somebody else can put something into: they could exchange
//! the compiled code, or lead what is written elsewhere.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Those in the one for data; each part makes its own where there is none.
const WITHIN: [&str; 3] = ["journal", "crashes", "compiled"];

/// Reading or entering, for the group and for others.
const OPEN: u32 = 0o055;

/// Writing, for the group and for others.
const WRITABLE: u32 = 0o022;

/// Of two that can write to a directory, neither can remove what is the other's.
const STICKY: u32 = 0o1000;

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateError {
    #[error("cannot use `{}` for data: {error}\n  hint: `host.data` names another directory", path.display())]
    Use { path: PathBuf, error: io::Error },
    #[error(
        "`{}` belongs to another user (uid {uid}), who could exchange what the host keeps there\n  hint: `chown` it to \
         the user of the host, or name another directory as `host.data`",
        path.display()
    )]
    Owner { path: PathBuf, uid: u32 },
    #[error(
        "`{}` can be written to by other users (mode {mode:o}), who could exchange what the host keeps there\n  hint: \
         look at what is in it, and then `chmod 700 {}`; `host.data` names another directory",
        path.display(), path.display()
    )]
    Writable { path: PathBuf, mode: u32 },
}

/// Makes the directory for data, or looks at the one that is there and at those in it. Gives what
/// is to be said about it.
pub(super) fn make_private(data: &Path) -> Result<Vec<String>, PrivateError> {
    let failed = |error| PrivateError::Use { path: data.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
    let found = fs::metadata(data).map_err(failed)?;
    check(data, &found)?;
    for path in WITHIN.map(|name| data.join(name)) {
        match fs::metadata(&path) {
            Ok(found) => check(&path, &found)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(PrivateError::Use { path, error }),
        }
    }
    let mut warnings = Vec::new();
    let shown = data.display();
    if found.mode() & OPEN != 0 {
        warnings.push(format!(
            "other users can look into `{shown}`, which holds what Salt answered; hint: `chmod 700 {shown}`"
        ));
    }
    let whole = fs::canonicalize(data).map_err(failed)?;
    if let Some(above) = whole.ancestors().skip(1).find(|above| anyone_exchanges(above)) {
        warnings.push(format!(
            "every user can put another directory in the place of `{shown}`; hint: `chmod o-w {}`",
            above.display()
        ));
    }
    Ok(warnings)
}

fn check(path: &Path, found: &Metadata) -> Result<(), PrivateError> {
    let (path, uid, mode) = (path.to_owned(), found.uid(), found.mode());
    if !found.is_dir() {
        return Err(PrivateError::Use { path, error: io::ErrorKind::NotADirectory.into() });
    }
    // The system's administrator can do everything anyway.
    if uid != geteuid().as_raw() && uid != 0 {
        return Err(PrivateError::Owner { path, uid });
    }
    match mode & WRITABLE {
        0 => Ok(()),
        _ => Err(PrivateError::Writable { path, mode: mode & 0o7777 }),
    }
}

fn anyone_exchanges(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|found| found.mode() & 0o002 != 0 && found.mode() & STICKY == 0)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_mode(path: &Path, mode: u32) {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn one_that_is_made_is_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("a/b");
        assert!(make_private(&data).unwrap().is_empty());
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
        assert!(make_private(&data).unwrap().is_empty(), "it is there");
    }

    #[test]
    fn one_that_others_can_write_to_is_refused() {
        for (name, mode) in
            [("", 0o777), ("", 0o770), ("journal", 0o777), ("crashes", 0o702), ("compiled", 0o720)]
        {
            let directory = tempfile::tempdir().unwrap();
            let data = directory.path().join("data");
            with_mode(&data, 0o700);
            with_mode(&data.join(name), mode);
            let error = make_private(&data).unwrap_err();
            assert!(matches!(error, PrivateError::Writable { .. }), "{name}: {error}");
            assert!(error.to_string().contains("chmod 700"), "{error}");
        }
    }

    #[test]
    fn one_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let found = fs::metadata(directory.path()).unwrap();
        assert!(check(directory.path(), &found).is_ok());
        // Only root can give a directory away.
        if geteuid().is_root() {
            std::os::unix::fs::chown(directory.path(), Some(65_534), None).unwrap();
            let error = make_private(directory.path()).unwrap_err();
            assert!(matches!(error, PrivateError::Owner { uid: 65_534, .. }), "{error}");
        }
    }

    #[test]
    fn one_that_others_can_look_into_or_exchange_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("all/data");
        with_mode(&data, 0o755);
        let said = make_private(&data).unwrap();
        assert!(said.len() == 1 && said[0].contains("look into"), "{said:?}");
        with_mode(&data, 0o700);
        with_mode(&directory.path().join("all"), 0o1777);
        assert!(make_private(&data).unwrap().is_empty(), "as `/tmp` is");
        with_mode(&directory.path().join("all"), 0o777);
        let said = make_private(&data).unwrap();
        assert!(said.len() == 1 && said[0].contains("chmod o-w"), "{said:?}");
    }
}
