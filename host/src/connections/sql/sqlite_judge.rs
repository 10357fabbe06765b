//! SQLite itself as a second judge of what is granted on a connection.
//!
//! Before a statement runs, SQLite tells its authorizer which tables it reads and changes
//! (<https://www.sqlite.org/c3ref/set_authorizer.html>). Whoever reads statements before that may
//! take a word for another than SQLite does; SQLite does not.
//!
//! It sees more than stands in a statement: the parent that a foreign key looks at, the children
//! that one changes. Those have to be granted, too. What a trigger or a view of the database's own
//! does is its owner's. It sees less, too: that only rows are counted (`count(*)`) is told of a
//! table and of a WITH alike, and is let through.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::hooks::{AuthAction, AuthContext};

use crate::config::VERBS;

/// Which of [`VERBS`] somebody has on a table, by its name without a schema.
pub(crate) trait TableGrants: Send + Sync {
    fn allows(&self, verb: &'static str, table: &str) -> bool;
}

/// Judges what is prepared on one connection; without grants, nothing.
#[derive(Default)]
pub(super) struct Judge(Mutex<Case>);

#[derive(Default)]
struct Case {
    grants: Option<Arc<dyn TableGrants>>,
    /// A statement that makes or changes a table, and for that the tables in which SQLite keeps
    /// its schema.
    defines: bool,
    refused: Option<String>,
}

impl Judge {
    /// By these grants from now on; says whether they are others.
    pub(super) fn by(&self, grants: Option<Arc<dyn TableGrants>>) -> bool {
        let mut case = self.0.lock();
        let is_same = match (&case.grants, &grants) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        case.grants = grants;
        !is_same
    }

    /// This statement is prepared next.
    pub(super) fn begin(&self, statement: &str) {
        let word = statement.split(|char: char| !char.is_ascii_alphabetic()).find(|word| !word.is_empty());
        let mut case = self.0.lock();
        case.refused = None;
        case.defines = word.is_some_and(|word| {
            ["create", "alter", "drop"].iter().any(|verb| word.eq_ignore_ascii_case(verb))
        });
    }

    /// Why the last one was refused, if it was here.
    pub(super) fn refused(&self) -> Option<String> {
        self.0.lock().refused.clone()
    }

    pub(super) fn allows(&self, context: &AuthContext<'_>) -> bool {
        let mut case = self.0.lock();
        let Some(grants) = &case.grants else { return true };
        if context.accessor.is_some() {
            return true;
        }
        let Err(what) = judge(&**grants, case.defines, &context.action) else { return true };
        case.refused = Some(format!(
            "SQLite says that the statement needs {what}, which is not granted; a foreign key may lead there"
        ));
        false
    }
}

/// What is needed and not granted.
fn judge(grants: &dyn TableGrants, defines: bool, action: &AuthAction<'_>) -> Result<(), String> {
    let on = |verbs: &[&'static str], table: &str| {
        let is_granted = verbs.iter().any(|verb| grants.allows(verb, table));
        match is_granted || defines && is_schema(table) {
            true => Ok(()),
            false => Err(format!("{} on the table `{table}`", verbs.first().unwrap_or(&"something"))),
        }
    };
    match *action {
        AuthAction::Read { column_name: "", .. } => Ok(()),
        // Which of its own columns a change looks at, whoever read the statement has judged.
        AuthAction::Read { table_name, .. } => on(&VERBS, table_name),
        AuthAction::Insert { table_name } => on(&["insert"], table_name),
        AuthAction::Update { table_name, .. } => on(&["update"], table_name),
        AuthAction::Delete { table_name } if defines => on(&["drop"], table_name),
        AuthAction::Delete { table_name } => on(&["delete"], table_name),
        AuthAction::CreateTable { table_name } | AuthAction::CreateIndex { table_name, .. } => {
            on(&["create"], table_name)
        }
        AuthAction::AlterTable { table_name, .. } => on(&["alter"], table_name),
        AuthAction::DropTable { table_name } | AuthAction::DropTrigger { table_name, .. } => {
            on(&["drop"], table_name)
        }
        AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateVtable { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropView { .. }
        | AuthAction::DropVtable { .. }
        | AuthAction::Analyze { .. } => Err("more than changes of tables".to_owned()),
        _ => Ok(()),
    }
}

/// Where SQLite keeps what the tables are.
fn is_schema(table: &str) -> bool {
    ["sqlite_", "pragma_"]
        .iter()
        .any(|begin| table.get(..begin.len()).is_some_and(|found| found.eq_ignore_ascii_case(begin)))
}
