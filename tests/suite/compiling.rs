//! Compiling a plugin takes what its author makes it take, up to a bound: what goes beyond is
//! refused with its name, and the host goes on.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use returner_servers::{Directory, Host, another_build, compile_bomb, guest, new_jid, ret, returner};
use serde_json::json;

/// For a test: a hundredth of what the component below takes, and far more than the host does.
const PROCESSOR: Duration = Duration::from_secs(6);

#[tokio::test]
async fn one_that_takes_too_much_is_refused_and_the_host_goes_on() {
    let directory = Directory::new("compiling");
    let good = fs::read(guest("hostile").await).expect("a plugin");
    let path = directory.write("plugin.wasm", &good);
    let mut host = Host::start_in(directory, "return: audit\naudit.plugin: plugin.wasm\n").await;
    // Each file has its inode: what is kept is the one that was compiled.
    let kept = |host: &Host| -> Vec<u64> {
        let files = fs::read_dir(host.directory().join("data/compiled")).expect("a directory");
        files.map(|file| file.and_then(|file| file.metadata()).expect("a file").ino()).collect()
    };
    let compiled = kept(&host);
    assert_eq!(compiled.len(), 1);

    // What it starts has its bound.
    host.limit_processor(PROCESSOR);
    fs::write(&path, compile_bomb(5000, 100)).expect("a test's file");
    let answer = host.send(reqwest::Method::POST, "/v1/reload", "").await;
    for words in ["compiling `", "plugin.wasm", "takes more than", "processor time", "look where the file"] {
        assert!(answer.status == 422 && answer.text.contains(words), "nothing of `{words}`: {}", answer.text);
    }
    host.store("/v1/returns", &ret(&new_jid(), "m", "test.arg", json!("fine"))).await;
    let bomb = path.display().to_string();
    let trial = returner(host.directory(), &["plugins", "trial", "audit", &bomb, "--url", &host.url("")]);
    assert!(trial.expect(4).stderr.contains("processor time"), "{}", trial.stderr);
    assert!(host.is_running());
    assert_eq!(kept(&host), compiled, "nothing of it is kept");

    // An honest one compiles, and comes out of the cache next time.
    fs::write(&path, another_build(&guest("hostile").await, "honest")).expect("a test's file");
    host.send(reqwest::Method::POST, "/v1/reload", "").await.expect(200);
    let both = kept(&host);
    assert_eq!(both.len(), 2);
    host.restart().await;
    assert_eq!(kept(&host), both);
    assert!(!host.log().contains("panicked"), "{}", host.log());
}

/// What a configuration or a person names may be anything.
#[tokio::test]
async fn what_is_no_file_of_a_plugins_size_is_not_read() {
    let directory = Directory::new("no-plugin");
    let large = directory.path().join("large.wasm");
    // Of which nothing is on the disk.
    fs::File::create(&large).and_then(|file| file.set_len(1 << 40)).expect("a test's file");
    let pipe = directory.path().join("pipe.wasm");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    std::os::unix::fs::symlink("/dev/zero", directory.path().join("zero.wasm")).expect("a test's link");
    for (name, words) in [
        ("large.wasm", "it has 1.0 TiB, and a plugin at most 256.0 MiB"),
        ("pipe.wasm", "no file that has an end"),
        ("zero.wasm", "no file that has an end"),
    ] {
        let shown = returner(directory.path(), &["plugins", "show", name]);
        assert!(shown.expect(1).stderr.contains(words), "nothing of `{words}`: {}", shown.stderr);
    }
}

/// Who can exchange what the host keeps can have it run what they like.
#[tokio::test]
async fn directories_that_others_can_write_to_are_refused() {
    for (name, mode) in
        [("data", 0o777), ("data/compiled", 0o770), ("data/crashes", 0o777), ("data/journal", 0o703)]
    {
        let directory = Directory::new("open");
        directory.write("returner.yaml", "return: sqlite3\nhost.listen: 127.0.0.1:0\nhost.data: data\n");
        for path in ["data", name] {
            let (path, mode) = (directory.path().join(path), if path == name { mode } else { 0o700 });
            fs::create_dir_all(&path).expect("a test's directory");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a test's directory");
        }
        let run = returner(directory.path(), &["serve", "--config", "returner.yaml"]);
        for words in [&format!("`{name}` can be written to by other users"), "hint: ", "chmod 700"] {
            assert!(run.expect(1).stderr.contains(words), "nothing of `{words}`: {}", run.stderr);
        }
    }
}
