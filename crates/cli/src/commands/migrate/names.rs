//! Checks the names of tables that flags or collections choose, against the database and before anything is planned.

use anyhow::anyhow;
use migrate::Target;
use store::postgres::Database;

use super::Work;
use crate::{
    arguments::{MigrationScope, TransferArguments},
    exit::Failure,
    settings::table::DATABASE_URL,
};

/// How to choose a schema; names never contain one.
const NO_SCHEMA: &str =
    "tables are named without their schema: they are in the first schema of the search path, which";

impl Work {
    /// Refuses the table that `arguments` choose if PostgreSQL owns it, or if it does not exist and its name is reserved
    /// or seems to contain a schema.
    pub(crate) async fn check_names(
        &self,
        database: &Database,
        arguments: &TransferArguments,
    ) -> Result<(), Failure> {
        let (name, flag, is_given) = match self {
            Self::Transfers(transfers) if arguments.what == Some(MigrationScope::Collection) => {
                let Some(transfer) = transfers.first() else { return Ok(()) };
                (transfer.table.name.as_str(), "--table", arguments.table.is_some())
            }
            Self::Whole(whole) => match &whole.placement.target {
                Target::Shared { table, .. } => (table.as_str(), "--into", true),
                // Those are chosen from the free names.
                Target::OwnTables => return Ok(()),
            },
            Self::Transfers(_) => return Ok(()),
        };
        let schema = database.schema_of(name).await?;
        let refused = match schema {
            Some(schema) if schema == "information_schema" || schema.starts_with("pg_") => {
                format!("table `{name}` belongs to PostgreSQL (schema {schema}): name another with {flag}")
            }
            Some(_) => return Ok(()),
            None if name.starts_with("pg_") || name == "information_schema" => {
                format!(
                    "`{name}` is a name that PostgreSQL reserves for itself: name another table with {flag}"
                )
            }
            // Collections may have such names.
            None if is_given && name.contains('.') => format!(
                "there is no table `{name}`, and {NO_SCHEMA} `?options=-csearch_path%3Dname` in {DATABASE_URL} sets; name a table without a dot with {flag}"
            ),
            None => return Ok(()),
        };
        Err(Failure::usage(anyhow!(refused)))
    }
}

/// What to add to the message that a table is unknown, if `name` seems to contain its schema.
pub(crate) fn without_schema(name: &str) -> &'static str {
    if name.contains('.') { "; tables are named without their schema" } else { "" }
}
