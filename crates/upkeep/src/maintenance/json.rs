//! Plans and actions as JSON.

use serde_json::{Value, json};

use super::{
    plan::{Action, Plan, Planned},
    run::{Done, Outcome},
};

/// A plan.
pub fn plan_to_json(plan: &Plan) -> Value {
    json!({
        "actions": plan.actions.iter().map(planned_to_json).collect::<Vec<_>>(),
        "left_alone": plan.left_alone,
    })
}

/// A finished action.
pub fn action_to_json(done: &Done) -> Value {
    let mut object = planned_to_json(&done.planned);
    object["outcome"] = json!(done.outcome.as_str());
    object["error"] = match &done.outcome {
        Outcome::Done => Value::Null,
        Outcome::Failed { error } => json!(error),
        Outcome::Interrupted(by) => json!(by.as_str()),
    };
    object["seconds"] = json!(done.took.as_secs_f64());
    object["before"] = done.before.clone();
    object["after"] = done.after.clone();
    object
}

fn planned_to_json(planned: &Planned) -> Value {
    let mut object = json!({
        "table": planned.table,
        "action": planned.action.as_str(),
        "reason": planned.reason,
        "what": planned.action.to_string(),
    });
    if let Action::Index(plan) = &planned.action {
        object["plan"] = crate::plan_to_json(plan);
    }
    object
}
