//! Checks that the role sees all rows of a table and has the required privileges.

use super::{Database, Table, own_tables, sql::quoted};
use crate::{Error, postgres::error::StatementContext as _};

/// The required access to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its rows are read.
    Read,
    /// Its rows are read and written.
    Write,
}

impl Database {
    /// Checks that the role sees all rows of `table`, if it exists, and of the migration tables, and has the
    /// privileges on the table that `access` needs.
    ///
    /// # Errors
    /// [`Error::HiddenRows`] and [`Error::TablePrivilege`].
    pub async fn check_access(&self, table: &Table, access: Access) -> Result<(), Error> {
        let relations = self.relations_for(Some(&table.name)).await?;
        for relation in relations {
            let relation = relation.visible()?;
            // Privileges on the other tables are checked when they are used.
            if relation.name == table.name {
                relation.with(access)?;
            }
        }
        Ok(())
    }

    /// Checks that the role may read the existing migration tables, and sees all their rows.
    ///
    /// # Errors
    /// [`Error::HiddenRows`] and [`Error::TablePrivilege`].
    pub async fn check_bookkeeping_access(&self) -> Result<(), Error> {
        for relation in self.relations_for(None).await? {
            relation.visible()?.with(Access::Read)?;
        }
        Ok(())
    }

    /// The tables of ours that hide rows from the role by a policy, by name.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn tables_with_hidden_rows(&self) -> Result<Vec<String>, Error> {
        let mut hidden = Vec::new();
        for name in own_tables::table_names() {
            let relations = self.relations_for(Some(&name)).await?;
            let has_hidden_rows =
                relations.iter().any(|relation| relation.name == name && relation.has_hidden_rows);
            hidden.extend(has_hidden_rows.then_some(name));
        }
        Ok(hidden)
    }

    /// The existing ones of `table` and the migration tables, `table` first.
    async fn relations_for(&self, table: Option<&str>) -> Result<Vec<Relation>, Error> {
        sqlx::query_as!(
            Relation,
            r#"
            select
                relation.name as "name!",
                current_user::text as "role!",
                row_security_active(relation.oid) as "has_hidden_rows!",
                has_table_privilege(relation.oid, 'select') as "may_select!",
                has_table_privilege(relation.oid, 'insert') as "may_insert!"
            from (
                select name, to_regclass(quote_ident(name))::oid as oid
                from unnest(array[
                    $1, 'migration_jobs', 'migration_rejects', 'migration_replaced', 'migration_groups',
                    'migration_group_jobs'
                ]) name
            ) relation
            where relation.oid is not null
            order by relation.name <> $1
            "#,
            table
        )
        .fetch_all(self)
        .await
        .during("read the role's privileges on a table")
    }
}

/// The role's privileges on a relation.
struct Relation {
    name: String,
    role: String,
    has_hidden_rows: bool,
    may_select: bool,
    may_insert: bool,
}

impl Relation {
    /// The relation, unless it hides rows.
    fn visible(self) -> Result<Self, Error> {
        if !self.has_hidden_rows {
            return Ok(self);
        }
        let (quoted_table, quoted_role) = (quoted(&self.name), quoted(&self.role));
        Err(Error::HiddenRows { table: self.name, quoted_table, role: self.role, quoted_role })
    }

    /// Checks that the role has the privileges that `access` needs.
    fn with(self, access: Access) -> Result<(), Error> {
        let lacks_insert = access == Access::Write && !self.may_insert;
        let missing: Vec<&str> = [("select", !self.may_select), ("insert into", lacks_insert)]
            .into_iter()
            .filter_map(|(privilege, is_missing)| is_missing.then_some(privilege))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let wanted = match access {
            Access::Read => "select",
            Access::Write => "select, insert, update, delete",
        };
        let grant = format!("grant {wanted} on {} to {}", quoted(&self.name), quoted(&self.role));
        Err(Error::TablePrivilege {
            table: self.name,
            role: self.role,
            privileges: missing.join(" and "),
            grant,
        })
    }
}
