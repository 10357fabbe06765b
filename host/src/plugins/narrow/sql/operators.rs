//! Operators and joins, by server. One that a server does not have is a name there, or ends the
//! expression before it: `SELECT a ILIKE …` calls the column `ILIKE` on MySQL.

use sqlparser::ast::{
    BinaryOperator, CeilFloorKind, DateTimeField, Expr, InTarget, JoinOperator, TableWithJoins, UnaryOperator,
};

use super::Dialect::{self, Mysql, Postgres, Sqlite};
use super::{Refused, refused};

const ALL: &[Dialect] = &[Mysql, Postgres, Sqlite];

/// Refuses an expression that the server does not have.
pub(super) fn check(dialect: Dialect, expr: &Expr) -> Result<(), Refused> {
    if servers(expr).contains(&dialect) {
        return Ok(());
    }
    let what = match expr {
        Expr::BinaryOp { op, .. } => format!("the operator `{op}`"),
        _ => format!("the expression `{expr}`"),
    };
    Err(refused(&what))
}

/// The servers that have such an expression.
fn servers(expr: &Expr) -> &'static [Dialect] {
    match expr {
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::Value(_)
        | Expr::Nested(_)
        | Expr::Tuple(_)
        | Expr::Function(_)
        | Expr::Cast { .. }
        | Expr::Case { .. }
        | Expr::Exists { .. }
        | Expr::Subquery(_)
        | Expr::Collate { .. }
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::Between { .. }
        | Expr::Like { any: false, .. }
        | Expr::In { target: InTarget::List(_) | InTarget::Subquery(_), global: false, .. }
        | Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, .. }
        | Expr::Ceil { field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime), .. }
        | Expr::Floor { field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime), .. }
        | Expr::Substring { special: true, .. }
        | Expr::Trim { trim_where: None, trim_what: None, .. }
        | Expr::Wildcard(_)
        | Expr::QualifiedWildcard(..) => ALL,
        Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => &[Postgres, Sqlite],
        Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. }
        | Expr::Extract { .. }
        | Expr::Position { .. }
        | Expr::Substring { .. }
        | Expr::Trim { .. }
        | Expr::TypedString(_)
        | Expr::Interval(_) => &[Mysql, Postgres],
        Expr::RLike { .. } | Expr::Convert { .. } | Expr::Prefixed { .. } | Expr::MatchAgainst { .. } => {
            &[Mysql]
        }
        Expr::ILike { any: false, .. }
        | Expr::SimilarTo { .. }
        | Expr::AtTimeZone { .. }
        | Expr::Overlay { .. }
        | Expr::CompoundFieldAccess { .. }
        | Expr::GroupingSets(_)
        | Expr::Cube(_)
        | Expr::Rollup(_) => &[Postgres],
        Expr::BinaryOp { op, .. } => servers_with(op),
        _ => &[],
    }
}

fn servers_with(operator: &BinaryOperator) -> &'static [Dialect] {
    match operator {
        BinaryOperator::Plus
        | BinaryOperator::Minus
        | BinaryOperator::Multiply
        | BinaryOperator::Divide
        | BinaryOperator::Modulo
        | BinaryOperator::StringConcat
        | BinaryOperator::Gt
        | BinaryOperator::Lt
        | BinaryOperator::GtEq
        | BinaryOperator::LtEq
        | BinaryOperator::Eq
        | BinaryOperator::NotEq
        | BinaryOperator::And
        | BinaryOperator::Or
        | BinaryOperator::Arrow
        | BinaryOperator::LongArrow => ALL,
        BinaryOperator::Spaceship | BinaryOperator::Xor | BinaryOperator::MyIntegerDivide => &[Mysql],
        BinaryOperator::Overlaps => &[Postgres],
        BinaryOperator::Match
        | BinaryOperator::Regexp
        | BinaryOperator::Glob
        | BinaryOperator::Is
        | BinaryOperator::IsNot => &[Sqlite],
        _ => &[],
    }
}

/// Refuses a join that the server does not have.
pub(super) fn check_joins(dialect: Dialect, tables: &TableWithJoins) -> Result<(), Refused> {
    for join in &tables.joins {
        let servers = match join.join_operator {
            _ if join.global => &[],
            JoinOperator::Join(_)
            | JoinOperator::Inner(_)
            | JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
            | JoinOperator::Right(_)
            | JoinOperator::RightOuter(_)
            | JoinOperator::CrossJoin(_) => ALL,
            // To MySQL `FULL` is another name of the table before it.
            JoinOperator::FullOuter(_) => &[Postgres, Sqlite],
            JoinOperator::StraightJoin(_) => &[Mysql],
            _ => &[],
        };
        if !servers.contains(&dialect) {
            return Err(refused("this kind of join"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::SqlRules;
    use super::*;
    use crate::config::Actions;

    fn check_servers(statement: &str, servers: &[Dialect]) {
        for dialect in ALL {
            let granted = Actions::from([("audit".to_owned(), ["select".to_owned()].into())]);
            let allowed = SqlRules::new(*dialect, granted).allows(statement);
            assert_eq!(allowed.is_ok(), servers.contains(dialect), "{dialect:?}: {statement}: {allowed:?}");
        }
    }

    #[test]
    fn each_server_has_operators_of_its_own() {
        for (expression, servers) in [
            ("a + b * c / d % e - 1 = 1 || 'x'", ALL),
            ("a = 1 AND NOT b <> 2 OR c != 3 AND d IS NOT NULL", ALL),
            ("a LIKE 'x' AND b NOT BETWEEN 1 AND 2 AND c IN (1, 2) AND d IS TRUE", ALL),
            ("a -> '$.x' = b ->> '$.y'", ALL),
            ("a XOR b", &[Mysql]),
            ("a DIV b", &[Mysql]),
            ("a <=> b", &[Mysql]),
            ("a RLIKE 'x'", &[Mysql]),
            ("a ILIKE 'x'", &[Postgres]),
            ("a SIMILAR TO 'x'", &[Postgres]),
            ("(a, b) OVERLAPS (c, d)", &[Postgres]),
            ("a IS DISTINCT FROM b", &[Postgres, Sqlite]),
            ("a = ANY (SELECT a FROM audit)", &[Mysql, Postgres]),
            ("a GLOB 'x*'", &[Sqlite]),
            ("a MATCH 'x'", &[Sqlite]),
            ("a IS b", &[Sqlite]),
            ("a MEMBER OF (b)", &[]),
        ] {
            check_servers(&format!("SELECT a FROM audit WHERE {expression}"), servers);
        }
    }

    #[test]
    fn each_server_has_joins_of_its_own() {
        for (join, servers) in [
            ("JOIN audit b ON true", ALL),
            ("LEFT OUTER JOIN audit b ON true", ALL),
            ("CROSS JOIN audit b", ALL),
            ("NATURAL JOIN audit b", ALL),
            ("FULL OUTER JOIN audit b ON true", &[Postgres, Sqlite]),
            ("STRAIGHT_JOIN audit b", &[Mysql]),
            ("LEFT SEMI JOIN audit b ON true", &[]),
            ("ANTI JOIN audit b ON true", &[]),
            ("GLOBAL JOIN audit b ON true", &[]),
        ] {
            check_servers(&format!("SELECT 1 FROM audit a {join}"), servers);
            check_servers(&format!("SELECT 1 FROM audit c JOIN (audit a {join}) ON true"), servers);
        }
    }
}
