//! Evaluations, and the models that take part in them.

use axum::extract::State;
use store::postgres::Registration;

use crate::{
    answer::{Answer, ApiError, Enveloped, Form},
    judging::Judging,
    records::Records,
    request::{Body, Ignored, Refused},
    wire::{EvaluateQuery, EvaluateTheme, NewModel, Outputs, ShownEvaluated, ShownModel, ShownOfTheme},
};

type Result<T> = std::result::Result<T, ApiError>;

/// The judge at work, and where its outputs are kept.
#[derive(Clone)]
pub(crate) struct Evaluations {
    pub(crate) judging: Judging,
    pub(crate) outputs: Records<Outputs>,
}

/// Has a model answer a query, and a judge judge the answer.
pub(crate) async fn evaluate_query<F: Form>(
    State(Evaluations { judging, outputs }): State<Evaluations>,
    body: Body<EvaluateQuery, Ignored>,
) -> Result<Answer<F, ShownEvaluated>> {
    let (wanted, question) = body.value.into_wanted();
    let plan = judging.plan(wanted, outputs.process()).await?;
    let evaluated = judging.evaluate(&plan, &question, &outputs).await?;
    Ok(Answer::new(evaluated.into(), "evaluated")
        .ignoring(&body.ignored)
        .registering(&plan.newly_registered()))
}

/// Has a model answer the queries of a theme, and a judge judge the answers.
pub(crate) async fn evaluate_theme<F: Form>(
    State(Evaluations { judging, outputs }): State<Evaluations>,
    body: Body<EvaluateTheme, Ignored>,
) -> Result<Answer<F, Vec<ShownOfTheme>>> {
    let (wanted, limit) = body.value.into_wanted();
    let plan = judging.plan(wanted, outputs.process()).await?;
    let evaluated = judging.evaluate_theme(&plan, limit, &outputs).await?;
    for failed in evaluated.iter().filter_map(|evaluated| evaluated.as_ref().err()) {
        // Nobody else does: the answer as a whole is a success.
        if failed.error.status().is_server_error() {
            tracing::error!(error = %failed.error.chain(), "a query of a theme was not evaluated");
        }
    }
    let shown = evaluated.into_iter().map(ShownOfTheme::from).collect();
    Ok(Answer::new(shown, "evaluated").ignoring(&body.ignored).registering(&plan.newly_registered()))
}

/// Lists the models that are known.
pub(crate) async fn list_models<F: Form>(
    State(Evaluations { judging, outputs }): State<Evaluations>,
) -> Result<Answer<F, Vec<ShownModel>>> {
    let models = judging.models.list(outputs.process()).await?;
    Ok(Answer::new(models.into_iter().map(ShownModel::from).collect(), "listed"))
}

/// Registers a model, or changes one.
pub(crate) async fn register_model(
    State(Evaluations { judging, outputs }): State<Evaluations>,
    body: Body<NewModel, Refused>,
) -> Result<Answer<Enveloped, ShownModel>> {
    let model = body.value.into();
    let registration = judging.models.register(&model, outputs.process()).await?;
    let answer = Answer::new(model.into(), "registered");
    Ok(match registration {
        Registration::Stored => answer,
        Registration::Unchanged => answer.replayed(),
    })
}
