//! Lists labels.

use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::{FAILING, ItemDigest, LabelVerdict, LabelWinner, LabelledQuery, StoredLabel};
use crate::{
    StoredTime,
    postgres::{
        Database,
        bounded::{AnswerSize, too_large},
        unnamed::on,
    },
    storage::StorageError,
};

/// Bytes of a label in an answer besides its texts.
const ROW_BYTES: usize = 160;

/// Which labels are listed: all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelection {
    /// Only of this annotator.
    pub annotator: Option<String>,
    /// Only by this metric.
    pub metric: Option<String>,
    /// Only those after this one, in the order of the list.
    pub after: Option<(StoredTime, Uuid)>,
}

/// A row of the table.
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) annotator: String,
    pub(super) query_id: Option<String>,
    pub(super) query_digest: Option<Vec<u8>>,
    pub(super) evaluation_prompt_id: Option<String>,
    pub(super) model_a: String,
    pub(super) model_b: Option<String>,
    pub(super) score: Option<f64>,
    pub(super) winner: Option<String>,
    pub(super) labelled_at: StoredTime,
}

impl Database {
    /// Up to `limit` labels that count, newest first, without skipped items; and whether these are all. Fewer than
    /// `limit` are returned if they would have more bytes than an answer may.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn labels(
        &self,
        selection: &LabelSelection,
        limit: u32,
    ) -> Result<(Vec<StoredLabel>, bool), StorageError> {
        let names = [&selection.annotator, &selection.metric];
        // No row has such a name, and PostgreSQL does not accept it as a parameter.
        if names.into_iter().flatten().any(|name| name.contains('\0')) {
            return Ok((Vec::new(), true));
        }
        self.in_turn(|size| self.labels_within(selection, limit, size)).await
    }

    async fn labels_within(
        &self,
        LabelSelection { annotator, metric, after }: &LabelSelection,
        limit: u32,
        size: AnswerSize,
    ) -> Result<(Vec<StoredLabel>, bool), StorageError> {
        let (time, id) = after.unzip();
        self.in_service(FAILING, "list labels", async |connection| {
            let mut rows = sqlx::query_as!(
                Row,
                r#"
            select id, annotator, query_id, query_digest, evaluation_prompt_id, model_a, model_b, score, winner,
                labelled_at as "labelled_at: StoredTime"
            from labels
            where withdrawn_at is null
                and (score is not null or winner is not null)
                and ($1::text is null or annotator = $1)
                and ($2::text is null or evaluation_prompt_id = $2)
                and ($3::timestamp is null or (labelled_at, id) < ($3, $4))
                and not exists (
                    select
                    from labels newer
                    where newer.item = labels.item
                        and newer.annotator = labels.annotator
                        and newer.withdrawn_at is null
                        and (newer.labelled_at, newer.id) > (labels.labelled_at, labels.id)
                )
            order by labelled_at desc, id desc
            limit $5
            "#,
                annotator.as_deref(),
                metric.as_deref(),
                time as Option<StoredTime>,
                id,
                i64::from(limit) + 1
            )
            .fetch(on(connection));
            let (mut labels, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.try_next().await? {
                let label = decoded(row)?;
                bytes += bytes_of(&label);
                if labels.len() >= limit as usize {
                    return Ok((labels, false));
                }
                if bytes > size.most_bytes() {
                    return match size {
                        AnswerSize::Large if !labels.is_empty() => Ok((labels, false)),
                        _ => Err(too_large(size.most_bytes())),
                    };
                }
                labels.push(label);
            }
            Ok((labels, true))
        })
        .await
    }

    /// The last `limit` labels of `annotator` that are not withdrawn, newest first, with skipped items and with those
    /// that a later label for the same item replaces.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn last_labels(&self, annotator: &str, limit: u32) -> Result<Vec<StoredLabel>, StorageError> {
        if annotator.contains('\0') {
            return Ok(Vec::new());
        }
        self.in_service(FAILING, "list labels", async |connection| {
            let rows = sqlx::query_as!(
                Row,
                r#"
            select id, annotator, query_id, query_digest, evaluation_prompt_id, model_a, model_b, score, winner,
                labelled_at as "labelled_at: StoredTime"
            from labels
            where annotator = $1 and withdrawn_at is null
            order by labelled_at desc, id desc
            limit $2
            "#,
                annotator,
                i64::from(limit)
            )
            .fetch_all(on(connection))
            .await?;
            rows.into_iter().map(decoded).collect()
        })
        .await
    }

    /// Those of `items` for which `annotator` has a label or has skipped them, each with when it was skipped.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn labelled_items(
        &self,
        annotator: &str,
        items: &[ItemDigest],
    ) -> Result<Vec<(ItemDigest, Option<StoredTime>)>, StorageError> {
        if annotator.contains('\0') || items.is_empty() {
            return Ok(Vec::new());
        }
        let items: Vec<Vec<u8>> = items.iter().map(|item| item.to_vec()).collect();
        self.in_service(FAILING, "look for labels", async |connection| {
            let rows = sqlx::query!(
                r#"
            select distinct on (item) item,
                case when score is null and winner is null then labelled_at end as "skipped_at: StoredTime"
            from labels
            where item = any($1) and annotator = $2 and withdrawn_at is null
            order by item, labelled_at desc, id desc
            "#,
                &items,
                annotator
            )
            .fetch_all(on(connection))
            .await?;
            // Others were not selected.
            let found = rows.into_iter().filter_map(|row| Some((row.item.try_into().ok()?, row.skipped_at)));
            Ok(found.collect())
        })
        .await
    }
}

/// # Errors
/// When the row has a value that no label has, which the table's constraints prevent.
pub(super) fn decoded(row: Row) -> sqlx::Result<StoredLabel> {
    let invalid = |what: &str| sqlx::Error::Decode(format!("label {} has {what}", row.id).into());
    let query = match (row.query_id, row.query_digest) {
        (Some(id), _) => LabelledQuery::Id(id),
        (None, digest) => {
            let digest = digest.and_then(|digest| digest.try_into().ok());
            LabelledQuery::Digest(digest.ok_or_else(|| invalid("no query"))?)
        }
    };
    let verdict = match row.model_b {
        None => {
            LabelVerdict::Score { model: row.model_a, score: row.score.filter(|score| score.is_finite()) }
        }
        Some(second) => {
            let winner = row.winner.as_deref().and_then(LabelWinner::named);
            LabelVerdict::Preference { first: row.model_a, second, winner }
        }
    };
    Ok(StoredLabel {
        id: row.id,
        annotator: row.annotator,
        query,
        metric: row.evaluation_prompt_id,
        verdict,
        labelled_at: row.labelled_at,
    })
}

fn bytes_of(label: &StoredLabel) -> usize {
    let (first, second) = label.verdict.models();
    let query = match &label.query {
        LabelledQuery::Id(id) => id.len(),
        LabelledQuery::Digest(_) => 0,
    };
    let names = [Some(label.annotator.as_str()), label.metric.as_deref(), Some(first), second];
    ROW_BYTES + query + names.into_iter().flatten().map(str::len).sum::<usize>()
}
