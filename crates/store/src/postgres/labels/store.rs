//! Adds and withdraws labels.

use std::collections::HashMap;

use uuid::Uuid;

use super::{FAILING, LabelVerdict, LabelledQuery, StoredLabel, list::decoded};
use crate::{
    StoredTime,
    postgres::{Database, unnamed::on},
    storage::StorageError,
};

/// What became of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOutcome {
    /// It was added.
    Stored,
    /// It was there before.
    Unchanged,
    /// Another label has its id, and was left as it is.
    Conflict,
}

impl Database {
    /// Adds `labels` in one transaction; none of them replaces one with the same id. The outcomes are in their order.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for a label that cannot be stored, before any is; when a statement fails.
    pub async fn store_labels(&self, labels: &[StoredLabel]) -> Result<Vec<LabelOutcome>, StorageError> {
        labels.iter().try_for_each(StoredLabel::check)?;
        let query_id = |label: &StoredLabel| match &label.query {
            LabelledQuery::Id(id) => Some(id.clone()),
            LabelledQuery::Digest(_) => None,
        };
        let query_digest = |label: &StoredLabel| match &label.query {
            LabelledQuery::Id(_) => None,
            LabelledQuery::Digest(digest) => Some(digest.to_vec()),
        };
        let score = |label: &StoredLabel| match &label.verdict {
            LabelVerdict::Score { score, .. } => *score,
            LabelVerdict::Preference { .. } => None,
        };
        let winner = |label: &StoredLabel| match &label.verdict {
            LabelVerdict::Score { .. } => None,
            LabelVerdict::Preference { winner, .. } => winner.map(|winner| winner.as_str().to_owned()),
        };
        let ids: Vec<Uuid> = labels.iter().map(|label| label.id).collect();
        let annotators: Vec<String> = labels.iter().map(|label| label.annotator.clone()).collect();
        let items: Vec<Vec<u8>> = labels.iter().map(|label| label.item().to_vec()).collect();
        let query_ids: Vec<Option<String>> = labels.iter().map(query_id).collect();
        let query_digests: Vec<Option<Vec<u8>>> = labels.iter().map(query_digest).collect();
        let metrics: Vec<Option<String>> = labels.iter().map(|label| label.metric.clone()).collect();
        let first: Vec<String> = labels.iter().map(|label| label.verdict.models().0.to_owned()).collect();
        let second: Vec<Option<String>> =
            labels.iter().map(|label| label.verdict.models().1.map(str::to_owned)).collect();
        let scores: Vec<Option<f64>> = labels.iter().map(score).collect();
        let winners: Vec<Option<String>> = labels.iter().map(winner).collect();
        let times: Vec<StoredTime> = labels.iter().map(|label| label.labelled_at).collect();
        self.in_service(FAILING, "store labels", async |connection| {
            let added = sqlx::query_scalar!(
                r#"
            insert into labels (
                id, annotator, item, query_id, query_digest, evaluation_prompt_id, model_a, model_b, score, winner,
                labelled_at
            )
            select *
            from unnest(
                $1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[],
                $9::float8[], $10::text[], $11::timestamp[]
            )
            on conflict (id) do nothing
            returning id
            "#,
                &ids,
                &annotators,
                &items,
                &query_ids as &[Option<String>],
                &query_digests as &[Option<Vec<u8>>],
                &metrics as &[Option<String>],
                &first,
                &second as &[Option<String>],
                &scores as &[Option<f64>],
                &winners as &[Option<String>],
                &times as &[StoredTime]
            )
            .fetch_all(on(connection))
            .await?;
            let stored = sqlx::query_as!(
                super::list::Row,
                r#"
            select id, annotator, query_id, query_digest, evaluation_prompt_id, model_a, model_b, score, winner,
                labelled_at as "labelled_at: StoredTime"
            from labels
            where id = any($1)
            "#,
                &ids
            )
            .fetch_all(on(connection))
            .await?;
            let stored: HashMap<Uuid, StoredLabel> = stored
                .into_iter()
                .map(|row| decoded(row).map(|label| (label.id, label)))
                .collect::<sqlx::Result<_>>()?;
            let mut added = added;
            let outcomes = labels.iter().map(|label| match stored.get(&label.id) {
                Some(found) if is_same(found, label) => {
                    // An id that is given twice is added once.
                    match added.iter().position(|id| *id == label.id) {
                        Some(place) => {
                            added.swap_remove(place);
                            LabelOutcome::Stored
                        }
                        None => LabelOutcome::Unchanged,
                    }
                }
                Some(_) | None => LabelOutcome::Conflict,
            });
            Ok(outcomes.collect())
        })
        .await
    }

    /// Withdraws the label `id` of `annotator`; the one before it for the same item counts again. Returns whether it was
    /// there and not withdrawn.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn withdraw_label(
        &self,
        id: Uuid,
        annotator: Option<&str>,
        at: StoredTime,
    ) -> Result<bool, StorageError> {
        // No annotator has such a name, and PostgreSQL does not accept it as a parameter.
        if annotator.is_some_and(|annotator| annotator.contains('\0')) {
            return Ok(false);
        }
        self.in_service(FAILING, "withdraw a label", async |connection| {
            let withdrawn = sqlx::query!(
                r#"
            update labels
            set withdrawn_at = $3
            where id = $1 and ($2::text is null or annotator = $2) and withdrawn_at is null
            "#,
                id,
                annotator,
                at as StoredTime
            )
            .execute(on(connection))
            .await?;
            Ok(withdrawn.rows_affected() > 0)
        })
        .await
    }
}

/// Whether `found` says what `given` says; a label that is sent again has another time.
fn is_same(found: &StoredLabel, given: &StoredLabel) -> bool {
    StoredLabel { labelled_at: given.labelled_at, ..found.clone() } == *given
}
