//! Configurations that are nearly right: nothing panics, and what is read says the same each
//! time.

use returner_fuzz::Nearly;
use returner_fuzz::bolero::check;

use super::*;

const SEEDS: [&[u8]; 4] = [
    b"return: [mysql, audit]\nmysql.host: db\nmysql: {user: salt, pass: hunter2, port: 3306}\naudit.plugin: audit.wasm\naudit.connections: {db: {connection: mysql, tables: {audit: [insert]}}}\naudit.limits: {memory: 64MiB, time: 10s}\n",
    b"host.listen: 127.0.0.1:4510\nhost:\n  data: /var/lib/returner\n  max_body: 1MiB\nhost.tokens.ops: {sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, role: admin}\nid: master\n",
    b"redis.host: r\nredis.port: '6379'\nalternative.redis.host: s\nmongo:\n  host: m\n  db: salt\n  user: u\n  password: hunter2\nmaster_job_cache: redis\nkeep_jobs_seconds: 3600\nevent_return: [redis]\n",
    b"# a comment\n'return': \"sqlite3\"\nsqlite3.database: /tmp/x.db\nsqlite3.timeout: 5.0\nlist:\n- a\n- {b: [c, &x d, *x]}\ntext: |\n  more\n  lines\n",
];

#[test]
fn configurations() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("returner.yaml");
    check!().with_type::<Nearly>().for_each(|nearly| {
        std::fs::write(&path, nearly.of(&SEEDS)).expect("a file");
        match Settings::load(Some(&path)) {
            Ok(loaded) => {
                let again = Settings::load(Some(&path)).expect("it was read just now").settings;
                assert_eq!(loaded.settings.differences(&again), []);
            }
            Err(errors) => {
                assert!(!errors.findings.is_empty());
                assert!(errors.findings.iter().all(|finding| !finding.message.is_empty()));
            }
        }
    });
}
