//! The registered models: table `models`, which is in PostgreSQL even if the outputs are in ChromaDB.

use futures_util::TryStreamExt as _;
use records::Service;

use super::{
    Database,
    bounded::{AnswerSize, too_large},
    failure::Failing,
    unnamed::on,
};
use crate::storage::{StorageError, check_text};

const FAILING: Failing = Failing(Service::Judge);

/// Bytes of a model in an answer besides its texts.
const ROW_BYTES: usize = 80;

/// A registered model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredModel {
    /// The provider's name for it.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// The provider's name.
    pub provider: String,
    /// Whether it is suitable as a judge.
    pub is_judge_compatible: bool,
}

/// The result of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It was added or changed.
    Stored,
    /// It was already registered with the same values.
    Unchanged,
}

impl Database {
    /// All registered models, by id. The number of large answers at a time is limited.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] when they have more bytes than an answer may; when the statement fails.
    pub async fn registered_models(&self) -> Result<Vec<RegisteredModel>, StorageError> {
        self.in_turn(|size| self.models_within(size)).await
    }

    async fn models_within(&self, size: AnswerSize) -> Result<Vec<RegisteredModel>, StorageError> {
        self.in_service(FAILING, "list models", async |connection| {
            // Not even one of them is read if they are too large: each connection may read at the same time.
            let text_bytes = sqlx::query_scalar!(
                r#"
            select coalesce(sum(octet_length(id) + octet_length(name) + octet_length(provider)), 0)::bigint as "bytes!"
            from models
            "#
            )
            .fetch_one(on(connection))
            .await?;
            if usize::try_from(text_bytes).map_or(true, |bytes| bytes > size.most_bytes()) {
                return Err(too_large(size.most_bytes()));
            }
            let mut rows = sqlx::query_as!(
                RegisteredModel,
                r#"
            select id, name, provider, is_judge_compatible
            from models
            order by id collate "C"
            "#
            )
            .fetch(on(connection));
            let (mut models, mut bytes) = (Vec::new(), 0);
            while let Some(model) = rows.try_next().await? {
                bytes += ROW_BYTES + model.id.len() + model.name.len() + model.provider.len();
                if bytes > size.most_bytes() {
                    return Err(too_large(size.most_bytes()));
                }
                models.push(model);
            }
            Ok(models)
        })
        .await
    }

    /// The registered model `id`, if there is one.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn registered_model(&self, id: &str) -> Result<Option<RegisteredModel>, StorageError> {
        // No row has such an id, and PostgreSQL does not accept it as a parameter.
        if id.contains('\0') {
            return Ok(None);
        }
        self.in_service(FAILING, "find a model", async |connection| {
            let model = sqlx::query_as!(
                RegisteredModel,
                "select id, name, provider, is_judge_compatible from models where id = $1",
                id
            )
            .fetch_optional(on(connection))
            .await?;
            Ok(model)
        })
        .await
    }

    /// Registers `model`, replacing one with the same id.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for a text with the character NUL; when the statement fails.
    pub async fn register_model(&self, model: &RegisteredModel) -> Result<Registration, StorageError> {
        model.check()?;
        self.in_service(FAILING, "register a model", async |connection| {
            let stored = sqlx::query!(
                r#"
            insert into models (id, name, provider, is_judge_compatible)
            values ($1, $2, $3, $4)
            on conflict (id) do update
            set name = excluded.name, provider = excluded.provider,
                is_judge_compatible = excluded.is_judge_compatible
            where (models.name, models.provider, models.is_judge_compatible)
                is distinct from (excluded.name, excluded.provider, excluded.is_judge_compatible)
            "#,
                model.id,
                model.name,
                model.provider,
                model.is_judge_compatible
            )
            .execute(on(connection))
            .await?;
            Ok(if stored.rows_affected() == 0 { Registration::Unchanged } else { Registration::Stored })
        })
        .await
    }

    /// Registers `model` unless its id is already registered.
    ///
    /// # Errors
    /// As for [`Database::register_model`].
    pub async fn register_new_model(&self, model: &RegisteredModel) -> Result<(), StorageError> {
        model.check()?;
        self.in_service(FAILING, "register a model", async |connection| {
            sqlx::query!(
                r#"
            insert into models (id, name, provider, is_judge_compatible)
            values ($1, $2, $3, $4)
            on conflict (id) do nothing
            "#,
                model.id,
                model.name,
                model.provider,
                model.is_judge_compatible
            )
            .execute(on(connection))
            .await?;
            Ok(())
        })
        .await
    }
}

impl RegisteredModel {
    fn check(&self) -> Result<(), StorageError> {
        let texts = [("id", &self.id), ("name", &self.name), ("provider", &self.provider)];
        texts.into_iter().try_for_each(|(field, text)| check_text(field, text))
    }
}
