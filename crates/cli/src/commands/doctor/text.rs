//! The report as text: the server, each table, and the findings.

use store::postgres::{EmbeddingHealth, LastSearches, ServerFacts, ServerState};
use time::PrimitiveDateTime;
use upkeep::doctor::{
    Examination, Examined, Finding, IndexScanResult, MeasuredSearches, Remedy, Severity, TableExamination,
};

use crate::{
    output::{count, grouped, size_text, visible},
    screen::wrap,
};

/// Width of the label of a line.
const LABEL_WIDTH: usize = 14;
/// The memory settings.
const SHOWN_SETTINGS: [&str; 3] = ["shared_buffers", "effective_cache_size", "maintenance_work_mem"];

/// The report in lines of at most `width` columns, except for longer words.
pub(super) fn screen(examination: &Examination, findings: &[Finding], width: usize) -> String {
    let mut lines = server(&examination.server, width);
    lines.extend(examination.replicas.iter().flat_map(|one| replica(one, width)));
    for table in &examination.tables {
        lines.push(String::new());
        lines.extend(of_table(table, width));
    }
    if !examination.absent.is_empty() {
        lines.push(String::new());
        let absent: Vec<String> = examination.absent.iter().map(|name| visible(name)).collect();
        let made = "`panopticon serve` and `panopticon migrate` create what they need";
        lines.extend(wrap(&format!("not created yet: {}; {made}", absent.join(", ")), width, "", "  "));
    }
    for finding in findings {
        lines.push(String::new());
        lines.extend(of_finding(finding, width));
    }
    lines.push(String::new());
    lines.push(verdict(findings));
    lines.join("\n")
}

fn server(server: &ServerFacts, width: usize) -> Vec<String> {
    let pgvector = match (&server.pgvector, &server.pgvector_package) {
        (Some(version), _) => format!("pgvector {version}"),
        (None, Some(version)) => {
            format!("pgvector {version} installed, but not created in this database yet")
        }
        (None, None) => "no pgvector".to_owned(),
    };
    let standby = if server.is_standby { ", a standby" } else { "" };
    let head = format!(
        "{} as {}: PostgreSQL {}{standby}, {pgvector}",
        server.address, server.role, server.postgresql
    );
    let mut parts: Vec<String> = SHOWN_SETTINGS
        .iter()
        .filter_map(|name| Some(format!("{name} {}", server.setting(name)?.value)))
        .collect();
    parts.extend(server.machine_bytes.map(|bytes| format!("of a machine with {}", size_text(bytes))));
    let mut lines = wrap(&visible(&head), width, "", "  ");
    lines.extend(wrap(&parts.join(", "), width, "  ", "  "));
    if !server.extensions.is_empty() {
        let names: Vec<String> =
            server.extensions.iter().map(|(name, version)| visible(&format!("{name} {version}"))).collect();
        lines.extend(wrap(&format!("other extensions: {}", names.join(", ")), width, "  ", "    "));
    }
    lines
}

fn replica(replica: &ServerState, width: usize) -> Vec<String> {
    let state = match (&replica.problem, replica.lag) {
        (Some(_), _) => "answers no reads".to_owned(),
        (None, Some(lag)) => format!("{} s ({}) behind", lag.time.as_secs(), size_text(lag.bytes)),
        (None, None) => "answers reads".to_owned(),
    };
    let settings = replica.settings.as_ref().map_or_else(String::new, |settings| {
        let feedback = if settings.hot_standby_feedback { "on" } else { "off" };
        let delay = &settings.max_standby_streaming_delay;
        format!("; hot_standby_feedback {feedback}, max_standby_streaming_delay {delay}")
    });
    wrap(&visible(&format!("replica {}: {state}{settings}", replica.address)), width, "  ", "    ")
}

fn of_table(examined: &TableExamination, width: usize) -> Vec<String> {
    let facts = &examined.facts;
    let rows = match (&examined.indexes, facts.estimated_rows) {
        (Ok(observation), _) => number_of(observation.rows, "row"),
        (Err(_), Some(rows)) => format!("about {}", number_of(rows, "row")),
        (Err(_), None) => "an unknown number of rows".to_owned(),
    };
    let size = format!("{rows}, {}, indexes {}", size_text(facts.table_bytes), size_text(facts.index_bytes));
    let name = visible(&examined.table.name);
    let mut lines = wrap(&format!("{name}: {size}"), width, "", "  ");
    let mut line = |label: &str, text: String| {
        let first = format!("  {label:<LABEL_WIDTH$}");
        let next = " ".repeat(first.len());
        lines.extend(wrap(&visible(&text), width, &first, &next));
    };
    if let Ok(observation) = &examined.indexes {
        for index in &observation.indexes {
            let size = size_text(index.size_bytes);
            line("vector index", format!("{}, {}, {size}", index.name, index.definition));
        }
    }
    line("searches now", shown(&examined.searches, |searches| now(searches.as_ref())));
    if let Ok(history) = &examined.history {
        for last in history {
            line("recent", recent(last));
        }
    }
    line(
        "maintenance",
        format!(
            "{}; VACUUM {}, ANALYZE {} (UTC)",
            number_of(facts.dead_rows, "dead row"),
            when(facts.last_vacuum),
            when(facts.last_analyze)
        ),
    );
    line("embeddings", shown(&examined.embeddings, embeddings));
    if let Ok(Some(recognised)) = examined.recognised
        && recognised.compared > 0
    {
        let same = recognised.compared - recognised.foreign;
        line(
            "",
            format!(
                "{same} of {} checked equal the embedding of their text by all-MiniLM-L6-v2",
                recognised.compared
            ),
        );
    }
    lines
}

fn now(searches: Option<&MeasuredSearches>) -> String {
    let Some(MeasuredSearches { sampled, without_distance, exact_ms, by_index }) = searches else {
        return "not measured: no vector to search for".to_owned();
    };
    let left_out = match without_distance {
        0 => String::new(),
        number => format!("; {number} skipped: their vectors have no finite distance"),
    };
    match by_index {
        None => format!("exact, {exact_ms:.1} ms (median of {sampled}{left_out})"),
        Some(IndexScanResult { candidates, recall, recall_low, recall_high, latency_ms, .. }) => format!(
            "recall {recall:.3} ({recall_low:.3} to {recall_high:.3}) in {latency_ms:.1} ms with {candidates} candidates; exact in {exact_ms:.1} ms (medians of {sampled}{left_out})"
        ),
    }
}

fn recent(last: &LastSearches) -> String {
    let recall =
        last.recall.map_or_else(|| "recall not measured".to_owned(), |recall| format!("recall {recall:.3}"));
    let latency = match (last.latency_p50_ms, last.latency_p99_ms) {
        (Some(half), Some(most)) => format!(", half within {half:.1} ms, 99 % within {most:.1} ms"),
        _ => String::new(),
    };
    format!(
        "{recall}{latency}; filters: {}; {} until {} (UTC)",
        last.filter_class,
        count_searches(last.searches),
        when(Some(last.measured_at))
    )
}

fn embeddings(health: &EmbeddingHealth) -> String {
    if health.rows == 0 {
        return "none".to_owned();
    }
    let rows = if health.share < 1.0 {
        format!("of a sample of {}", number_of(health.rows, "row"))
    } else {
        "of all rows".to_owned()
    };
    let problems = [
        (health.missing, "missing"),
        (health.zero, "all zeros"),
        (health.other_lengths(), "not of length 1"),
        (health.shared, "shared with another text"),
    ];
    let problems: Vec<String> = problems
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", grouped(number)))
        .collect();
    if problems.is_empty() {
        return format!("{rows}: none missing, all of length 1, none shared between texts");
    }
    format!("{rows}: {}", problems.join(", "))
}

fn of_finding(finding: &Finding, width: usize) -> Vec<String> {
    let subject = finding.table.as_ref().map_or_else(String::new, |table| format!("{}: ", visible(table)));
    let head =
        format!("{}: {subject}{} [{}]", finding.severity.as_str(), visible(&finding.what), finding.code);
    let mut lines = wrap(&head, width, "", "  ");
    match &finding.remedy {
        // Not wrapped, so that it can be copied.
        Remedy::Command(command) => lines.push(format!("  run: {}", visible(command))),
        Remedy::Sql(statements) => lines.extend(statements.iter().map(|statement| sql(statement))),
        Remedy::Advice(advice) => lines.extend(wrap(&visible(advice), width, "  do: ", "  ")),
        Remedy::ForRows { advice, select } => {
            lines.extend(wrap(&visible(advice), width, "  do: ", "  "));
            lines.push(sql(select));
        }
    }
    lines
}

fn sql(statement: &str) -> String {
    format!("  sql: {};", visible(statement))
}

fn verdict(findings: &[Finding]) -> String {
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .filter(|severity| number(*severity) > 0)
        .map(|severity| count(number(severity), severity.as_str()))
        .collect();
    let is_healthy = findings.iter().all(|finding| finding.severity == Severity::Note);
    let conclusion = if is_healthy { "Nothing is wrong" } else { "Something is wrong" };
    if parts.is_empty() { format!("{conclusion}.") } else { format!("{conclusion}: {}.", parts.join(", ")) }
}

fn shown<T>(seen: &Examined<T>, shown: impl FnOnce(&T) -> String) -> String {
    match seen {
        Ok(found) => shown(found),
        Err(unseen) => format!("not examined: {unseen}"),
    }
}

fn when(time: Option<PrimitiveDateTime>) -> String {
    match time {
        Some(time) => format!("{} {:02}:{:02}", time.date(), time.hour(), time.minute()),
        None => "never".to_owned(),
    }
}

fn number_of(number: u64, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{} {singular}s", grouped(number)) }
}

fn count_searches(number: u64) -> String {
    if number == 1 { "1 search".to_owned() } else { format!("{} searches", grouped(number)) }
}

#[cfg(test)]
mod tests;
