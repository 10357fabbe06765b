//! `returner schema`: the SQL that `setup` creates, for those who create it themselves.

use clap::{Args, ValueEnum};

use super::{Failure, output};

#[derive(Debug, Args)]
pub(super) struct Schema {
    database: Database,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Database {
    Mysql,
    Sqlite,
}

impl Schema {
    pub(super) fn run(self) -> Result<(), Failure> {
        let sql = match self.database {
            Database::Mysql => include_str!("../../../plugins/mysql/schema.sql"),
            Database::Sqlite => include_str!("../../../plugins/sqlite/schema.sql"),
        };
        output::line(sql.trim_end())
    }
}
