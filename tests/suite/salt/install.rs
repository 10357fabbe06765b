//! What `returner salt install` writes and what it leaves alone.

use std::path::Path;

use returner_servers::{Directory, Run, returner};

fn install(directory: &Path) -> Run {
    returner(directory, &["salt", "install", "--config", "returner.yaml", "--to", "srv"])
}

fn files(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for part in ["_modules", "_returners", "_runners"] {
        for entry in std::fs::read_dir(directory.join("srv").join(part)).into_iter().flatten().flatten() {
            files.push(format!("{part}/{}", entry.file_name().to_string_lossy()));
        }
    }
    files.sort();
    files
}

#[test]
fn there_is_a_module_for_each_configured_returner_and_none_for_one_that_is_gone() {
    let directory = Directory::new("install");
    directory
        .write("returner.yaml", "return: [mysql, sqlite3]\nmysql.host: db\nalternative.mysql.host: db2\n");
    let missing = install(directory.path());
    assert!(missing.expect(2).stderr.contains("`srv` is no directory\n  hint: "), "{}", missing.stderr);
    std::fs::create_dir(directory.path().join("srv")).expect("a directory");
    let first = install(directory.path());
    assert!(first.expect(0).stdout.contains("salt '*' saltutil.sync_all"), "{}", first.stdout);
    let both = [
        "_modules/returner_mysql.py",
        "_modules/returner_sqlite3.py",
        "_returners/_returner_host.py",
        "_returners/mysql.py",
        "_returners/sqlite3.py",
        "_runners/returner_mysql.py",
        "_runners/returner_sqlite3.py",
    ];
    assert_eq!(files(directory.path()), both);
    assert!(install(directory.path()).expect(0).stdout.matches("unchanged").count() == both.len());
    // Another file beside them is nobody's business.
    directory.write("srv/_returners/own.py", "def returner(ret): pass\n");
    directory.write("returner.yaml", "return: sqlite3\n");
    let removed = install(directory.path());
    assert!(removed.expect(0).stdout.contains("removed"), "{}", removed.stdout);
    let left = [
        "_modules/returner_sqlite3.py",
        "_returners/_returner_host.py",
        "_returners/own.py",
        "_returners/sqlite3.py",
        "_runners/returner_sqlite3.py",
    ];
    assert_eq!(files(directory.path()), left);
}

/// Whoever may write into the directory gets no other file written, and Salt can read what is.
#[test]
fn nobody_can_have_it_write_elsewhere() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("install");
    directory.write("returner.yaml", "return: sqlite3\n");
    let victim = directory.write("victim", "mine");
    std::fs::create_dir_all(directory.path().join("srv/_returners")).expect("a directory");
    let waiting = directory.path().join("srv/_returners/sqlite3.new");
    std::os::unix::fs::symlink(&victim, &waiting).expect("a link");
    install(directory.path()).expect(0);
    assert_eq!(std::fs::read_to_string(&victim).expect("a file"), "mine");
    let written = directory.path().join("srv/_returners/sqlite3.py");
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&written), mode(&victim), "as any file of this user's");
    std::fs::remove_file(waiting).expect("a link");
    let left = files(directory.path());
    assert!(left.iter().all(|file| file.ends_with(".py")), "{left:?}");
}

#[test]
fn a_module_of_somebody_elses_is_not_overwritten() {
    let directory = Directory::new("install");
    directory.write("returner.yaml", "return: [mysql, sqlite3]\nmysql.host: db\n");
    std::fs::create_dir_all(directory.path().join("srv/_returners")).expect("a directory");
    directory.write("srv/_returners/sqlite3.py", "def returner(ret): pass\n");
    let refused = install(directory.path());
    let words =
        "`srv/_returners/sqlite3.py` is there and not written by this command; nothing was changed\n  hint: ";
    assert!(refused.expect(1).stderr.contains(words), "{}", refused.stderr);
    assert_eq!(files(directory.path()), ["_returners/sqlite3.py"]);
}
