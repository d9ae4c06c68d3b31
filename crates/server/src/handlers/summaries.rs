//! Summaries and comparisons of results.

use axum::extract::State;
use judge::results::{
    Calibration, Judgements, calibration, compare_models, compare_selections, scores_agree, summarize_pairs,
    summarize_scores, winners_agree,
};
use store::postgres::ResultSelection;
use uuid::Uuid;

use crate::{
    answer::{Answer, ApiError, Enveloped},
    request::{Body, Both, Parameters, Rejected, TwoSegments},
    results::{Results, check_size},
    wire::{
        AgreementRequest, AgreementResponse, ComparisonResponse, Labels, MethodParameters, PairResponse,
        Repeats, ResultFilters, RunComparisonResponse, ScoreAgreementResponse, ScoresResponse,
        SummaryParameters, SummaryResponse, WinnerAgreementResponse,
    },
};

type Result<T> = std::result::Result<T, ApiError>;

/// Summarizes results by metric, theme and model.
pub(crate) async fn summarize(
    State(results): State<Results>,
    parameters: Parameters<Both<ResultFilters, SummaryParameters>, Rejected>,
) -> Result<Answer<Enveloped, SummaryResponse>> {
    let Both(filters, SummaryParameters { repeats, seed, compare }) = parameters.value;
    let models = compare.as_deref().map(two_models).transpose()?;
    let (gathering, without_query) = results.gather(&filters.into_selection()?).await?;
    let method = MethodParameters { repeats, seed };
    let summary = results.compute([gathering], move |[judgements]| {
        summarized(&judgements, (method, without_query), models.as_ref())
    });
    Ok(Answer::new(summary.await?, "summarized"))
}

/// The summary of judgements, and the comparison of two models if they are named.
pub(crate) fn summarized(
    judgements: &Judgements,
    (parameters, without_query): (MethodParameters, u64),
    models: Option<&(String, String)>,
) -> Result<SummaryResponse> {
    check_size(judgements.summary_bytes())?;
    let method = parameters.method();
    let compared = models
        .map(|(first, second)| compare_models(judgements, first, second, &method))
        // Models are compared only on request.
        .unwrap_or_default();
    Ok(SummaryResponse {
        repeats: parameters.repeats,
        seed: parameters.seed,
        without_query,
        scores: summarize_scores(judgements, &method).into_iter().map(ScoresResponse::from).collect(),
        pairs: summarize_pairs(judgements, &method).into_iter().map(PairResponse::from).collect(),
        comparisons: compared.into_iter().map(ComparisonResponse::from).collect(),
    })
}

/// Compares two runs on the queries that they have in common.
pub(crate) async fn compare_runs(
    State(results): State<Results>,
    TwoSegments(first, second): TwoSegments,
    parameters: Parameters<MethodParameters, Rejected>,
) -> Result<Answer<Enveloped, RunComparisonResponse>> {
    let parameters = parameters.value;
    let mut gathered = Vec::new();
    for id in [&first, &second] {
        let missing = || ApiError::NoRecord { noun: "run with results", id: id.clone() };
        let run_id = Uuid::try_parse(id).map_err(|_| missing())?;
        let selection = ResultSelection { run_id: Some(run_id), ..ResultSelection::default() };
        let (gathering, _) = results.gather(&selection).await?;
        if gathering.is_empty() {
            return Err(missing());
        }
        gathered.push(gathering);
    }
    let gathered: [_; 2] = gathered.try_into().expect("both were gathered");
    let method = parameters.method();
    let compared = results.compute(gathered, move |[a, b]| {
        // Each metric and model has a group in at least one of the two.
        check_size(a.summary_bytes().saturating_add(b.summary_bytes()))?;
        Ok::<_, ApiError>(compare_selections(&a, &b, &method))
    });
    let compared = compared.await?;
    let comparison = RunComparisonResponse {
        run_a: first,
        run_b: second,
        repeats: parameters.repeats,
        seed: parameters.seed,
        comparisons: compared.into_iter().map(ComparisonResponse::from).collect(),
    };
    Ok(Answer::new(comparison, "compared"))
}

/// Compares the judges' verdicts with human labels.
pub(crate) async fn agree(
    State(results): State<Results>,
    body: Body<AgreementRequest, Rejected>,
) -> Result<Answer<Enveloped, AgreementResponse>> {
    let AgreementRequest { filters, repeats, labels } = body.value;
    let selection = match filters {
        Some(filters) => filters.0.into_selection()?,
        None => ResultSelection::default(),
    };
    let labels = Labels::new(labels.into_vec())?;
    let (agreement, _) = agreed(&results, &selection, repeats, labels).await?;
    Ok(Answer::new(agreement, "compared"))
}

/// The agreement of the selected results with `labels`, and what people say of answers with similar scores.
pub(crate) async fn agreed(
    results: &Results,
    selection: &ResultSelection,
    repeats: Repeats,
    labels: Labels,
) -> Result<(AgreementResponse, Vec<Calibration>)> {
    let wanted = labels.queries().cloned().collect();
    let gathering = results.gather_of(selection, &wanted).await?;
    let computed = results.compute([gathering], move |[judgements]| {
        let scores = scores_agree(&judgements, &labels.scores, repeats.into());
        let winners = winners_agree(&judgements, &labels.winners);
        let agreement = AgreementResponse {
            scores: scores.into_iter().map(ScoreAgreementResponse::from).collect(),
            winners: winners.into_iter().map(WinnerAgreementResponse::from).collect(),
        };
        (agreement, calibration(&judgements, &labels.scores, repeats.into()))
    });
    Ok(computed.await)
}

/// Reads the parameter `compare`.
fn two_models(compare: &str) -> Result<(String, String)> {
    match compare.split_once(',') {
        Some((first, second))
            if !first.is_empty() && !second.is_empty() && first != second && !second.contains(',') =>
        {
            Ok((first.to_owned(), second.to_owned()))
        }
        _ => Err(ApiError::invalid("compare", "expected two different models, separated by a comma")),
    }
}
