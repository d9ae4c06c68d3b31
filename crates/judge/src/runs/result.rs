//! Results of judgements, and the completion of their tasks.

use records::{shortened, timestamp};
use serde_json::Value;
use store::postgres::{
    EarlierVerdict, EvaluationResult, ResultStatus,
    runs::{ClaimedTask, ModelAnswer, TaskDone, TaskWork},
};
use uuid::Uuid;

use super::execution::Execution;
use crate::engine::{
    answer::words,
    judgement::{JudgePrompt, Judgement},
};

/// Longest reason for a missing answer, in characters: each judgement of the answer repeats it.
pub(super) const REASON_CHARACTERS: usize = 1000;
/// Results' ids are made of their run and task. Stored data depends on it: never change it.
const RESULT_NAMESPACE: Uuid = Uuid::from_u128(0x3d0c_91f4_52b7_4c0e_8a66_2f9e_71d8_b035);

/// The judgement of an earlier answer to the same prompt. `swapped` says whether the judge would see the first answer
/// second.
pub(super) fn of_earlier(earlier: EarlierVerdict, prompt: &JudgePrompt, swapped: bool) -> Judgement {
    let EarlierVerdict { fingerprint: _, id, status, score, winner, swapped: was_swapped, mut metadata } =
        earlier;
    // This call uses no tokens, and the outputs are those of another run.
    let other =
        ["latency_ms", "input_tokens", "output_tokens", "cost_usd", "output_id", "opponent_output_id"];
    other.into_iter().for_each(|key| drop(metadata.remove(key)));
    metadata.entry("cached_from").or_insert(id.into());
    let mut judgement = Judgement { status, score, metadata };
    judgement.insert("fingerprint", prompt.fingerprint.to_string());
    // The order in the earlier result may have been the other one.
    if let Some(winner) = winner.filter(|_| was_swapped.is_some_and(|was_swapped| was_swapped != swapped)) {
        judgement.insert("winner", winner.swapped().as_str());
    }
    judgement
}

/// A judgement without a measurement, for this reason.
pub(super) fn unmeasured(status: ResultStatus, reason: &str) -> Judgement {
    let mut judgement = Judgement::unmeasured(status);
    judgement.insert("reason", words(reason));
    judgement
}

/// The id of a task's result or output: deterministic, so that nothing is stored twice.
pub(super) fn own_id(run: Uuid, task: &ClaimedTask) -> String {
    Uuid::new_v5(&RESULT_NAMESPACE, format!("{run} {}", task.number).as_bytes()).to_string()
}

impl Execution {
    /// The end of a judgement.
    pub(super) fn result(&self, task: &ClaimedTask, judgement: Judgement) -> TaskDone {
        let Judgement { status, score, mut metadata } = judgement;
        let reason = metadata.get("reason").or(metadata.get("error_kind")).and_then(Value::as_str);
        let reason = reason.map(|reason| shortened(reason, REASON_CHARACTERS).into_owned());
        metadata.insert("run_id".to_owned(), self.run.to_string().into());
        let mut result = EvaluationResult {
            id: own_id(self.run, task),
            query_id: task.query.id.clone(),
            query_text: Some(task.query.text.clone()),
            output_text: None,
            model_id: None,
            theme: Some(task.query.theme.clone()),
            evaluation_prompt_id: None,
            evaluation_prompt: None,
            score,
            judge_model: None,
            timestamp: Some(timestamp::now().into()),
            result_metadata: None,
        };
        if let TaskWork::Judgement { model, answer, opponent, swapped, metric, judge, repeat } = &task.work {
            // An unknown name in the plan is the reason why the task failed.
            let model_id =
                |place: u16| self.plan.models.get(usize::from(place)).map(|model| model.id.clone());
            let metric = self.metrics.get(usize::from(*metric));
            if let ModelAnswer::Output { id, text } = answer {
                metadata.insert("output_id".to_owned(), id.clone().into());
                result.output_text = Some(text.clone());
            }
            metadata.insert("repeat".to_owned(), (*repeat).into());
            if let Some((opponent, answer)) = opponent {
                metadata.insert("mode".to_owned(), "pairwise".into());
                metadata.insert("opponent".to_owned(), model_id(*opponent).into());
                metadata.insert("swapped".to_owned(), (*swapped).into());
                if let ModelAnswer::Output { id, .. } = answer {
                    metadata.insert("opponent_output_id".to_owned(), id.clone().into());
                }
            }
            result.model_id = model_id(*model);
            result.evaluation_prompt_id = metric.map(|metric| metric.id.clone());
            result.evaluation_prompt = metric.map(|metric| metric.rubric.text().to_owned());
            result.judge_model = self.plan.judges.get(usize::from(*judge)).map(|judge| judge.id.clone());
        }
        result.result_metadata = Some(Value::Object(metadata));
        TaskDone {
            task: task.number,
            query_place: task.query_place,
            outcome: status.into(),
            reason,
            output_id: None,
            result: Some(result),
        }
    }
}
