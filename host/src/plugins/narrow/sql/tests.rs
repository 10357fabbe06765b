//! Statements of honest plugins, and of others.

use super::*;

fn rules(dialect: Dialect, granted: &[(&str, &[&str])]) -> SqlRules {
    let set = |verbs: &[&str]| verbs.iter().map(|verb| (*verb).to_owned()).collect();
    SqlRules::new(dialect, granted.iter().map(|(table, verbs)| ((*table).to_owned(), set(verbs))).collect())
}

fn audit(dialect: Dialect) -> SqlRules {
    rules(dialect, &[("audit", &["select", "insert"])])
}

/// Each table but one, which has an entry of its own, and is the same one in other letters where
/// the server says so.
#[test]
fn a_name_in_other_letters_has_no_more_than_its_own_entry() {
    for dialect in BOTH {
        let rules = rules(dialect, &[("*", &["select"]), ("secrets", &["insert"])]);
        assert_eq!(rules.allows("SELECT * FROM audit"), Ok(()));
        for statement in ["SELECT * FROM secrets", "SELECT * FROM SECRETS", "SELECT * FROM `Secrets`"] {
            assert!(rules.allows(statement).is_err(), "{statement}");
        }
    }
    let sqlite = rules(Dialect::Sqlite, &[("*", &["select"])]);
    for statement in
        ["SELECT * FROM pragma_table_list", "SELECT * FROM PRAGMA_table_info WHERE arg = 'audit'"]
    {
        assert!(sqlite.allows(statement).is_err(), "{statement}");
    }
}

const BOTH: [Dialect; 2] = [Dialect::Mysql, Dialect::Sqlite];

#[test]
fn what_is_granted_goes_through() {
    for dialect in BOTH {
        let rules = audit(dialect);
        for statement in [
            "INSERT INTO audit (a, b) VALUES (?, ?), (?, ?)",
            "insert into `audit` values (1, 'it''s', NULL, -1.5)",
            "SELECT * FROM audit WHERE a = ? AND b IN (?, ?) ORDER BY a DESC LIMIT 10",
            "SELECT a, COUNT(*) FROM audit AS x GROUP BY a HAVING COUNT(*) > 1",
            "SELECT x.a FROM audit x JOIN (SELECT MAX(a) AS a FROM audit) AS y ON x.a = y.a",
            "SELECT COALESCE(a, '') FROM audit WHERE EXISTS (SELECT 1 FROM audit WHERE a = 1)",
            "INSERT INTO audit (a) SELECT a FROM audit",
            "SELECT 1 UNION ALL SELECT a FROM audit",
            "SELECT CASE WHEN a LIKE 'x%' THEN 1 ELSE 0 END FROM audit",
        ] {
            assert_eq!(rules.allows(statement), Ok(()), "{statement}");
            assert_eq!(rules.allows(statement), Ok(()), "known now: {statement}");
        }
    }
}

/// What the bundled returner asks where the columns leave out case.
#[test]
fn a_text_is_compared_by_its_bytes() {
    let rules = audit(Dialect::Mysql);
    let exact = "CAST(CONVERT(`a` USING utf8mb4) AS BINARY)";
    let statement =
        format!("SELECT DISTINCT {exact} FROM `audit` WHERE {exact} = ? GROUP BY {exact} ORDER BY 1");
    assert_eq!(rules.allows(&statement), Ok(()));
}

#[test]
fn every_other_table_and_verb_is_refused() {
    for dialect in BOTH {
        let rules = audit(dialect);
        for statement in [
            "SELECT * FROM secrets",
            "SELECT * FROM audit, secrets",
            "SELECT * FROM audit JOIN secrets ON 1 = 1",
            "SELECT (SELECT a FROM secrets) FROM audit",
            "SELECT * FROM audit WHERE a IN (SELECT a FROM secrets)",
            "SELECT * FROM audit ORDER BY (SELECT a FROM secrets)",
            "SELECT * FROM audit LIMIT (SELECT a FROM secrets)",
            "SELECT a FROM audit GROUP BY (SELECT a FROM secrets)",
            "SELECT a FROM audit UNION SELECT a FROM secrets",
            "SELECT * FROM (SELECT * FROM secrets) AS audit",
            "SELECT * FROM (audit JOIN secrets)",
            "INSERT INTO audit SELECT * FROM secrets",
            "INSERT INTO audit (a) VALUES ((SELECT a FROM secrets))",
            "INSERT INTO secrets (a) VALUES (1)",
            "REPLACE INTO audit (a) VALUES (1)",
            "UPDATE audit SET a = 1",
            "DELETE FROM audit",
            "DELETE FROM secrets",
            "DROP TABLE audit",
            "DROP TABLE IF EXISTS audit, secrets",
            "ALTER TABLE audit ADD COLUMN b INT",
            "CREATE TABLE audit (a INT)",
            "CREATE TABLE other AS SELECT * FROM secrets",
            "CREATE VIEW audit AS SELECT * FROM secrets",
            "WITH audit AS (SELECT * FROM secrets) SELECT * FROM audit",
            "WITH x AS (SELECT 1) SELECT * FROM secrets",
            "SELECT * FROM other.audit",
            "SELECT * FROM `other.audit`",
            "SELECT * FROM information_schema.tables",
            "SELECT * FROM sqlite_master",
            "SELECT * FROM pragma_table_info('audit')",
            "SELECT load_file('/etc/passwd')",
            "SELECT sleep(100)",
            "SELECT load_extension('x')",
            "SELECT mysql.audit(1)",
            "SELECT a INTO secrets FROM audit",
            "SELECT * FROM audit; DELETE FROM secrets",
            "SELECT 1; SELECT 2",
            "SELECT 1 /* FROM secrets */",
            "SELECT 1 /*! FROM audit */",
            "SELECT 1 -- x",
            "SELECT 'a\\' FROM audit",
            "SELECT @@datadir",
            "SET SESSION sql_mode = 'ANSI_QUOTES'",
            "ATTACH 'other.db' AS other",
            "PRAGMA writable_schema = 1",
            "VACUUM INTO 'copy.db'",
            "BEGIN",
            "COMMIT",
            "CALL audit()",
            "GRANT ALL ON audit TO x",
            "LOAD DATA INFILE 'x' INTO TABLE audit",
            "SELECT * INTO OUTFILE 'x' FROM audit",
            "TABLE secrets",
            "SELECT * FROM audit PARTITION (secrets)",
            "CREATE TRIGGER x AFTER INSERT ON audit BEGIN DELETE FROM secrets; END",
            "",
            "no SQL",
        ] {
            assert!(rules.allows(statement).is_err(), "{dialect:?}: {statement}");
        }
    }
    assert!(audit(Dialect::Mysql).allows("SELECT * FROM \"secrets\"").is_err());
    assert!(
        audit(Dialect::Mysql)
            .allows("INSERT INTO audit (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 1")
            .is_err()
    );
    assert!(
        audit(Dialect::Sqlite)
            .allows("INSERT INTO audit (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1")
            .is_err()
    );
    assert!(audit(Dialect::Sqlite).allows("INSERT OR REPLACE INTO audit (a) VALUES (1)").is_err());
    assert!(audit(Dialect::Sqlite).allows("SELECT * FROM \"secrets\"").is_err());
}

#[test]
fn postgresql_has_ways_of_its_own() {
    let rules = rules(Dialect::Postgres, &[("audit", &["select", "insert", "create"]), ("*", &[])]);
    for statement in [
        "INSERT INTO audit (a, b) VALUES (?, ?::jsonb), (?, ?) ON CONFLICT DO NOTHING",
        "INSERT INTO AUDIT VALUES (?)",
        "INSERT INTO \"audit\" VALUES (1, 'it''s', NULL)",
        "SELECT a, b->>'x' FROM audit WHERE a = ? AND b->'x' = '1'::jsonb ORDER BY a LIMIT 10",
        "CREATE TABLE IF NOT EXISTS audit (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         at TIMESTAMPTZ NOT NULL DEFAULT now(), doc JSONB, UNIQUE (at, id))",
        "CREATE INDEX IF NOT EXISTS audit_i ON audit (at)",
        "SELECT a::varchar(10), CAST(b AS double precision), d::timestamp(3) with time zone FROM audit",
        "CREATE TABLE audit (id BIGSERIAL, at TIMESTAMP WITH TIME ZONE, n NUMERIC(10, 2))",
    ] {
        assert_eq!(rules.allows(statement), Ok(()), "{statement}");
    }
    for statement in [
        "SELECT * FROM \"Audit\"",
        "SELECT * FROM `audit`",
        "SELECT * FROM secrets",
        "SELECT * FROM pg_class",
        "SELECT * FROM PG_SHADOW",
        "SELECT * FROM public.audit",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM ONLY secrets",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_sleep(100)",
        "SELECT set_config('role', 'postgres', false)",
        "SELECT * FROM audit, LATERAL (SELECT * FROM secrets) AS x",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT query_to_xml('SELECT * FROM secrets', true, true, '')",
        "SELECT E'\\' FROM secrets --'",
        "SELECT $$x$$ FROM audit",
        "SELECT $a$ FROM audit $a$, a FROM secrets",
        "SELECT a ?? 'x' FROM audit",
        "SELECT U&'x' FROM audit",
        "INSERT INTO audit (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1",
        "INSERT INTO audit SELECT * FROM secrets",
        "WITH x AS (DELETE FROM audit RETURNING *) SELECT * FROM x",
        "COPY audit TO '/tmp/x'",
        "COPY audit FROM PROGRAM 'id'",
        "DO 'BEGIN END'",
        "TABLE secrets",
        "SELECT a INTO secrets FROM audit",
        "CREATE TEMP TABLE audit (a INT)",
        "CREATE UNLOGGED TABLE audit (a INT)",
        "CREATE TABLE audit (LIKE secrets)",
        "CREATE TABLE audit (a INT) INHERITS (secrets)",
        "CREATE TABLE audit (a INT REFERENCES secrets (a))",
        "LISTEN x",
        "SELECT 16391::regclass::text FROM audit",
        "SELECT CAST(16391 AS regclass) FROM audit",
        "SELECT regclass 'secrets' FROM audit",
        "SELECT (NULL::secrets).a FROM audit",
        "SELECT (NULL::serial).a FROM audit",
        "SELECT (NULL::\"secrets\") FROM audit",
        "SELECT (NULL::public.secrets) FROM audit",
        "CREATE TABLE audit (s secrets)",
        "SELECT current_role::text FROM audit",
        "SELECT current_schema, session_user FROM audit",
        "SELECT user FROM audit",
        "CREATE INDEX audit_i ON audit (evil(5))",
        "CREATE INDEX audit_i ON audit (a) WHERE evil(5)",
        "SELECT * FROM audit FOR UPDATE",
    ] {
        assert!(rules.allows(statement).is_err(), "{statement}");
    }
}

#[test]
fn changes_reach_the_table_that_is_granted_only() {
    let rules =
        rules(Dialect::Mysql, &[("audit", &["update", "delete", "create", "alter", "drop", "insert"])]);
    for statement in [
        "UPDATE audit SET a = a + 1 WHERE b = ? ORDER BY c LIMIT 1",
        "DELETE FROM audit WHERE a < ? LIMIT 5",
        "CREATE TABLE IF NOT EXISTS audit (a INT PRIMARY KEY AUTO_INCREMENT, b TEXT) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        "CREATE UNIQUE INDEX audit_i ON audit (a, b)",
        "ALTER TABLE audit ADD COLUMN c INT, DROP COLUMN b",
        "DROP TABLE audit",
        "REPLACE INTO audit (a) VALUES (1)",
        "CREATE TABLE audit (a INT, b INT REFERENCES audit (a), FOREIGN KEY (b) REFERENCES audit (a))",
        "CREATE INDEX audit_i ON audit (a(10))",
    ] {
        assert_eq!(rules.allows(statement), Ok(()), "{statement}");
    }
    for statement in [
        "UPDATE audit, secrets SET secrets.a = 1",
        "UPDATE audit JOIN secrets ON 1 = 1 SET secrets.a = 1",
        "UPDATE audit SET a = (SELECT a FROM secrets)",
        "DELETE audit, secrets FROM audit JOIN secrets",
        "DELETE FROM audit USING audit JOIN secrets",
        "DELETE FROM audit WHERE a IN (SELECT a FROM secrets)",
        "CREATE TABLE audit (a INT) ENGINE=MERGE UNION=(secrets)",
        "CREATE TABLE audit (a INT) ENGINE=FEDERATED CONNECTION='mysql://x'",
        "CREATE TABLE audit (a INT) DATA DIRECTORY='/tmp'",
        "CREATE TABLE audit LIKE secrets",
        "CREATE TABLE audit (a INT) SELECT * FROM secrets",
        "CREATE TABLE audit (a INT, FOREIGN KEY (a) REFERENCES secrets (a))",
        "CREATE TABLE audit (a INT REFERENCES secrets (a))",
        "CREATE TABLE other (a INT REFERENCES audit (a))",
        "UPDATE LOW_PRIORITY secrets SET a = 1",
        "UPDATE IGNORE secrets SET a = 1",
        "UPDATE low_priority audit SET a = 1",
        "DELETE FROM QUICK secrets",
        "DROP TABLE audit CASCADE",
        "DROP TEMPORARY TABLE audit",
        "ALTER TABLE audit DROP COLUMN a CASCADE",
        "CREATE INDEX audit_i ON audit (evil.f(5))",
        "CREATE TEMPORARY TABLE audit (a INT)",
        "ALTER TABLE audit RENAME TO secrets",
        "ALTER TABLE audit ADD COLUMN c INT REFERENCES secrets (a)",
        "CREATE INDEX i ON secrets (a)",
        "DROP TABLE audit, secrets",
        "DROP VIEW audit",
        "SELECT * FROM audit",
        "TRUNCATE TABLE audit",
        "RENAME TABLE audit TO secrets",
    ] {
        assert!(rules.allows(statement).is_err(), "{statement}");
    }
}

#[test]
fn a_star_is_every_table_but_the_servers_own() {
    let rules = rules(
        Dialect::Sqlite,
        &[("*", &["select"]), ("sqlite_master", &[]), ("pragma_table_info", &["select"])],
    );
    assert!(rules.allows("SELECT * FROM anything").is_ok());
    assert!(rules.allows("SELECT name FROM pragma_table_info('t')").is_ok(), "named on its own");
    for statement in [
        "SELECT * FROM sqlite_master",
        "SELECT * FROM sqlite_schema",
        "SELECT * FROM main.t",
        "SELECT * FROM pragma_database_list()",
    ] {
        assert!(rules.allows(statement).is_err(), "{statement}");
    }
}

/// The schemas that the bundled returners set up.
#[test]
fn the_bundled_schemas_go_through() {
    use crate::config::{Bundled, Narrowing};
    for (bundled, dialect, schema) in [
        (Bundled::Mysql, Dialect::Mysql, include_str!("../../../../../plugins/mysql/schema.sql")),
        (Bundled::Sqlite3, Dialect::Sqlite, include_str!("../../../../../plugins/sqlite/schema.sql")),
    ] {
        let Narrowing::Tables(granted) = Narrowing::of_bundled(bundled) else { panic!("tables") };
        let rules = SqlRules::new(dialect, granted);
        let plain: Vec<&str> = schema.lines().filter(|line| !line.starts_with("--")).collect();
        for statement in plain.join("\n").split(";\n").filter(|statement| !statement.trim().is_empty()) {
            assert_eq!(rules.allows(statement.trim().trim_end_matches(';')), Ok(()), "{statement}");
        }
    }
}

proptest::proptest! {
    /// Whatever is read, what is not granted is not there.
    #[test]
    fn no_text_panics_or_reaches_another_table(
        text in "(SELECT|INSERT INTO|UPDATE|DELETE FROM|FROM|WHERE|JOIN|secrets|audit|a|=|\\(|\\)|,|'|`|\"|;|--|/\\*|\\*/|\\*|@|UNION|WITH|AS|VALUES|SET|[a-z0-9 ]{0,3}| ){0,20}",
    ) {
        for dialect in BOTH {
            if audit(dialect).allows(&text).is_ok() {
                // It may stand in a text, or name a column or an alias.
                let uses = uses(dialect, &text).expect("it was read just now");
                proptest::prop_assert!(uses.iter().all(|(_, table)| table.name == "audit"), "{text}");
            }
        }
    }
}

/// Each of every table's words stands before a name with an entry of its own.
#[test]
fn a_word_before_a_table_is_no_table() {
    let any = rules(Dialect::Mysql, &[("*", &["update", "delete"]), ("secrets", &["select"])]);
    assert_eq!(any.allows("UPDATE other SET a = 1"), Ok(()));
    assert_eq!(any.allows("UPDATE `ignore` SET a = 1"), Ok(()), "a table of that name");
    for statement in [
        "UPDATE LOW_PRIORITY secrets SET a = 1",
        "UPDATE IGNORE secrets SET a = 1",
        "UPDATE secrets SET a = 1",
    ] {
        assert!(any.allows(statement).is_err(), "{statement}");
    }
}

#[test]
fn who_may_only_read_rows_holds_none() {
    for dialect in [Dialect::Mysql, Dialect::Postgres] {
        let reads = rules(dialect, &[("audit", &["select"])]);
        let changes = rules(dialect, &[("audit", &["select", "update"])]);
        for statement in ["SELECT a FROM audit FOR UPDATE", "SELECT a FROM audit WHERE a = 1 FOR SHARE"] {
            assert!(reads.allows(statement).is_err(), "{statement}");
            assert_eq!(changes.allows(statement), Ok(()), "{statement}");
        }
        assert!(reads.allows("SELECT CURRENT_USER").is_err() && reads.allows("SELECT current_role").is_err());
    }
}

#[test]
fn what_tells_of_all_tables_or_is_a_part_of_one_has_an_entry_of_its_own() {
    let rules = rules(Dialect::Sqlite, &[("*", &["select"]), ("docs", &["insert"])]);
    assert_eq!(rules.allows("SELECT * FROM notes_content"), Ok(()));
    for table in ["dbstat", "DBSTAT", "tables_used", "docs", "docs_content", "Docs_Data"] {
        assert!(rules.allows(&format!("SELECT * FROM {table}")).is_err(), "{table}");
    }
}

/// What is made of a statement takes more memory than the statement; the SDK's longest is read.
#[test]
fn a_statement_has_bounds() {
    let row = format!("({})", ["?"; 31].join(","));
    let insert = format!("INSERT INTO audit VALUES {}", vec![row.as_str(); 1024].join(","));
    let reads = |count: usize| format!("SELECT {} FROM audit", vec!["1"; count].join(","));
    for dialect in BOTH {
        let rules = audit(dialect);
        assert_eq!(rules.allows(&insert), Ok(()));
        assert_eq!(rules.allows(&reads(40_000)), Ok(()));
        for (statement, words) in
            [(reads(60_000), "words and signs"), (reads(1_000_000), "belong into parameters")]
        {
            let refused = rules.allows(&statement).expect_err("too long").to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }
}

/// The parser stops at END, and a server takes it for a name.
#[test]
fn nothing_stands_after_a_statement() {
    for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
        let rules = audit(dialect);
        for statement in [
            "SELECT a FROM audit END UNION SELECT a FROM secrets",
            "SELECT a END FROM secrets",
            "SELECT a FROM audit end",
            "INSERT INTO audit (a) SELECT a FROM audit END UNION SELECT a FROM secrets",
            "SELECT a FROM audit; END",
            "SELECT a FROM audit;; END",
            "SELECT a FROM audit; SELECT a FROM audit",
        ] {
            assert!(rules.allows(statement).is_err(), "{dialect:?}: {statement}");
        }
        let case = "SELECT CASE WHEN a = 1 THEN 2 ELSE 3 END FROM audit";
        assert_eq!(rules.allows(case), Ok(()), "{dialect:?}");
    }
}

/// Nothing is so deep that it takes more than a thread's stack, here an eighth of what the host's
/// have; what is long and not deep is read.
#[test]
fn a_statement_that_is_too_deep_is_refused() {
    let wheres = vec!["a = ?"; 240].join(" OR ");
    let chains = |count: usize| {
        let repeated = |text: &str| text.repeat(count);
        [
            format!("SELECT 1{} FROM audit", repeated("+1")),
            format!("SELECT 1 FROM audit{}", repeated(" JOIN audit")),
            format!("SELECT 1 FROM audit{}", repeated(" CROSS JOIN audit")),
            format!("SELECT 1, 2 FROM audit{}", repeated(" UNION SELECT 1, 2")),
            format!("SELECT {}1 FROM audit", repeated("- ")),
            format!("SELECT {}1 FROM audit", repeated("NOT ")),
            format!("SELECT a FROM audit WHERE {}1 = 1", repeated("a IN (1, 2) AND ")),
            format!("SELECT {}1{} FROM audit", repeated("("), repeated(")")),
            format!("SELECT 1{} FROM audit", repeated("::int")),
            format!("SELECT CASE {} END FROM audit", repeated("WHEN a = 1 THEN 2 ")),
        ]
    };
    let read = move || {
        for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
            let rules = audit(dialect);
            assert_eq!(rules.allows(&format!("SELECT a FROM audit WHERE {wheres}")), Ok(()));
            for count in [49, 240, 499, 990] {
                for statement in chains(count) {
                    let _ = rules.allows(&statement);
                }
            }
            for statement in chains(20_000) {
                assert!(rules.allows(&statement).is_err(), "{dialect:?}: {}", &statement[..40]);
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(read).expect("a thread");
    thread.join().expect("it reads all of them");
}

/// What a server and the parser read differently: the server reads `FROM secrets`.
#[test]
fn a_sign_that_is_read_in_two_ways_is_no_door() {
    for dialect in BOTH {
        let rules = audit(dialect);
        for statement in [
            "SELECT \u{feff}* FROM secrets",
            "SELECT 1\u{feff}FROM secrets",
            "SELECT a\u{a0}FROM secrets",
            "SELECT a\u{b}FROM\u{c}secrets",
            "SELECT 1e1FROM secrets",
            "SELECT 1FROM secrets",
            "SELECT 1.FROM secrets",
            "SELECT .1FROM secrets",
            "SELECT 1_0FROM secrets",
            "SELECT a.1e1FROM secrets",
            "SELECT '\\' FROM secrets '",
            "SELECT '\\'' FROM secrets -- '",
            "SELECT `\\` FROM secrets `",
            "SELECT 1 FROM audit\0 WHERE 1 = 1",
        ] {
            assert!(rules.allows(statement).is_err(), "{statement:?}");
        }
        for statement in ["SELECT 'h\u{e9} \u{feff}', 1e1 FROM audit", "SELECT `\u{e9}` FROM audit AS x1"] {
            assert_eq!(rules.allows(statement), Ok(()), "{statement}");
        }
    }
}

/// What a trial lets through is read, however it is written.
#[test]
fn what_a_statement_changes_is_known() {
    for (statement, tables) in [
        ("INSERT INTO other . logs (a) VALUES (1)", &["logs"][..]),
        ("INSERT INTO `other`.`Logs` (a) VALUES (1)", &["Logs"]),
        ("UPDATE logs SET a = (SELECT max(a) FROM audit)", &["logs"]),
        ("DELETE FROM logs WHERE a IN (SELECT a FROM other.audit)", &["logs"]),
        ("SELECT * FROM logs, information_schema.tables", &[]),
    ] {
        let changed = reached(Dialect::Mysql, statement).map(|reached| reached.changed);
        assert_eq!(changed, Ok(tables.iter().map(|table| (*table).to_owned()).collect()), "{statement}");
    }
    let load = "INSERT INTO jids (jid, load) VALUES (?, ?) ON CONFLICT (jid) DO UPDATE SET load = EXCLUDED.load || \
                jsonb_build_object('Minions', coalesce(EXCLUDED.load->'Minions', '[]'::jsonb) || \
                coalesce(jids.load->'Minions', '[]'::jsonb)) WHERE jids.load->'fun' IS NULL";
    let changed = |statement| reached(Dialect::Postgres, statement).map(|reached| reached.changed);
    assert_eq!(changed(load), Ok(vec!["jids".to_owned(); 2]), "of the example");
    let insert = changed("INSERT INTO Logs (a) VALUES (?) ON CONFLICT (a) DO NOTHING");
    assert_eq!(insert, Ok(vec!["logs".to_owned()]));
    let select =
        "SELECT Logs.F, \"Q\" FROM Logs WHERE a = (SELECT max(b) FROM other.audit) AND c = 'text' AND d = ?";
    let reached = reached(Dialect::Postgres, select).unwrap();
    assert_eq!((reached.changed.len(), reached.read), (0, vec!["logs".to_owned(), "audit".to_owned()]));
    for name in ["f", "Q", "max"] {
        assert!(reached.words.contains(name), "{name}");
    }
    assert!(!reached.words.contains("text"), "it is a text");
}

#[test]
fn what_may_reach_beyond_a_transaction_changes_nobody_knows_what() {
    for dialect in [Dialect::Mysql, Dialect::Postgres] {
        for statement in [
            "SELECT NEXT  VALUE FOR sq",
            "SELECT NEXT /* x */ VALUE FOR sq",
            "SELECT nextval('sq')",
            "SELECT U&\"nextva\\006C\"('sq')",
            "SELECT query_to_xml('SELECT next'||'val(''sq'')', true, true, '')",
            "SELECT pg_terminate_backend(1)",
            "SELECT * FROM pg_terminate_backend(1)",
            "SELECT a INTO OUTFILE '/tmp/a' FROM t",
            "SELECT get_lock('a', 1)",
            "INSERT INTO mysql.func (name) VALUES ('a')",
            "UPDATE performance_schema.setup_consumers SET enabled = 'NO'",
            "UPDATE pg_catalog.pg_settings SET setting = 'x'",
            "CALL store()",
        ] {
            assert!(reached(dialect, statement).is_err(), "{dialect:?}: {statement}");
        }
    }
}

/// Where a server has a function of its own, and where it looks for a stored one.
#[test]
fn a_stored_function_is_no_known_one() {
    let mysql = rules(Dialect::Mysql, &[("audit", &["select", "insert", "create"]), ("count", &["insert"])]);
    for statement in [
        "SELECT trim (a) FROM audit",
        "SELECT TRIM\t(BOTH ' ' FROM a) FROM audit",
        "SELECT COUNT (*) FROM audit",
        "SELECT a FROM audit ORDER BY max\n(a)",
        "SELECT `now`() FROM audit",
        "SELECT `hex`(a) FROM audit",
        "INSERT INTO audit (a) VALUES (now ())",
    ] {
        assert!(mysql.allows(statement).is_err(), "{statement}");
    }
    for statement in [
        "SELECT trim(a), COUNT(*), concat (a, 'x') FROM audit WHERE a IN (1, 2) AND (b = 1)",
        "INSERT INTO audit (a) VALUES (now())",
        "INSERT INTO count (a) VALUES (1)",
        "CREATE TABLE audit (`count` INT, position INT, KEY position (position), KEY `max` (`count`))",
    ] {
        assert_eq!(mysql.allows(statement), Ok(()), "{statement}");
    }
    let postgres = audit(Dialect::Postgres);
    assert_eq!(postgres.allows("SELECT lower (a) FROM audit"), Ok(()));
    assert!(postgres.allows("SELECT \"LOWER\"(a) FROM audit").is_err());
}

#[test]
fn a_name_that_a_server_cuts_is_refused() {
    let (whole, long) = ("a".repeat(63), "a".repeat(64));
    let postgres = rules(Dialect::Postgres, &[("*", &["select"]), (&whole, &["insert"])]);
    assert_eq!(postgres.allows(&format!("INSERT INTO {whole} (a) VALUES (1)")), Ok(()));
    for name in [long.clone(), format!("\"{long}\"")] {
        assert!(postgres.allows(&format!("SELECT * FROM {name}")).is_err(), "{name}");
    }
    let sqlite = rules(Dialect::Sqlite, &[("*", &["select"])]);
    assert_eq!(sqlite.allows(&format!("SELECT * FROM {long}")), Ok(()));
}

#[test]
fn a_prefix_of_a_column_is_mysqls() {
    let create = "CREATE INDEX audit_i ON audit (evil(1))";
    for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
        let allowed = rules(dialect, &[("audit", &["create"])]).allows(create);
        assert_eq!(allowed.is_ok(), dialect == Dialect::Mysql, "{dialect:?}");
    }
}

/// What is doubled by each level is refused by its signs; names of tables stay.
#[test]
fn after_a_period_stands_a_name() {
    let verbs: &[&str] = &["select", "insert", "update", "create", "alter"];
    for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
        let rules = rules(dialect, &[("s.audit", verbs), ("audit", verbs)]);
        for statement in [
            "SELECT a.trim(a) FROM audit",
            "SELECT a.trim(a.trim(a.trim(a))) FROM audit",
            "SELECT a . floor (1) FROM audit",
            "SELECT audit.ceil(a) FROM audit",
            "SELECT a.(a) FROM audit",
            "SELECT a.-b FROM audit",
            "SELECT a.'b' FROM audit",
            "INSERT INTO audit (a) SELECT into a.trim(a) FROM audit",
            "SELECT 1 FROM audit JOIN audit ON a.trim((SELECT 1 FROM audit JOIN audit ON a.trim(a)))",
        ] {
            assert!(rules.allows(statement).is_err(), "{dialect:?}: {statement}");
        }
        for statement in [
            "INSERT INTO s.audit (a) VALUES (1)",
            "INSERT INTO s . audit(a) SELECT x.a FROM audit AS x WHERE x.a IN (1) AND x.a = (1)",
            "CREATE TABLE IF NOT EXISTS s.audit (a INT, b INT REFERENCES s.audit (a))",
            "CREATE INDEX audit_a ON s.audit (a)",
            "SELECT audit.*, s.audit.a FROM s.audit",
        ] {
            assert_eq!(rules.allows(statement), Ok(()), "{dialect:?}: {statement}");
        }
    }
}

#[test]
fn brackets_have_a_bound_that_honest_statements_keep() {
    for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
        let rules = audit(dialect);
        let nested = |count: usize| format!("SELECT {}1{} FROM audit", "(".repeat(count), ")".repeat(count));
        assert_eq!(rules.allows(&nested(16)), Ok(()));
        let refused = rules.allows(&nested(17)).expect_err("too many").to_string();
        assert!(refused.contains("open brackets"), "{refused}");
    }
}

/// It is read already, for longer than anything takes.
#[test]
fn what_nobody_could_read_is_not_read_again() {
    let (rules, statement) = (audit(Dialect::Sqlite), "SELECT a FROM audit");
    assert_eq!(rules.known(statement), None);
    let now = Instant::now();
    rules.read.lock().insert(digest(statement), now);
    assert_eq!(rules.known(statement), None);
    rules.read.lock().insert(digest(statement), now.checked_sub(TIME).expect("a moment"));
    assert_eq!(rules.known(statement), Some(Err(too_slow())));
    // It came to an end.
    assert_eq!(rules.allows(statement), Ok(()));
    assert_eq!(rules.known(statement), Some(Ok(())));
}

/// What a server has not itself may be somebody's function there.
#[test]
fn each_server_has_functions_of_its_own() {
    let all = [
        (Dialect::Mysql, "if(a, 1, 2)"),
        (Dialect::Mysql, "database()"),
        (Dialect::Mysql, "substring_index(a, 'b', 1)"),
        (Dialect::Mysql, "date_format(a, '%Y')"),
        (Dialect::Mysql, "unix_timestamp()"),
        (Dialect::Postgres, "jsonb_build_object('a', 1)"),
        (Dialect::Postgres, "to_jsonb(a)"),
        (Dialect::Sqlite, "total(a)"),
        (Dialect::Sqlite, "typeof(a)"),
        (Dialect::Sqlite, "changes()"),
        (Dialect::Sqlite, "strftime('%Y', a)"),
        (Dialect::Sqlite, "datetime('now')"),
        (Dialect::Sqlite, "julianday(a)"),
        (Dialect::Sqlite, "last_insert_rowid()"),
    ];
    let of_two = ["hex(a)", "ifnull(a, 1)", "instr(a, 'b')", "group_concat(a)", "json_extract(a, '$.b')"];
    let both = of_two.into_iter().flat_map(|call| BOTH.map(|dialect| (dialect, call)));
    let had: Vec<_> = all.into_iter().chain(both).chain([(Dialect::Sqlite, "if(a, 1, 2)")]).collect();
    for (_, call) in &had {
        for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
            let allowed = audit(dialect).allows(&format!("SELECT {call} FROM audit"));
            assert_eq!(allowed.is_ok(), had.contains(&(dialect, call)), "{dialect:?}: {call}: {allowed:?}");
        }
    }
    for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
        let rules = audit(dialect);
        for call in ["coalesce(a, 1)", "count(*)", "lower(a)", "trim(a)", "row_number() OVER (ORDER BY a)"] {
            assert_eq!(rules.allows(&format!("SELECT {call} FROM audit")), Ok(()), "{dialect:?}: {call}");
        }
        // Without OVER it is a stored function of an old server's.
        assert!(rules.allows("SELECT row_number() FROM audit").is_err(), "{dialect:?}");
    }
}

/// Its name is another table's to have.
#[test]
fn an_index_begins_as_its_table() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let rules = rules(dialect, &[("audit", &["create", "alter"])]);
        for name in ["audit_a", "Audit_A", "idx_audit_a"] {
            assert_eq!(rules.allows(&format!("CREATE INDEX {name} ON audit (a)")), Ok(()), "{name}");
        }
        for name in ["jids", "idx_jids", "a_audit", "other.audit_a", "main.jids"] {
            assert!(rules.allows(&format!("CREATE INDEX {name} ON audit (a)")).is_err(), "{name}");
        }
    }
    let postgres = rules(Dialect::Postgres, &[("audit", &["create", "alter"])]);
    for (name, is_allowed) in [("audit_a", true), ("jids", false)] {
        for statement in [
            format!("CREATE TABLE audit (a INT, CONSTRAINT {name} UNIQUE (a))"),
            format!("CREATE TABLE audit (a INT, CONSTRAINT {name} PRIMARY KEY (a))"),
            format!("CREATE TABLE audit (a INT CONSTRAINT {name} UNIQUE)"),
            format!("ALTER TABLE audit ADD COLUMN b INT CONSTRAINT {name} UNIQUE"),
        ] {
            assert_eq!(postgres.allows(&statement).is_ok(), is_allowed, "{statement}");
        }
    }
    let mysql = rules(Dialect::Mysql, &[("audit", &["create"])]);
    assert_eq!(mysql.allows("CREATE INDEX jids ON audit (a)"), Ok(()));
}

/// PostgreSQL takes a field of a value for a function of it.
#[test]
fn a_field_of_a_value_is_a_call() {
    let postgres = rules(Dialect::Postgres, &[("audit", &["select", "alter"])]);
    for statement in [
        "SELECT (('SELECT v FROM secrets').ts_stat)::text",
        "SELECT ('zz'::text).own_write",
        "SELECT (audit.a).ts_stat FROM audit",
        "SELECT (audit.a) . ts_stat FROM audit",
        "SELECT $1.ts_stat FROM audit",
        "SELECT ?.ts_stat FROM audit",
        "SELECT (SELECT 'x').ts_stat",
        "SELECT a[1].ts_stat FROM audit",
        "SELECT g.ts_stat FROM lower('SELECT v FROM secrets') AS g",
        "SELECT g.ts_stat FROM audit, LATERAL lower(a) AS g",
        "SELECT g.pg_sleep FROM generate_series(1, 2) AS g",
        "SELECT g.lo_unlink FROM unnest('{4242}'::int[]) AS g",
        "ALTER TABLE audit ADD COLUMN zq bigint DEFAULT (('audit').to_regclass)::bigint",
    ] {
        assert!(postgres.allows(statement).is_err(), "{statement}");
        assert!(reached(Dialect::Postgres, statement).is_err(), "in a trial: {statement}");
    }
    assert_eq!(postgres.allows("SELECT audit.a, c.b FROM audit AS c"), Ok(()));
}

/// `K` is also the sign of Kelvin, which a server may take for a `k`.
#[test]
fn a_name_in_other_letters_than_ascii_is_not_every_table() {
    let rules = rules(Dialect::Mysql, &[("*", &["select"]), ("keys1", &["insert"]), ("größe", &["select"])]);
    for statement in ["SELECT v FROM `\u{212a}eys1`", "SELECT v FROM `\u{130}d`"] {
        assert!(rules.allows(statement).is_err(), "{statement}");
    }
    assert_eq!(rules.allows("SELECT v FROM `größe`"), Ok(()));
}
