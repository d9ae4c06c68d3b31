//! The embeddings of a table.

use records::{DistanceSpace, Service};
use store::postgres::{EmbeddingHealth, Table, quoted};

use super::{of_table, verb};
use crate::doctor::{Finding, Remedy, Severity, TableExamination};

/// The model ignores case, accents and unknown characters, so that a few texts share a vector in any table, but not
/// this percentage.
const SHARED_PERCENT: u64 = 1;

pub(super) fn diagnose(examined: &TableExamination) -> Vec<Finding> {
    let Ok(health) = &examined.embeddings else { return Vec::new() };
    let service = Service::ALL.into_iter().find(|service| Table::of(*service) == examined.table);
    let mut findings = Vec::new();
    let mut add = |severity, code, what: String, remedy| {
        findings.push(of_table(examined, severity, code, what, remedy));
    };
    if health.missing > 0 {
        let what = format!(
            "{} no vector: vector searches never return {}",
            part(health, health.missing, "has", "have"),
            verb(health.missing, "it", "them")
        );
        add(Severity::Warning, "embeddings_missing", what, again(examined, service, "embedding is null"));
    }
    if health.zero > 0 && examined.table.space == DistanceSpace::Cosine {
        let what = format!(
            "{} a zero vector, for which the cosine distance is undefined: no index contains {it}, and \
                searches return {it} last",
            part(health, health.zero, "has", "have"),
            it = verb(health.zero, "it", "them")
        );
        add(
            Severity::Warning,
            "embeddings_zero",
            what,
            again(examined, service, "vector_norm(embedding) = 0"),
        );
    }
    if let Some((shortest, longest)) = health.lengths.filter(|_| health.other_lengths() > 0) {
        let others = health.other_lengths();
        let condition = "abs(vector_norm(embedding) - 1) > 0.001 and vector_norm(embedding) > 0";
        if service.is_some() {
            let what = format!(
                "{} a vector whose norm is not 1 ({shortest:.3} to {longest:.3}), unlike all vectors of \
                    all-MiniLM-L6-v2: another model computed {}, and their search results are meaningless",
                part(health, others, "has", "have"),
                verb(others, "it", "them")
            );
            add(Severity::Warning, "embeddings_unnormalised", what, again(examined, service, condition));
        } else if health.unit > 0 {
            let what = format!(
                "{} a vector whose norm is not 1 ({shortest:.3} to {longest:.3}), and {} a norm of 1: they \
                    probably come from different models, whose vectors cannot be compared",
                part(health, others, "has", "have"),
                health.unit
            );
            add(Severity::Note, "embeddings_mixed", what, again(examined, service, condition));
        }
    }
    if health.shared > 0 {
        let severity = if health.shared * 100 >= health.rows * SHARED_PERCENT {
            Severity::Warning
        } else {
            Severity::Note
        };
        let what = format!(
            "{} exactly the same vector as a row with another text (texts with the same first 200 \
                characters count as equal): searches cannot distinguish such rows",
            part(health, health.shared, "has", "have")
        );
        let text = quoted(&examined.table.text_column);
        let remedy = Remedy::Sql(vec![format!(
            "select array_agg(id), array_agg(left({text}, 60)) from {} where embedding is not null group by embedding having count(distinct lower(left({text}, 200))) > 1",
            quoted(&examined.table.name)
        )]);
        add(severity, "embeddings_shared", what, remedy);
    }
    if let (Ok(Some(recognised)), Some(service)) = (&examined.recognised, service)
        && recognised.foreign > 0
    {
        let what = format!(
            "of {} compared rows, {} a vector that differs from what all-MiniLM-L6-v2 computes from {}: \
                another model computed {it}, or the text was changed without {it}",
            recognised.compared,
            match recognised.foreign {
                1 => "1 has".to_owned(),
                number => format!("{number} have"),
            },
            verb(recognised.foreign.into(), "its text", "their texts"),
            it = verb(recognised.foreign.into(), "it", "them"),
        );
        let remedy = Remedy::Advice(format!("send each row its own text again: {}", patch(service)));
        add(Severity::Warning, "embeddings_of_another_model", what, remedy);
    }
    findings
}

/// `3 of 400 rows have`, or `3 of a sample of 400 rows have`.
fn part(health: &EmbeddingHealth, number: u64, singular: &str, plural: &str) -> String {
    let sample = if health.share < 1.0 { "a sample of " } else { "" };
    let rows = if health.rows == 1 { "row" } else { "rows" };
    format!("{number} of {sample}{} {rows} {}", health.rows, verb(number, singular, plural))
}

/// How to embed the rows that satisfy `condition` again: by sending the text to the service.
fn again(examined: &TableExamination, service: Option<Service>, condition: &str) -> Remedy {
    // Clients know outputs by the provider's id.
    let id = if service == Some(Service::Judge) { "coalesce(source_id, id::text) as id" } else { "id" };
    let select = format!(
        "select {id}, {} from {} where {condition}",
        quoted(&examined.table.text_column),
        quoted(&examined.table.name)
    );
    match service {
        None => Remedy::Sql(vec![select]),
        Some(service) => {
            let advice = format!("send each of these its own text again: {}", patch(service));
            Remedy::ForRows { advice, select }
        }
    }
}

/// The request that makes a service embed a text.
fn patch(service: Service) -> String {
    let (route, field) = match service {
        Service::Query => ("queries", "query"),
        Service::Evaluation => ("evaluation-metrics", "prompt"),
        Service::Judge => ("outputs", "output"),
    };
    format!("PATCH /api/v1/{route}/ID {{\"{field}\": \"…\"}} embeds it")
}
