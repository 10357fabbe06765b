//! What Salt's own files say.

use super::*;

#[test]
fn without_a_file_there_are_defaults() {
    let Loaded { settings, warnings, .. } = Settings::load(None).expect("defaults");
    assert!(warnings.is_empty() && settings.files.is_empty());
    assert_eq!(
        (settings.return_to.as_slice(), settings.job_cache.as_str()),
        (["sqlite3".to_owned()].as_slice(), "sqlite3")
    );
    assert_eq!(settings.returner_names(), ["sqlite3"].into());
    assert_eq!(sqlite(&settings).database, PathBuf::from("./returner-data/sqlite3.db"));
    assert_eq!(settings.returners["sqlite3"].connections["db"], "sqlite3");
    assert_eq!(settings.host.listen, Some("127.0.0.1:4510".parse().expect("an address")));
    assert_eq!(settings.host.data, PathBuf::from("./returner-data"));
    assert_eq!((settings.host.max_body, settings.host.max_journal), (64 << 20, 10 << 30));
    assert!(!settings.host.id.is_empty());
}

#[test]
fn the_tutorial_is_understood() {
    let text = "return: mysql\nmysql.host: 'db'\nmysql.user: 'root'\nmysql.pass: 'xxxxx'\nmysql.db: 'salt'\nmysql.port: 3306\n";
    let found = settings(text);
    let mysql = mysql(&found, "mysql");
    assert_eq!(mysql.address, tcp("db", 3306));
    assert_eq!(
        (mysql.user.as_str(), shown(&mysql.password), mysql.database.as_str()),
        ("root", Some("xxxxx"), "salt")
    );
    assert_eq!(mysql.tls, MysqlTls::Preferred);

    let found = settings("return: redis\nredis.db: '0'\nredis.host: 'salt'\nredis.port: 6379\n");
    assert_eq!((&redis(&found).address, redis(&found).database), (&tcp("salt", 6379), 0));
    assert_eq!(found.returners["redis"].options["ttl"], "86400");

    let found = settings(
        "return: mongo\nmongo.db: salt\nmongo.host: m\nmongo.user: root\nmongo.password: p\nmongo.port: 27017\n",
    );
    assert_eq!((&mongo(&found).address, shown(&mongo(&found).password)), (&tcp("m", 27017), Some("p")));
    assert_eq!(found.returners["mongo"].options["indexes"], "false");
}

#[test]
fn salts_defaults_hold_for_what_is_empty() {
    let found =
        settings("return: [mysql, mongo, redis]\nmysql.pass: ''\nredis.password: ''\nmysql.ssl_ca: None\n");
    assert_eq!(mysql(&found, "mysql").address, tcp("salt", 3306));
    assert_eq!(shown(&mysql(&found, "mysql").password), Some("salt"));
    assert_eq!(mysql(&found, "mysql").tls, MysqlTls::Preferred);
    assert!(redis(&found).password.is_none());
    let plain = settings("return: mysql\nmysql.ssl: false\n");
    assert_eq!(mysql(&plain, "mysql").tls, MysqlTls::Disabled);
    assert_eq!(
        (mongo(&found).address.clone(), mongo(&found).database.as_str()),
        (tcp("localhost", 27017), "salt")
    );
    assert!(mysql(&settings("return: mysql\nmysql.pass: None"), "mysql").password.is_none());
}

#[test]
fn jobs_are_kept_as_long_as_salt_keeps_them() {
    let ttl =
        |text: &str| settings(&format!("return: redis\n{text}")).returners["redis"].options["ttl"].clone();
    assert_eq!(ttl("keep_jobs_seconds: 0"), "0");
    assert_eq!(ttl("keep_jobs: 48"), "172800");
    assert_eq!(ttl("keep_jobs: 48\nkeep_jobs_seconds: 60"), "60");
    assert_eq!(ttl("keep_jobs: 0"), "0");
}

#[test]
fn a_filled_salt_file_is_accepted() {
    let text = r"
master: [salt1, salt2]
id: 77
user: root
grains: {mysql: {host: x, foo: y}, roles: [web]}
mine_functions: {mysql.status: [], network.ip_addrs: [eth0]}
schedule: {job1: {function: state.apply, returner: mysql, seconds: 3600}}
beacons: {load: [{averages: {1m: [0, 2]}}]}
log_granular_levels: {'salt.modules.mysql': debug}
cache.redis.host: elsewhere
cache.redis.bank_prefix: x
mysql.default_file: /etc/mysql/debian.cnf
mysql.charset: utf8
mysql: {host: db, ssl: {cert: /c, key: /k}}
redis.cluster.startup_nodes: [{host: a, port: 6379}]
redis.cluster_mode: false
mongodb.host: m
publisher_acl: {fred: [test.ping, 'mysql.*']}
ext_pillar: [{mysql: {fromdb: {query: 'SELECT 1'}}}, {redis: {function: key_value}}]
master_job_cache: local_cache
event_return: [mysql, splunk]
return: mysql,slack,redis_return
";
    let (settings, warnings) = load(text).expect("Salt's own");
    assert_eq!(settings.return_to, ["mysql", "redis"]);
    assert_eq!(settings.event_return, ["mysql"]);
    assert_eq!((settings.job_cache.as_str(), settings.master_job_cache_is_set), ("mysql", false));
    assert_eq!(settings.returner_names(), ["mysql", "redis"].into());
    assert_eq!(
        (mysql(&settings, "mysql").address.clone(), settings.host.id.as_str()),
        (tcp("db", 3306), "77")
    );
    assert_eq!(mysql(&settings, "mysql").tls, MysqlTls::Preferred);
    assert_eq!(
        warnings,
        [
            "conf:21: `event_return: splunk` is a returner of Salt's own; it is left to Salt\n  hint: a plugin can take its place: `splunk.plugin: FILE`",
            "conf:22: `return: slack` is a returner of Salt's own; it is left to Salt\n  hint: a plugin can take its place: `slack.plugin: FILE`"
        ]
    );
}

/// Its keys are read past, so the hint to add one would lead nowhere.
#[test]
fn a_key_of_salts_names_no_returner() {
    let errors = errors("return: cache\ncache.plugin: cache.wasm\n");
    assert!(errors.contains("call the returner otherwise"), "{errors}");
}
