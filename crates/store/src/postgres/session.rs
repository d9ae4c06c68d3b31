//! Properties of a database that affect all our statements: its encoding, and the schema of pgvector's types.

use sqlx::PgConnection;

use super::{schema_migrations, sql, unnamed::on};
use crate::Error;

/// The encoding that can represent all texts.
const UTF8: &str = "UTF8";
/// It accepts any bytes, so stored texts may be invalid; a row with such a text makes every answer with it fail.
const SQL_ASCII: &str = "SQL_ASCII";

/// A database as seen by our session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The encoding of the database, such as `UTF8`.
    pub encoding: String,
    /// The role of the connection.
    pub role: String,
    /// Where pgvector's types are.
    pub vectors: Vectors,
    /// Whether the extension Citus is created, so that tables may be distributed.
    pub has_citus: bool,
    /// The version of the schema; `None` before the first migration, or if the role may not read it.
    pub schema_version: Option<i64>,
}

/// Where pgvector's types are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// The extension is not created.
    Absent,
    /// On the role's search path.
    Searched,
    /// In a schema that the role's `search_path` lacks. Transactions of ours add it.
    Elsewhere {
        /// The schema.
        schema: String,
        /// The schemas that the role searches; at least one.
        searched: Vec<String>,
    },
    /// In a schema that the role may not use.
    Forbidden {
        /// The schema.
        schema: String,
    },
    /// Another type of the same name is found first.
    Hidden {
        /// The schema of the extension.
        schema: String,
        /// That of the other type.
        by: String,
    },
}

impl Vectors {
    /// Whether statements cannot name the types.
    pub fn are_unusable(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Hidden { .. })
    }
}

impl Session {
    /// Whether the database cannot be examined: its types cannot be named, or its texts may be invalid.
    pub fn is_unreadable(&self) -> bool {
        self.vectors.are_unusable() || self.encoding == SQL_ASCII
    }

    /// Whether statements of ours can work.
    ///
    /// # Errors
    /// When the encoding cannot hold every text, pgvector's types cannot be named, or the schema is newer than this program.
    pub(crate) fn check(&self, database: &str) -> Result<(), Error> {
        if self.encoding != UTF8 {
            return Err(Error::Encoding { database: database.to_owned(), encoding: self.encoding.clone() });
        }
        let known = schema_migrations::schema_version();
        if let Some(found) = self.schema_version.filter(|found| *found > known) {
            return Err(Error::NewerSchema { database: database.to_owned(), found, known });
        }
        match &self.vectors {
            Vectors::Absent | Vectors::Searched | Vectors::Elsewhere { .. } => Ok(()),
            Vectors::Forbidden { schema } => {
                Err(Error::ExtensionForbidden { schema: schema.clone(), grant: self.grant_usage(schema) })
            }
            Vectors::Hidden { schema, by } => {
                Err(Error::ExtensionHidden { schema: schema.clone(), by: by.clone() })
            }
        }
    }

    /// The statement that lets the role use `schema`.
    pub fn grant_usage(&self, schema: &str) -> String {
        format!("grant usage on schema {} to {}", sql::quoted(schema), sql::quoted(&self.role))
    }

    /// The statement that adds the schema of the extension to the role's search path, if it is missing.
    pub fn search_there(&self) -> Option<String> {
        let Vectors::Elsewhere { schema, .. } = &self.vectors else { return None };
        Some(format!(
            "alter role {} set search_path = \"$user\", public, {}",
            sql::quoted(&self.role),
            sql::quoted(schema)
        ))
    }

    /// The setting of a transaction with which pgvector's types are found, if one is needed.
    pub(super) fn search_path(&self) -> Option<sql::Sql> {
        let Vectors::Elsewhere { schema, searched } = &self.vectors else { return None };
        Some(sql::set_search_path(searched.iter().chain([schema])))
    }
}

/// Reads these properties.
pub(super) async fn look(connection: &mut PgConnection) -> sqlx::Result<Session> {
    let row = sqlx::query!(
        r#"
        select
            pg_encoding_to_char(database.encoding)::text as "encoding!",
            current_user::text as "role!",
            current_schemas(false)::text[] as "searched!",
            vectors.schema,
            coalesce(vectors.is_usable, false) as "is_usable!",
            coalesce(vectors.is_found, false) as "is_found!",
            vectors.hidden_by,
            exists (select 1 from pg_extension where extname = 'citus') as "has_citus!"
        from pg_database database
        left join lateral (
            select
                home.nspname::text as schema,
                has_schema_privilege(home.oid, 'usage') as is_usable,
                (
                    select bool_and(pg_type_is_visible(type.oid))
                    from pg_type type
                    where type.typnamespace = home.oid and type.typname in ('vector', 'halfvec')
                ) as is_found,
                (
                    select other.typnamespace::regnamespace::text
                    from pg_type other
                    join pg_namespace place on place.oid = other.typnamespace
                    where other.typname in ('vector', 'halfvec')
                        and other.typnamespace <> home.oid
                        and place.nspname = any(current_schemas(true))
                    limit 1
                ) as hidden_by
            from pg_extension extension
            join pg_namespace home on home.oid = extension.extnamespace
            where extension.extname = 'vector'
        ) vectors on true
        where database.datname = current_database()
        "#
    )
    .fetch_one(on(connection))
    .await?;
    let vectors = match (row.schema, row.hidden_by) {
        (None, _) => Vectors::Absent,
        (Some(schema), _) if !row.is_usable => Vectors::Forbidden { schema },
        (Some(_), _) if row.is_found => Vectors::Searched,
        (Some(schema), Some(by)) => Vectors::Hidden { schema, by },
        // A role that may not create tables in any schema gets an error; tables must not be created in the schema of
        // the extension.
        (Some(_), None) if row.searched.is_empty() => Vectors::Searched,
        (Some(schema), None) => Vectors::Elsewhere { schema, searched: row.searched },
    };
    let schema_version = schema_migrations::applied_version(connection).await?;
    Ok(Session { encoding: row.encoding, role: row.role, vectors, has_citus: row.has_citus, schema_version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(encoding: &str, vectors: Vectors) -> Session {
        Session {
            encoding: encoding.to_owned(),
            role: "an app".to_owned(),
            vectors,
            has_citus: false,
            schema_version: None,
        }
    }

    #[test]
    fn databases_that_cannot_hold_every_text_are_refused() {
        let check = |encoding| session(encoding, Vectors::Searched).check("db");
        assert!(check("UTF8").is_ok());
        for encoding in ["LATIN1", "WIN1252", "EUC_JP", "MULE_INTERNAL", "SQL_ASCII"] {
            let error = check(encoding).expect_err(encoding).to_string();
            assert!(error.contains(encoding) && error.contains("encoding 'UTF8'"), "{error}");
        }
    }

    #[test]
    fn only_a_newer_schema_is_refused() {
        let known = schema_migrations::schema_version();
        let check = |schema_version| {
            Session { schema_version, ..session("UTF8", Vectors::Searched) }.check("db:5432/evals")
        };
        for version in [None, Some(1), Some(known)] {
            assert!(check(version).is_ok(), "{version:?}");
        }
        let error = check(Some(known + 1)).expect_err("it is newer").to_string();
        for says in ["db:5432/evals", &known.to_string(), &(known + 1).to_string(), "upgrade panopticon"] {
            assert!(error.contains(says), "{says}: {error}");
        }
    }

    #[test]
    fn schema_of_the_extension_is_searched_last() {
        let vectors = Vectors::Elsewhere { schema: "Odd \"one".into(), searched: vec!["public".into()] };
        let session = session("UTF8", vectors);
        let setting = session.search_path().expect("there is something to set");
        assert_eq!(setting.0, r#"set local search_path to "public", "Odd ""one""#);
        let remedy = session.search_there().expect("the role does not search there");
        assert_eq!(remedy, r#"alter role "an app" set search_path = "$user", public, "Odd ""one""#);
    }

    #[test]
    fn schema_that_the_role_may_not_use_is_named_with_the_grant() {
        let error = session("UTF8", Vectors::Forbidden { schema: "extensions".into() }).check("db");
        let error = error.expect_err("the types cannot be named").to_string();
        assert!(error.contains(r#"grant usage on schema "extensions" to "an app""#), "{error}");
    }
}
