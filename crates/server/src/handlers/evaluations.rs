//! Evaluations and models.

use axum::extract::State;
use judge::engine::{Judging, RunError};
use records::error_chain;
use store::postgres::Registration;

use crate::{
    answer::{Answer, ApiError, Enveloped, Form},
    request::{Body, Ignored, Rejected},
    wire::{
        EvaluateQuery, EvaluateTheme, EvaluatedOutputResponse, ModelResponse, NewModel, ThemeQueryResponse,
    },
};

type Result<T> = std::result::Result<T, ApiError>;

/// Has a model answer a query and a judge score the answer.
pub(crate) async fn evaluate_query<F: Form>(
    State(judging): State<Judging>,
    body: Body<EvaluateQuery, Ignored>,
) -> Result<Answer<F, EvaluatedOutputResponse>> {
    let (request, question) = body.value.into_request();
    let plan = judging.plan(request).await?;
    let evaluated = judging.evaluate(&plan, &question).await?;
    Ok(Answer::new(evaluated.into(), "evaluated")
        .ignoring(&body.ignored)
        .registering(&plan.newly_registered()))
}

/// Has a model answer the queries of a theme and a judge score the answers.
pub(crate) async fn evaluate_theme<F: Form>(
    State(judging): State<Judging>,
    body: Body<EvaluateTheme, Ignored>,
) -> Result<Answer<F, Vec<ThemeQueryResponse>>> {
    let (request, limit) = body.value.into_request();
    let plan = judging.plan(request).await?;
    let evaluated = judging.evaluate_theme(&plan, limit).await?;
    for failed in evaluated.iter().filter_map(|evaluated| evaluated.as_ref().err()) {
        // Log the failure here: the response as a whole is a success.
        if matches!(failed.error, RunError::Unavailable(_) | RunError::Failed(_)) {
            tracing::error!(error = %error_chain(&failed.error), "a query of a theme was not evaluated");
        }
    }
    let shown = evaluated.into_iter().map(ThemeQueryResponse::from).collect();
    Ok(Answer::new(shown, "evaluated").ignoring(&body.ignored).registering(&plan.newly_registered()))
}

/// Lists the registered models.
pub(crate) async fn list_models<F: Form>(
    State(judging): State<Judging>,
) -> Result<Answer<F, Vec<ModelResponse>>> {
    let models = judging.models().list().await?;
    Ok(Answer::new(models.into_iter().map(ModelResponse::from).collect(), "listed"))
}

/// Registers a model or changes one.
pub(crate) async fn register_model(
    State(judging): State<Judging>,
    body: Body<NewModel, Rejected>,
) -> Result<Answer<Enveloped, ModelResponse>> {
    let model = body.value.into();
    let registration = judging.models().register(&model).await?;
    let answer = Answer::new(model.into(), "registered");
    Ok(match registration {
        Registration::Stored => answer,
        Registration::Unchanged => answer.replayed(),
    })
}
