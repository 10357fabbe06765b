//! Creates the tables that are missing, and leaves alone those that are there.

use std::collections::HashSet;

use returner_sdk::Failure;
use returner_sdk::sql;

use crate::CONNECTION;

/// Runs those statements of a schema whose table is not among the present ones. An
/// index belongs to the table before it.
///
/// # Errors
/// The server's.
pub fn create(schema: &str, present: &HashSet<String>) -> Result<(), Failure> {
    for (table, statement) in statements(schema) {
        if !present.contains(table) {
            sql::execute(CONNECTION, &statement, &[])?;
        }
    }
    Ok(())
}

/// The statements with the name of the table that each belongs to.
fn statements(schema: &str) -> impl Iterator<Item = (&str, String)> {
    let mut table = "";
    schema.split(";\n").filter_map(move |text| {
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).collect();
        if lines.first()?.starts_with("CREATE TABLE") {
            table = lines.first()?.split('`').nth(1)?;
        }
        Some((table, lines.join("\n")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_belongs_to_a_table() {
        let schema = "-- Text;\n-- more\nCREATE TABLE IF NOT EXISTS `a` (\n  `x` TEXT\n);\n\nCREATE INDEX `i` ON `a` (`x`);\n\
                      CREATE TABLE IF NOT EXISTS `b` (`y` TEXT);\n";
        let found: Vec<_> = statements(schema).collect();
        assert_eq!(found[0], ("a", "CREATE TABLE IF NOT EXISTS `a` (\n  `x` TEXT\n)".to_owned()));
        assert_eq!(found[1].0, "a");
        assert_eq!(found[2].0, "b");
        assert_eq!(found.len(), 3);
    }
}
