//! Wire types: bodies, parameters and responses, and their conversion to the types of `store` and `judge`.
//!
//! Queries, metrics and outputs have structs of their own that differ in few fields. serde's `flatten` would share the
//! others, but unknown fields could no longer be reported, and members of responses would change their order.

mod agreement;
mod bounded;
mod dates;
mod evaluation_metrics;
mod evaluations;
mod labels;
mod lists;
mod metadata;
mod outputs;
mod problems;
mod queries;
mod records;
mod results;
mod runs;
mod search;
mod summaries;

pub(crate) use agreement::{
    AgreementRequest, AgreementResponse, Label as HumanLabel, LabelFilters, Labels, RateResponse,
    ScoreAgreementResponse, WinnerAgreementResponse,
};
pub(crate) use bounded::{Entries, Label, LaxBool, LaxWhole, Whole, Within};
pub(crate) use dates::{EndDate, StartDate};
pub(crate) use evaluation_metrics::EvaluationMetrics;
pub(crate) use evaluations::{
    EvaluateQuery, EvaluateTheme, EvaluatedOutputResponse, ModelResponse, NewModel, ThemeQueryResponse,
};
pub(crate) use labels::{
    LabelExportParameters, LabelFormat, LabelItemResponse, LabelResponse, NewLabel, NewLabels,
    StoredLabelsResponse, WithdrawnLabel,
};
pub(crate) use lists::{
    Batch, BatchItem, Count, EmbeddingInfo, Fetch, Fetched, ItemStatus, KeysetPage, KeysetParameters,
    OnError, PageParameters, StoredBatch,
};
pub(crate) use metadata::{ClientId, ExactObject};
pub(crate) use outputs::Outputs;
pub(crate) use problems::ProblemResponse;
pub(crate) use queries::Queries;
pub(crate) use records::{
    Conditions, DraftChange, DraftRecord, Mode, Resource, SearchRequest, ThemeCount, ThemeFilters,
};
pub(crate) use results::{
    ExportFormat, ExportParameters, Formulas, ResultFilters, ResultPage, ResultPaging, ResultResponse, RunId,
    Status,
};
pub(crate) use runs::{DeletedRun, NewRun, ResumeRun, RunFilters};
pub(crate) use search::{Fields, QueryVector, SearchBatch};
pub(crate) use summaries::{
    ComparisonResponse, MeanResponse, MethodParameters, PairResponse, PositionResponse, Repeats,
    RunComparisonResponse, ScoresResponse, SummaryParameters, SummaryResponse,
};
