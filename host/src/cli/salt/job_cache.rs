//! Salt's own job cache on a master's disk (`salt.returners.local_cache`).
//!
//! Each job has a directory `HH/HASH` with `.load.p`, `.minions.p`, and a directory for each
//! minion that answered, with `return.p` and at times `out.p`; each is one value in
//! MessagePack. Only looks; what is half written or damaged is passed over and counted.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::items::{from_msgpack, mark_trimmed};

/// What the master wrote of a job within the times that were asked for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) jid: String,
    /// As JSON.
    pub(super) load: String,
    pub(super) returns: Vec<Return>,
}

#[derive(Debug)]
pub(super) struct Return {
    pub(super) minion: String,
    /// As JSON.
    pub(super) text: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) jobs: Vec<Job>,
    /// Files that could not be read.
    pub(super) unreadable: Vec<String>,
}

impl Found {
    fn passed_over(&mut self, path: &Path, why: &dyn Display) {
        self.unreadable.push(format!("`{}`: {why}", path.display()));
    }
}

/// The jobs of which something was written at a wanted moment (milliseconds since 1970), in
/// the order of their ids.
///
/// # Errors
///
/// The directory cannot be listed, or is no job cache.
pub(super) fn read(directory: &Path, wanted: impl Fn(u64) -> bool) -> io::Result<Found> {
    let mut found = Found::default();
    let outer = directories(directory)?;
    let is_part = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if !outer.iter().any(|path| is_part(&path)) {
        return Err(io::Error::other("there is no job of Salt's in it"));
    }
    for outer in outer.iter().filter(is_part) {
        match directories(outer) {
            Ok(jobs) => jobs.iter().for_each(|job| read_job(job, &wanted, &mut found)),
            Err(error) => found.passed_over(outer, &error),
        }
    }
    found.jobs.sort_by(|one, other| one.jid.cmp(&other.jid));
    Ok(found)
}

fn read_job(directory: &Path, wanted: &impl Fn(u64) -> bool, found: &mut Found) {
    let path = directory.join(".load.p");
    let minions = match directories(directory) {
        Ok(minions) => minions,
        Err(error) => return found.passed_over(directory, &error),
    };
    let mut files = Vec::new();
    for file in minions.iter().map(|minion| minion.join("return.p")).chain([path.clone()]) {
        match is_wanted(&file, wanted) {
            Ok(true) => files.push(file),
            Ok(false) => {}
            Err(error) => found.passed_over(&file, &error),
        }
    }
    if files.is_empty() {
        return;
    }
    files.retain(|file| *file != path);
    let mut load = match unpack(&path) {
        Ok(Value::Object(load)) if load.contains_key("jid") && load.contains_key("fun") => load,
        Ok(_) => return found.passed_over(&path, &"it is no load"),
        Err(error) => return found.passed_over(&path, &error),
    };
    let jid = load["jid"].as_str().map_or_else(|| load["jid"].to_string(), str::to_owned);
    load.insert("jid".to_owned(), json!(jid));
    let mut returns = Vec::new();
    for path in files {
        match read_return(&path, &jid, &load) {
            Ok(read) => returns.push(read),
            Err(error) => found.passed_over(&path, &error),
        }
    }
    if let Ok(minions @ Value::Array(_)) = unpack(&directory.join(".minions.p")) {
        load.insert("Minions".to_owned(), minions);
    }
    found.jobs.push(Job { jid, load: Value::Object(load).to_string(), returns });
}

/// Salt keeps what was returned, and not of which function that is: the load knows.
fn read_return(path: &Path, jid: &str, load: &Map<String, Value>) -> Result<Return, String> {
    let Value::Object(mut answer) = unpack(path)? else { return Err("it is no return".to_owned()) };
    let directory = path.parent().unwrap_or(path);
    let minion = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    answer.insert("jid".to_owned(), json!(jid));
    answer.insert("id".to_owned(), json!(minion));
    for (from, to) in [("fun", "fun"), ("arg", "fun_args")] {
        if let Some(value) = load.get(from) {
            answer.insert(to.to_owned(), value.clone());
        }
    }
    mark_trimmed(&mut answer);
    if let Ok(out) = unpack(&directory.join("out.p")) {
        answer.insert("out".to_owned(), out);
    }
    Ok(Return { minion, text: Value::Object(answer).to_string() })
}

fn unpack(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    // However many values Salt has read and kept: it is one file at a time.
    from_msgpack(&bytes, usize::MAX).map_err(|error| error.to_string())
}

/// What is not there is not wanted; nor is what is no file.
fn is_wanted(path: &Path, wanted: &impl Fn(u64) -> bool) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file() && wanted(millis(metadata.modified()?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Those in a directory, links left out.
pub(super) fn directories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, value: &Value) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let packed = rmpv::ext::to_value(value).expect("JSON is MessagePack");
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &packed).expect("memory can be written to");
        fs::write(path, bytes).expect("a file");
    }

    #[test]
    fn jobs_and_returns_are_read_as_salt_wrote_them() {
        let cache = tempfile::tempdir().expect("a directory");
        let job = cache.path().join("ab/cdef");
        write(&job.join(".load.p"), &json!({"jid": "7", "fun": "test.echo", "arg": ["a"], "tgt": "*"}));
        write(&job.join(".minions.p"), &json!(["m1", "m2"]));
        write(&job.join("m1/return.p"), &json!({"return": "a", "retcode": 0, "success": true}));
        write(&job.join("m1/out.p"), &json!("nested"));
        fs::create_dir_all(job.join("m2")).expect("a directory");
        fs::write(job.join("m2/return.p"), b"\xc1").expect("a file");
        fs::create_dir_all(cache.path().join("ab/empty")).expect("a directory");
        fs::create_dir_all(cache.path().join("proc/other")).expect("a directory");
        let found = read(cache.path(), |_| true).expect("a job cache");
        assert_eq!(found.unreadable.len(), 1, "{found:?}");
        let [job] = &found.jobs[..] else { panic!("{found:?}") };
        let load: Value = serde_json::from_str(&job.load).expect("JSON");
        let expected =
            json!({"jid": "7", "fun": "test.echo", "arg": ["a"], "tgt": "*", "Minions": ["m1", "m2"]});
        assert_eq!(load, expected);
        let [answer] = &job.returns[..] else { panic!("{found:?}") };
        let answer: Value = serde_json::from_str(&answer.text).expect("JSON");
        let expected = json!({
            "jid": "7", "id": "m1", "fun": "test.echo", "fun_args": ["a"], "return": "a", "retcode": 0,
            "success": true, "out": "nested"
        });
        assert_eq!(answer, expected);
        assert!(read(cache.path(), |_| false).expect("a job cache").jobs.is_empty());
        assert!(read(&cache.path().join("proc"), |_| true).is_err(), "that is no job cache");
    }
}
