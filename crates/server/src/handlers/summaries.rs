//! Summaries and comparisons of results.

use axum::extract::State;
use judge::results::{
    Calibration, Confusion, Judgements, calibration, compare_models, compare_selections, score_confusion,
    scores_agree, summarize_pairs, summarize_scores, winner_confusion, winners_agree,
};
use store::postgres::ResultSelection;
use uuid::Uuid;

use crate::{
    answer::{Answer, ApiError, Enveloped},
    request::{Body, Both, Object, Parameters, Rejected, TwoSegments},
    results::{Results, check_size},
    wire::{
        AgreementRequest, AgreementResponse, ComparisonResponse, Entries, Labels, MethodParameters,
        PairResponse, Repeats, ResultFilters, RunComparisonResponse, ScoreAgreementResponse, ScoresResponse,
        SummaryParameters, SummaryResponse, WinnerAgreementResponse,
    },
};

/// Stored labels that are compared at most, the newest ones.
pub(crate) const MOST_LABELS: u32 = 100_000;

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
        summarized(&judgements, (method, without_query), models.as_slice())
    });
    Ok(Answer::new(summary.await?, "summarized"))
}

/// The summary of judgements, and the comparisons of these pairs of models.
pub(crate) fn summarized(
    judgements: &Judgements,
    (parameters, without_query): (MethodParameters, u64),
    models: &[(String, String)],
) -> Result<SummaryResponse> {
    check_size(judgements.summary_bytes())?;
    let method = parameters.method();
    let compared =
        models.iter().flat_map(|(first, second)| compare_models(judgements, first, second, &method));
    Ok(SummaryResponse {
        repeats: parameters.repeats,
        seed: parameters.seed,
        without_query,
        scores: summarize_scores(judgements, &method).into_iter().map(ScoresResponse::from).collect(),
        pairs: summarize_pairs(judgements, &method).into_iter().map(PairResponse::from).collect(),
        comparisons: compared.map(ComparisonResponse::from).collect(),
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
    let AgreementRequest { filters, repeats, labels, stored } = body.value;
    let selection = match filters {
        Some(filters) => filters.0.into_selection()?,
        None => ResultSelection::default(),
    };
    if labels.is_none() && stored.is_none() {
        return Err(ApiError::invalid("labels", "expected labels, or `stored` for those that are stored"));
    }
    let mut labels = Labels::new(labels.map_or_else(Vec::new, Entries::into_vec))?;
    let mut older_left_out = false;
    if let Some(Object(filters)) = stored {
        let (stored, is_whole) = results.labels(&filters.into(), MOST_LABELS).await?;
        labels.extend(Labels::of_stored(stored));
        older_left_out = !is_whole;
    }
    let agreed = agreed(&results, &selection, repeats, labels).await?;
    Ok(Answer::new(AgreementResponse { older_left_out, ..agreed.agreement }, "compared"))
}

/// What judges and people say of the same answers.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) agreement: AgreementResponse,
    /// What people say of answers with similar scores.
    pub(crate) calibrations: Vec<Calibration>,
    /// Of scores, then of winners.
    pub(crate) confusions: Vec<Confusion>,
}

/// The agreement of the selected results with `labels`.
pub(crate) async fn agreed(
    results: &Results,
    selection: &ResultSelection,
    repeats: Repeats,
    labels: Labels,
) -> Result<Agreed> {
    let wanted = labels.queries().cloned().collect();
    let gathering = results.gather_of(selection, &wanted).await?;
    let computed = results.compute([gathering], move |[judgements]| agree_on(&judgements, &labels, repeats));
    Ok(computed.await)
}

/// The agreement of judgements with `labels`.
pub(crate) fn agree_on(judgements: &Judgements, labels: &Labels, repeats: Repeats) -> Agreed {
    let Labels { scores, winners } = labels;
    let of_scores = scores_agree(judgements, scores, repeats.into());
    let of_winners = winners_agree(judgements, winners);
    let mut confusions = score_confusion(judgements, scores, repeats.into());
    confusions.extend(winner_confusion(judgements, winners));
    Agreed {
        agreement: AgreementResponse {
            labels: (scores.len() + winners.len()) as u64,
            older_left_out: false,
            scores: of_scores.into_iter().map(ScoreAgreementResponse::from).collect(),
            winners: of_winners.into_iter().map(WinnerAgreementResponse::from).collect(),
        },
        calibrations: calibration(judgements, scores, repeats.into()),
        confusions,
    }
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
