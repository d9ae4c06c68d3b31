//! Labels of people.

use aide::{NoApi, OperationOutput, generate::GenContext, openapi};
use axum::{
    body::{Body as HttpBody, Bytes},
    extract::{Extension, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use records::{Service, timestamp};
use store::{
    StoredTime,
    postgres::{LabelOutcome, LabelSelection, ResultCursor, StoredLabel},
};
use uuid::Uuid;

use crate::{
    answer::{Answer, ApiError, Enveloped},
    export::labels,
    permit::Permit,
    process::ExportPlace,
    request::{Body, Both, Object, Parameters, Rejected, Segment},
    results::Results,
    wire::{
        ItemStatus, KeysetPage, KeysetParameters, LabelExportParameters, LabelFilters, LabelFormat,
        LabelItemResponse, LabelResponse, NewLabels, StoredLabelsResponse, WithdrawnLabel,
    },
};

type Result<T> = std::result::Result<T, ApiError>;

/// Labels of a part of an export.
const PART: u32 = 1_000;

/// Lists the labels that count, newest first.
pub(crate) async fn list(
    State(results): State<Results>,
    parameters: Parameters<Both<LabelFilters, KeysetParameters>, Rejected>,
) -> Result<Answer<Enveloped, KeysetPage<LabelResponse>>> {
    let Both(filters, KeysetParameters { limit, cursor }) = parameters.value;
    let after = cursor.as_deref().map(position).transpose()?;
    let selection = LabelSelection { after, ..filters.into() };
    let (labels, is_last) = results.labels(&selection, limit.get()).await?;
    let next_cursor = labels.last().filter(|_| !is_last).map(cursor_after);
    let items = labels.into_iter().map(LabelResponse::from).collect();
    Ok(Answer::new(KeysetPage { items, next_cursor }, "listed"))
}

/// Stores up to 1,000 labels, in one transaction.
pub(crate) async fn store(
    State(results): State<Results>,
    body: Body<NewLabels, Rejected>,
) -> Result<Answer<Enveloped, StoredLabelsResponse>> {
    let mut labels = Vec::new();
    for (place, Object(label)) in body.value.labels.into_vec().into_iter().enumerate() {
        let part = format!("labels[{place}]");
        let label = label.into_stored().map_err(|error| error.within(&part))?;
        label.check().map_err(|error| ApiError::from(error).within(&part))?;
        labels.push(label);
    }
    let stored = results.database.store_labels(&labels);
    let outcomes = results.process.measured(Service::Judge, "store_labels", stored).await?;
    let items: Vec<LabelItemResponse> = labels
        .iter()
        .zip(&outcomes)
        .map(|(label, outcome)| LabelItemResponse {
            id: label.id.to_string(),
            status: match outcome {
                LabelOutcome::Stored => ItemStatus::Stored,
                LabelOutcome::Unchanged => ItemStatus::Unchanged,
                LabelOutcome::Conflict => ItemStatus::Conflict,
            },
        })
        .collect();
    let stored = items.iter().filter(|item| item.status != ItemStatus::Conflict).count();
    let is_replayed = items.iter().all(|item| item.status == ItemStatus::Unchanged);
    let answer = Answer::new(StoredLabelsResponse { items, stored }, "stored");
    Ok(if is_replayed { answer.replayed() } else { answer })
}

/// Withdraws a label; the one before it counts again.
pub(crate) async fn withdraw(
    State(results): State<Results>,
    Segment(id): Segment,
) -> Result<Answer<Enveloped, WithdrawnLabel>> {
    let missing = || ApiError::NoRecord { noun: "label", id: id.clone() };
    let label = Uuid::try_parse(&id).map_err(|_| missing())?;
    let withdrawn = results.database.withdraw_label(label, None, StoredTime::from(timestamp::now()));
    let is_withdrawn = results.process.measured(Service::Judge, "withdraw_label", withdrawn).await?;
    if !is_withdrawn {
        return Err(missing());
    }
    Ok(Answer::new(WithdrawnLabel { id: label.to_string() }, "withdrawn"))
}

/// Exports labels to a file, newest first.
pub(crate) async fn export(
    State(results): State<Results>,
    NoApi(Extension(permit)): NoApi<Extension<Permit>>,
    parameters: Parameters<Both<LabelFilters, LabelExportParameters>, Rejected>,
) -> Result<LabelFile> {
    let Both(filters, parameters) = parameters.value;
    let place = results.process.begin_export(permit).await?;
    let selection = LabelSelection::from(filters);
    // A failure of the first statement is still answered with its own status.
    let first = results.labels(&selection, PART).await?;
    let rest = stream::try_unfold((results, selection, Some(first)), async |(results, selection, page)| {
        let Some((labels, is_last)) = page else { return Ok(None) };
        let last = labels.last().map(|label| (label.labelled_at, label.id));
        let selection = LabelSelection { after: last, ..selection };
        let next = match is_last {
            true => None,
            false => Some(results.labels(&selection, PART).await?),
        };
        Ok(Some((labels, (results, selection, next))))
    });
    Ok(LabelFile { parameters, pages: rest.boxed(), place })
}

/// Labels as a file. If the store fails midway, the response is truncated.
pub(crate) struct LabelFile {
    parameters: LabelExportParameters,
    pages: BoxStream<'static, Result<Vec<StoredLabel>>>,
    place: ExportPlace,
}

impl IntoResponse for LabelFile {
    fn into_response(self) -> Response {
        let Self { parameters: LabelExportParameters { format, formulas }, pages, place } = self;
        let header_line = match format {
            LabelFormat::Csv => labels::header(),
            LabelFormat::Jsonl => String::new(),
        };
        let parts = pages.map(move |page| {
            let _held = &place;
            let page = page.inspect_err(|error| {
                // Log it here: the status has already been sent.
                tracing::error!(error = %error.chain(), "an export was cut off");
            })?;
            let page: Vec<LabelResponse> = page.into_iter().map(LabelResponse::from).collect();
            Ok::<_, ApiError>(Bytes::from(match format {
                LabelFormat::Csv => labels::write(&page, formulas),
                LabelFormat::Jsonl => labels::write_lines(&page),
            }))
        });
        let parts = stream::iter([Ok(Bytes::from(header_line))]).chain(parts);
        let disposition = format!("attachment; filename=\"labels.{}\"", format.extension());
        let headers = [
            (header::CONTENT_TYPE, format.media_type().to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ];
        (headers, HttpBody::from_stream(parts)).into_response()
    }
}

impl OperationOutput for LabelFile {
    type Inner = LabelResponse;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut openapi::Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        let formats = [LabelFormat::Csv, LabelFormat::Jsonl];
        let content = formats.map(|format| (format.media_type().to_owned(), openapi::MediaType::default()));
        let response = openapi::Response {
            description: "The file. A failure midway closes the connection before the file is complete."
                .to_owned(),
            content: content.into_iter().collect(),
            ..openapi::Response::default()
        };
        vec![(Some(200), response)]
    }
}

impl Results {
    /// Up to `limit` of the selected labels, and whether these are all.
    pub(crate) async fn labels(
        &self,
        selection: &LabelSelection,
        limit: u32,
    ) -> Result<(Vec<StoredLabel>, bool)> {
        let listed = self.database.labels(selection, limit);
        Ok(self.process.measured(Service::Judge, "list_labels", listed).await?)
    }
}

fn cursor_after(label: &StoredLabel) -> String {
    ResultCursor { timestamp: Some(label.labelled_at), id: label.id.to_string() }.to_string()
}

fn position(cursor: &str) -> Result<(StoredTime, Uuid)> {
    let invalid = || ApiError::invalid("cursor", "expected a cursor as returned by the previous response");
    let ResultCursor { timestamp, id } = cursor.parse().map_err(|_| invalid())?;
    timestamp.zip(Uuid::try_parse(&id).ok()).ok_or_else(invalid)
}
