//! PostgreSQL, which Salt's keys for its own returners describe.

use super::*;

fn postgres<'a>(settings: &'a Settings, name: &str) -> &'a PostgresSettings {
    match &settings.connections[name] {
        ConnectionSettings::Postgres(postgres) => postgres,
        other => panic!("no PostgreSQL: {other:?}"),
    }
}

#[test]
fn salts_keys_describe_a_connection() {
    let (settings, warnings) = load(
        "return: pgjsonb\nreturner.pgjsonb.host: db\nreturner:\n  pgjsonb: {pass: geheim, sslmode: verify-full}\n\
         returner.postgres.passwd: p2\nalternative.returner.pgjsonb.host: /run/postgresql\n\
         pgjsonb.plugin: a.wasm\npgjsonb.connections: {db: pgjsonb, other: alternative.pgjsonb}\n",
    )
    .expect("a good configuration");
    let base = postgres(&settings, "pgjsonb");
    assert_eq!((base.host.as_str(), base.port, base.user.as_str()), ("db", 5432, "salt"));
    assert_eq!((shown(&base.password), base.tls_mode), (Some("geheim"), PostgresTls::VerifyFull));
    let profile = postgres(&settings, "alternative.pgjsonb");
    assert_eq!((profile.host.as_str(), shown(&profile.password)), ("/run/postgresql", Some("geheim")));
    let other = postgres(&settings, "postgres");
    assert_eq!((other.host.as_str(), shown(&other.password)), ("salt", Some("p2")));
    assert_eq!(other.tls_mode, PostgresTls::Prefer);
    let unused =
        "the connection `postgres` is described, and no returner has it\n  hint: `postgres.plugin: FILE`";
    assert!(warnings.len() == 1 && warnings[0].contains(unused), "{warnings:?}");
}

#[test]
fn mistakes_are_named() {
    let found = errors(
        "return: sqlite3\nreturner.pgjsonb.hots: db\nreturner.pgjsonb.sslmode: on\n\
         returner.pgjsonb.sslcrl: /etc/crl\nreturner.pgjsonb.port: 0\na.plugin: a.wasm\n\
         a.connections: {db: {connection: pgjsonb, keys: ['x']}, other: pgjson}\n",
    );
    for part in [
        "conf:2: unknown key `returner.pgjsonb.hots`\n  hint: did you mean `returner.pgjsonb.host`?",
        "conf:3: `returner.pgjsonb.sslmode` is no mode of TLS\n  hint: it is one of `disable`",
        "conf:4: `returner.pgjsonb.sslcrl` names certificates that were revoked",
        "conf:5: `returner.pgjsonb.port` is `0`",
        "conf:7: `a.connections.db` narrows `pgjsonb` by what it does not have",
        "conf:7: `a.connections.other` is `pgjson`, and there is no such connection\n  hint: did you mean `pgjsonb`?",
    ] {
        assert!(found.contains(part), "{part} is not in:\n{found}");
    }
    assert_eq!(found.matches("error: ").count(), 6, "{found}");
}
