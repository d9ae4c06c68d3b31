//! Evaluation results.

use aide::{NoApi, OperationOutput, generate::GenContext, openapi};
use axum::{
    body::Body as HttpBody,
    extract::{Extension, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use records::Service;
use store::{
    postgres::{ResultCursor, ResultSelection, StoredResult},
    storage::{MAX_ANSWER_BYTES, StorageError},
};

use crate::{
    answer::{Answer, ApiError, Enveloped, Page, Pagination, Unwrapped},
    export,
    permit::Permit,
    process::ExportPlace,
    request::{Both, Ignored, Parameters, Rejected},
    results::Results,
    wire::{
        ExportFormat, ExportParameters, KeysetPage, PageParameters, ResultFilters, ResultPage, ResultPaging,
        ResultResponse,
    },
};

/// Lists results, newest first: numbered pages, as in the contract, or those after a cursor.
pub(crate) async fn list(
    State(results): State<Results>,
    parameters: Parameters<Both<ResultFilters, ResultPaging>, Ignored>,
) -> Result<Answer<Enveloped, ResultPage>, ApiError> {
    let Both(filters, ResultPaging { page, limit, cursor }) = parameters.value;
    let selection = filters.into_selection()?;
    let page = match (page, cursor) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "page",
                "expected either `page` or `cursor`, \
            found both",
            ));
        }
        (None, Some(cursor)) => ResultPage::Keyset(results.after(&selection, &cursor, limit.get()).await?),
        (page, None) => {
            // The contract's default is the first page.
            let page = PageParameters { page: page.unwrap_or_default(), limit };
            let (items, pagination) = results.page(&selection, page).await?;
            ResultPage::Page(Page { items, pagination })
        }
    };
    Ok(Answer::new(page, "listed").ignoring(&parameters.ignored))
}

/// Lists results, newest first, as a bare list.
pub(crate) async fn list_bare(
    State(results): State<Results>,
    parameters: Parameters<Both<ResultFilters, PageParameters>, Ignored>,
) -> Result<Answer<Unwrapped, Vec<ResultResponse>>, ApiError> {
    let Both(filters, page) = parameters.value;
    let (items, _) = results.page(&filters.into_selection()?, page).await?;
    Ok(Answer::new(items, "listed").ignoring(&parameters.ignored))
}

/// Exports results to a file, newest first.
pub(crate) async fn export(
    State(results): State<Results>,
    NoApi(Extension(permit)): NoApi<Extension<Permit>>,
    parameters: Parameters<Both<ResultFilters, ExportParameters>, Rejected>,
) -> Result<ResultFile, ApiError> {
    let Both(filters, parameters) = parameters.value;
    let place = results.process.begin_export(permit).await?;
    let mut selected = results.database.export_evaluation_results(filters.into_selection()?);
    // A failure of the first statement is still answered with its own status.
    let first = async { selected.next().await.transpose() };
    let first = results.process.measured(Service::Judge, "export_results", first).await?;
    let results = stream::iter(first.map(Ok)).chain(selected).boxed();
    Ok(ResultFile { parameters, results, place })
}

/// Results as a file. If the store fails midway, the response is truncated.
pub(crate) struct ResultFile {
    parameters: ExportParameters,
    results: BoxStream<'static, Result<StoredResult, StorageError>>,
    place: ExportPlace,
}

impl IntoResponse for ResultFile {
    fn into_response(self) -> Response {
        let Self { parameters, results, place } = self;
        let format = parameters.format;
        let parts = export::file(parameters, results).inspect_err(move |error| {
            let _held = &place;
            // Log it here: the status has already been sent.
            tracing::error!(error = %error.chain(), "an export was cut off");
        });
        let disposition = format!("attachment; filename=\"results.{}\"", format.extension());
        let headers = [
            (header::CONTENT_TYPE, format.media_type().to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ];
        (headers, HttpBody::from_stream(parts)).into_response()
    }
}

impl OperationOutput for ResultFile {
    type Inner = ResultResponse;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut openapi::Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        let content = ExportFormat::ALL
            .map(|format| (format.media_type().to_owned(), openapi::MediaType::default()))
            .into_iter()
            .collect();
        let response = openapi::Response {
            description: "The file. A failure midway closes the connection before the file is \
                complete."
                .to_owned(),
            content,
            ..openapi::Response::default()
        };
        vec![(Some(200), response)]
    }
}

impl Results {
    async fn page(
        &self,
        selection: &ResultSelection,
        page: PageParameters,
    ) -> Result<(Vec<ResultResponse>, Pagination), ApiError> {
        let counted = self.database.count_evaluation_results(selection);
        let total = self.process.measured(Service::Judge, "count_results", counted).await?;
        let listed = self.database.evaluation_results(selection, page.offset(), page.limit.get());
        let items = self.process.measured(Service::Judge, "list_results", listed).await.map_err(too_large)?;
        Ok((items.into_iter().map(ResultResponse::from).collect(), page.among(total)))
    }

    /// The results after `cursor`; the newest ones if it is empty.
    async fn after(
        &self,
        selection: &ResultSelection,
        cursor: &str,
        limit: u32,
    ) -> Result<KeysetPage<ResultResponse>, ApiError> {
        let (items, next_cursor) =
            self.stored_after(selection, cursor, limit).await.map_err(|error| match error {
                ApiError::Storage(error) => too_large(error),
                error => error,
            })?;
        Ok(KeysetPage { items: items.into_iter().map(ResultResponse::from).collect(), next_cursor })
    }

    /// The same as they are stored, and the cursor of the next page.
    pub(crate) async fn stored_after(
        &self,
        selection: &ResultSelection,
        cursor: &str,
        limit: u32,
    ) -> Result<(Vec<StoredResult>, Option<String>), ApiError> {
        let cursor = match cursor {
            "" => None,
            cursor => {
                let cursor: Result<ResultCursor, _> = cursor.parse();
                Some(cursor.map_err(|error| ApiError::invalid("cursor", error.to_string()))?)
            }
        };
        // One more row shows whether there is another page.
        let listed = self.database.evaluation_results_after(selection, cursor.as_ref(), limit + 1);
        let mut items = self.process.measured(Service::Judge, "list_results", listed).await?;
        let limit = usize::try_from(limit).expect("a limit fits into memory");
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|last| last.result.cursor().to_string());
        Ok((items, next_cursor))
    }
}

/// Names the remedy for a page that is too large.
fn too_large(error: StorageError) -> ApiError {
    match error {
        StorageError::TooLarge => {
            let reason = format!(
                "the response would have more than {MAX_ANSWER_BYTES} bytes: give a smaller `limit` (10 if it is \
                    absent), or use `GET /api/v1/results/export`"
            );
            ApiError::invalid("limit", reason)
        }
        error => error.into(),
    }
}
