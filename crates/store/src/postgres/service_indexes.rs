//! The indexes of the services' tables and of large collections except the vector index. Missing ones are built, also
//! while the table is in use.

use std::collections::HashMap;

use super::{
    Database, Table,
    relations::has_positions,
    sql::{
        self, Build,
        service_indexes::{ServiceIndex, collection_indexes, create_index, result_indexes, service_indexes},
    },
};
use crate::{Error, postgres::error::StatementContext as _};
use records::Service;

const OPERATION: &str = "build an index of a service's table";

impl Database {
    /// Prepares the schema and indexes for `service`. Building missing indexes of many rows takes long but does not
    /// block users of the table.
    ///
    /// # Errors
    /// As for [`prepare_schema`](Self::prepare_schema), or when an index cannot be built.
    pub async fn prepare_service(&self, service: Service) -> Result<(), Error> {
        self.prepare_schema().await?;
        self.ensure_service_indexes(service).await
    }

    /// Builds the indexes that the queries of `service` use and that are missing or unfinished.
    ///
    /// # Errors
    /// When an index cannot be built.
    pub async fn ensure_service_indexes(&self, service: Service) -> Result<(), Error> {
        let indexes = || {
            let mut indexes = service_indexes(service);
            if service == Service::Judge {
                indexes.extend(result_indexes());
            }
            indexes
        };
        // Those of a standby are the primary's. Checked first without the lock, which a long build of a vector index may hold.
        if self.rejects_writes() || self.unfinished(indexes()).await?.is_empty() {
            return Ok(());
        }
        let lock = self.lock_indexes_in_turn(&Table::of(service).name).await?;
        // Those of empty tables are built on one connection: opening it takes longer.
        let mut lots = vec![Vec::new()];
        for (index, state) in self.unfinished(indexes()).await? {
            let has_rows: bool =
                sqlx::query_scalar(sql::has_rows(&index.table)).fetch_one(self).await.during(OPERATION)?;
            match has_rows {
                true => lots.push(vec![(index, state, Build::Concurrently)]),
                false => lots[0].push((index, state, Build::Alone)),
            }
        }
        for lot in lots.into_iter().filter(|lot| !lot.is_empty()) {
            let statements = |are_left: bool| {
                let of_each = |(index, state, build): &(ServiceIndex, IndexState, Build)| {
                    let is_left = are_left || *state == IndexState::Invalid;
                    let drop = is_left.then(|| sql::drop_index(&index.name, Build::Concurrently));
                    // For the expressions of the indexes.
                    let rest = [create_index(index, *build), sql::analyze(&index.table)];
                    drop.into_iter().chain(rest).collect::<Vec<_>>()
                };
                lot.iter().flat_map(of_each).collect::<Vec<_>>()
            };
            let built = self.run_alone(OPERATION, statements(false)).await;
            self.or_without_workers(&Table::of(service), built, async || {
                let mut again = vec![sql::set_build_workers(Build::Concurrently, 0)];
                again.extend(statements(true));
                self.run_alone(OPERATION, again).await
            })
            .await?;
        }
        lock.release().await
    }

    /// The statements that build the missing indexes of `table`, which belongs to a service or has a vector index.
    pub(super) async fn index_statements(&self, table: &Table, build: Build) -> Result<Vec<sql::Sql>, Error> {
        let service = Service::ALL.into_iter().find(|service| Table::of(*service) == *table);
        let indexes = match service {
            Some(service) => service_indexes(service),
            None => {
                let indexes = collection_indexes(table);
                let has_positions = self
                    .in_transaction(async |connection| {
                        has_positions(connection, &table.name).await.during(OPERATION)
                    })
                    .await?;
                match has_positions && table.shared.is_none() {
                    true => indexes.into(),
                    // Chroma clients do not see it, or one order of all collections does not help them.
                    false => indexes.into_iter().take(1).collect(),
                }
            }
        };
        let mut statements = Vec::new();
        for (index, state) in self.unfinished(indexes).await? {
            if state == IndexState::Invalid {
                statements.push(sql::drop_index(&index.name, build));
            }
            statements.push(create_index(&index, build));
        }
        Ok(statements)
    }

    /// The indexes among `indexes` that do not exist or are invalid.
    async fn unfinished(&self, indexes: Vec<ServiceIndex>) -> Result<Vec<(ServiceIndex, IndexState)>, Error> {
        let names: Vec<String> = indexes.iter().map(|index| index.name.clone()).collect();
        let found = sqlx::query!(
            r#"
            select relation.relname as "name!", index.indisvalid as "valid!"
            from pg_index index
            join pg_class relation on relation.oid = index.indexrelid
            where relation.oid in (select to_regclass(quote_ident(name)) from unnest($1::text[]) name)
            "#,
            &names
        )
        .fetch_all(self)
        .await
        .during("look for the indexes of a table")?;
        let valid: HashMap<String, bool> = found.into_iter().map(|row| (row.name, row.valid)).collect();
        let state = |index: ServiceIndex| match valid.get(&index.name) {
            Some(true) => None,
            Some(false) => Some((index, IndexState::Invalid)),
            None => Some((index, IndexState::Missing)),
        };
        Ok(indexes.into_iter().filter_map(state).collect())
    }
}

/// Why an index has to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IndexState {
    /// It does not exist.
    Missing,
    /// A concurrent build left it unfinished.
    Invalid,
}
