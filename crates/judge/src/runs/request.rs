//! Requests for runs, from all front ends.

use std::collections::{BTreeMap, HashSet};

use records::{MAX_ID_CHARS, MAX_LABEL_BYTES};
use serde_json::{Map, Value};
use store::storage::Selection;
use uuid::Uuid;

use super::plan::{RunBudget, RunMode};
use crate::engine::{RunError, check_bytes, check_metadata};

/// A run to create, with unresolved names.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The run's id: a retry of the request has the same.
    pub id: Uuid,
    /// Its name.
    pub name: Option<String>,
    /// The queries for the models.
    pub queries: RunQueries,
    /// Whether answers are scored or compared.
    pub mode: RunMode,
    /// The models that answer.
    pub models: Vec<NamedModel>,
    /// The models that judge: a panel if there are several.
    pub judges: Vec<NamedModel>,
    /// The metrics, by their ids.
    pub evaluation_prompt_ids: Vec<String>,
    /// How often each judge is asked the same question.
    pub repeats: u32,
    /// Whether to reuse a verdict on the same question by the same judge from an earlier result.
    pub uses_cache: bool,
    /// The temperature of the models that answer, 0 to 2; the configured one if absent.
    pub temperature: Option<f64>,
    /// Additional keys of each output's metadata.
    pub metadata: Map<String, Value>,
    /// Its limits.
    pub budget: RunBudget,
}

/// A model, and its provider if the request names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// Its name at the provider.
    pub id: String,
    /// Its provider.
    pub provider: Option<String>,
}

/// The selected queries of a run.
#[derive(Clone, Debug)]
pub enum RunQueries {
    /// Those with these ids.
    Ids(Vec<String>),
    /// The newest of the selected.
    Selected {
        /// The conditions.
        selection: Selection,
        /// Most queries.
        limit: u32,
    },
}

/// The judge of requests without one.
pub const DEFAULT_JUDGE: &str = "gpt-4";
/// The limit of requests with a selection but without a limit.
pub const DEFAULT_LIMIT: u32 = 1_000;

/// Most queries of one run.
pub const MAX_QUERIES: usize = 100_000;
/// Most models of one run.
pub const MAX_MODELS: usize = 50;
/// Most judges of one run.
pub const MAX_JUDGES: usize = 10;
/// Most metrics of one run.
pub const MAX_METRICS: usize = 100;
/// Most repeats.
pub const MAX_REPEATS: u32 = 100;

impl NamedModel {
    /// `ids`, each with its provider, if `providers` has one.
    pub fn all(ids: Vec<String>, providers: &BTreeMap<String, String>) -> Vec<Self> {
        let named = |id: String| Self { provider: providers.get(&id).cloned(), id };
        ids.into_iter().map(named).collect()
    }
}

impl RunQueries {
    /// Those with these `ids`, each once, or else up to `limit` of the selected.
    ///
    /// # Errors
    /// When both are given, or neither.
    pub fn new(ids: Option<Vec<String>>, selection: Selection, limit: u32) -> Result<Self, RunError> {
        match (ids, selection.is_all()) {
            (Some(mut ids), true) => {
                let mut seen = HashSet::new();
                ids.retain(|id| seen.insert(id.clone()));
                Ok(Self::Ids(ids))
            }
            (None, false) => Ok(Self::Selected { selection, limit }),
            (Some(_), false) => {
                Err(RunError::refused("query_ids", "give ids or a selection of queries, not both"))
            }
            (None, true) => {
                Err(RunError::refused("theme", "expected a theme, another condition, or `query_ids`"))
            }
        }
    }
}

impl RunRequest {
    /// Validates it without look-ups.
    ///
    /// # Errors
    /// [`RunError::Refused`] with the field.
    pub(super) fn check(&self) -> Result<(), RunError> {
        check_bytes("name", self.name.as_ref().map_or(0, String::len), MAX_LABEL_BYTES)?;
        check_metadata(&self.metadata)?;
        match &self.queries {
            RunQueries::Ids(ids) => check_ids("query_ids", ids.iter(), MAX_QUERIES)?,
            RunQueries::Selected { limit, .. } => {
                check_whole("limit", *limit, u32::try_from(MAX_QUERIES).expect("it fits"))?;
            }
        }
        check_ids("models", self.models.iter().map(|model| &model.id), MAX_MODELS)?;
        check_ids("judge_models", self.judges.iter().map(|judge| &judge.id), MAX_JUDGES)?;
        check_ids("evaluation_prompt_ids", self.evaluation_prompt_ids.iter(), MAX_METRICS)?;
        check_whole("repeats", self.repeats, MAX_REPEATS)?;
        if let Some(temperature) = self.temperature.filter(|temperature| !(0.0..=2.0).contains(temperature)) {
            let reason = format!("expected a number from 0 to 2, found {temperature}");
            return Err(RunError::refused("temperature", reason));
        }
        self.budget.check()
    }
}

fn check_ids<'i>(
    field: &str,
    ids: impl ExactSizeIterator<Item = &'i String>,
    max: usize,
) -> Result<(), RunError> {
    let found = ids.len();
    if !(1..=max).contains(&found) {
        return Err(RunError::refused(field, format!("expected 1 to {max} entries, found {found}")));
    }
    for (index, id) in ids.enumerate() {
        let characters = id.chars().count();
        if !(1..=MAX_ID_CHARS).contains(&characters) {
            let expected = format!("expected a text of 1 to {MAX_ID_CHARS} characters");
            let reason = format!("invalid length {characters}, {expected}");
            return Err(RunError::refused(format!("{field}[{index}]"), reason));
        }
    }
    Ok(())
}

fn check_whole(field: &str, number: u32, max: u32) -> Result<(), RunError> {
    if (1..=max).contains(&number) {
        return Ok(());
    }
    let reason = format!("invalid value: integer `{number}`, expected a whole number from 1 to {max}");
    Err(RunError::refused(field, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::request_digest::tests::{full, least};

    #[test]
    fn values_beyond_a_limit_are_rejected_with_their_field() {
        for request in [full(), least()] {
            assert!(request.check().is_ok(), "{request:?}");
        }
        let refused = |change: fn(&mut RunRequest)| {
            let mut request = least();
            change(&mut request);
            request.check().expect_err("it is refused").to_string()
        };
        let model = |id: String| NamedModel { id, provider: None };
        assert_eq!(
            refused(|request| request.queries = RunQueries::Ids(Vec::new())),
            "`query_ids`: expected 1 to 100000 entries, found 0"
        );
        assert_eq!(
            refused(|request| request.repeats = 0),
            "`repeats`: invalid value: integer `0`, expected a whole number from 1 to 100"
        );
        assert_eq!(refused(|request| request.models.clear()), "`models`: expected 1 to 50 entries, found 0");
        for (field, most, request) in [
            ("name", 4096, RunRequest { name: Some("n".repeat(4097)), ..least() }),
            ("metadata", 65_536, {
                let metadata = Map::from_iter([("k".to_owned(), "m".repeat(65_536 - 7).into())]);
                RunRequest { metadata, ..least() }
            }),
        ] {
            let error = request.check().expect_err("it is refused").to_string();
            assert_eq!(error, format!("`{field}`: expected up to {most} bytes, found {}", most + 1));
        }
        let name = Some("n".repeat(4096));
        let metadata = Map::from_iter([("k".to_owned(), "m".repeat(65_536 - 8).into())]);
        assert!(RunRequest { name, metadata, ..least() }.check().is_ok());
        let mut request = RunRequest { judges: vec![model("j".to_owned()), model(String::new())], ..least() };
        let expected = "`judge_models[1]`: invalid length 0, expected a text of 1 to 512 characters";
        assert_eq!(request.check().expect_err("it is refused").to_string(), expected);
        request.judges = vec![model("é".repeat(512))];
        assert!(request.check().is_ok());
        for temperature in [-0.1, 2.1, f64::NAN] {
            let request = RunRequest { temperature: Some(temperature), ..least() };
            let error = request.check().expect_err("it is refused").to_string();
            assert_eq!(error, format!("`temperature`: expected a number from 0 to 2, found {temperature}"));
        }
        for cost_usd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let budget = RunBudget { cost_usd: Some(cost_usd), ..RunBudget::default() };
            let error = RunRequest { budget, ..least() }.check().expect_err("it is refused").to_string();
            assert_eq!(
                error,
                format!("`budget.cost_usd`: expected a number greater than 0, found {cost_usd}")
            );
        }
    }
}
