//! What a plugin's statement may be on MySQL and MariaDB, without a server.

use super::*;

fn refusal(statement: &str) -> String {
    match effects(statement) {
        Err(error) => error.message,
        Ok(effects) => panic!("`{statement}` is not refused: {effects:?}"),
    }
}

fn done(statement: &str) -> Effects {
    effects(statement).unwrap_or_else(|error| panic!("`{statement}`: {error}"))
}

#[test]
fn what_runs_other_statements_is_refused() {
    for statement in [
        "IF 1 THEN COMMIT; END IF",
        "case 1 WHEN 1 THEN SET @leak = 1; END CASE",
        "LOOP COMMIT; END LOOP",
        "a: WHILE 1 DO COMMIT; END WHILE",
        "select\u{a0}: LOOP COMMIT; END LOOP",
        "\u{a0}SELECT: LOOP COMMIT; END LOOP",
        "SET1: BEGIN NOT ATOMIC COMMIT; END",
        "DO$: REPEAT COMMIT; UNTIL 1 END REPEAT",
        "FOR i IN 1..2 DO COMMIT; END FOR",
        "DECLARE x INT",
        "KILL 1",
        "XA START 'a'",
        "-- x\n",
        "; COMMIT",
        "",
    ] {
        assert!(refusal(statement).contains("decide in the plugin"), "{statement}");
    }
    for statement in ["EXECUTE IMMEDIATE CONCAT('SHOW GR', 'ANTS')", "prepare s FROM 'COMMIT'", "EXECUTE s"] {
        assert!(refusal(statement).contains("send the statement itself"), "{statement}");
    }
    for statement in [
        "CREATE PROCEDURE p() COMMIT",
        "CREATE OR REPLACE /* x */ FUNCTION f() RETURNS INT RETURN 1",
        "CREATE DEFINER = view@localhost PROCEDURE p() COMMIT",
        "create aggregate function f returns int soname 'x'",
        "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW SET @leak = 1",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO COMMIT",
    ] {
        assert!(refusal(statement).contains("no stored programs"), "{statement}");
    }
    refusal("SET STATEMENT max_statement_time = 1 FOR COMMIT");
    refusal("LOAD INDEX INTO CACHE t");
    refusal("CREATE VIEW v AS SELECT GET_LOCK('a', 1)");
    refusal("ALTER VIEW v AS SELECT LAST_INSERT_ID(4)");
}

#[test]
fn what_servers_read_in_two_ways_is_refused() {
    for statement in [
        "/*!50000 COMMIT */",
        "/*!99999 x*/ SET @leak = 42",
        "/*M!100100 x */ LOCK TABLES audit WRITE",
        "SELECT 1 /*!, 2 */",
        "SHOW /*!99999 TABLES */ GRANTS",
        "SELECT '\\' /*!99999 ' */",
        "SELECT 'ü' /*!99999 */",
        "SELECT /*+ QB_NAME(`a*/`) */ /*!99999 ` */ 1",
        "SELECT 1 -- '\n/*!99999 x */",
        "SELECT 1--'' /*!99999 x */",
        "SELECT 'ü', '/*!'",
    ] {
        assert!(refusal(statement).contains("servers differ"), "{statement}");
    }
    for statement in [
        "INSERT INTO t VALUES ('/*!40101 SET x */', \"/*M!\", 'it''s /*!')",
        "SELECT `/*!` FROM t",
        "SELECT 1 -- /*! x\n",
        "SELECT 1 # /*! x",
        "SELECT 1 /* /*! */",
        "INSERT INTO t VALUES ('ü\\'')",
    ] {
        done(statement);
    }
}

#[test]
fn accounts_are_not_for_plugins() {
    for statement in [
        "SHOW GRANTS",
        "show  grants FOR CURRENT_USER",
        "/* x */ SHOW/**/GRANTS",
        "SHOW -- x\nGRANTS",
        "SHOW # x\nCREATE\tUSER",
    ] {
        let error = effects(statement).expect_err(statement);
        assert_eq!(error.kind, SqlErrorKind::Denied, "{statement}: {error}");
    }
    for statement in [
        "/*!50000 SHOW */ /*M!100100 GRANTS */",
        "SHOW /*!99999 TABLES*/ CREATE /*! TABLE */ USER x",
        "IF 1 THEN SHOW GRANTS; END IF",
        "EXECUTE IMMEDIATE 'SHOW GRANTS'",
        "PREPARE s FROM \"show create user x\"",
        "SELECT '\\'; SHOW GRANTS; /*! x */ -- '",
    ] {
        refusal(statement);
    }
    for statement in [
        "SHOW TABLES",
        "SHOW CREATE TABLE user",
        "SELECT `show`, grants FROM t",
        "INSERT INTO t VALUES ('show grants')",
        "SELECT 1 /* SHOW GRANTS */",
        "SELECT 1 # SHOW GRANTS",
        "SELECT 1--1",
    ] {
        done(statement);
    }
}

#[test]
fn what_mysql_commits_is_told() {
    for statement in [
        "create table t (a int)",
        "/* x */ TRUNCATE t",
        "ALTER TABLE t ADD b INT",
        "DROP TABLE t",
        "CREATE OR REPLACE TABLE t (a INT)",
        "ANALYZE LOCAL TABLE t",
        "SET PASSWORD = PASSWORD('x')",
        "CREATE TEMPORARY SEQUENCE s",
        "CREATE OR REPLACE TEMPORARY SEQUENCE s",
        "DROP TEMPORARY SEQUENCE s",
    ] {
        assert!(done(statement).commits, "{statement}");
    }
    for statement in [
        "INSERT INTO t VALUES (1)",
        "CREATE TEMPORARY TABLE t (a int)",
        "drop /* x */ temporary table t",
        "SELECT 1",
        "CREATE OR REPLACE TEMPORARY TABLE t (a int)",
        "ANALYZE SELECT 1",
    ] {
        assert!(!done(statement).commits, "{statement}");
    }
    assert!(done("LOCK TABLES t WRITE").locks && !done("UNLOCK TABLES").locks);
}

#[test]
fn reading_is_told_from_writing() {
    for statement in ["(select 1) union (select 2)", "set names utf8mb4", "DESC t", "EXPLAIN SELECT 1"] {
        assert!(!done(statement).writes, "{statement}");
    }
    for statement in [
        "INSERT INTO t VALUES (1)",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "CALL p()",
        "EXPLAIN ANALYZE UPDATE t SET a = 1",
    ] {
        assert!(done(statement).writes, "{statement}");
    }
}

#[test]
fn only_what_certainly_leaves_nothing_leaves_no_mark() {
    for statement in [
        "INSERT INTO t (a) VALUES (?) ON DUPLICATE KEY UPDATE a = VALUES(a)",
        "UPDATE t SET a = 1",
        "REPLACE INTO t VALUES (1)",
        "(SELECT 1)",
        "SELECT LAST_INSERT_ID( )",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SHOW TABLES",
    ] {
        assert!(!done(statement).marks, "{statement}");
    }
    for statement in [
        "set names latin1",
        "UPDATE t SET a = (@leak := 42)",
        "SELECT 1 INTO @leak",
        "SELECT get_Lock('a', 1)",
        "SELECT `GET_LOCK`('a', 1)",
        "SELECT GÉT_LOCK('a', 1)",
        "SELECT LAST_INSERT_ID(4242)",
        "INSERT INTO t VALUES (last_insert_id /* x */ (7))",
        "EXPLAIN SELECT 1",
        "ANALYZE SELECT 1",
        "DO 1",
        "CALL p()",
        "CREATE TEMPORARY TABLE t (a INT)",
        "LOCK TABLES t WRITE",
        "USE other",
    ] {
        assert!(done(statement).marks, "{statement}");
    }
}
