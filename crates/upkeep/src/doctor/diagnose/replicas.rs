//! The replicas: whether they answer reads, and whether those are cancelled.

use store::postgres::ServerState;

use super::Remedy;
use crate::doctor::{Finding, Severity};

pub(super) fn diagnose(replica: &ServerState) -> Vec<Finding> {
    let address = &replica.address;
    let mut findings = Vec::new();
    let mut add = |severity, code, what, remedy| {
        findings.push(Finding { severity, code, table: None, what, remedy });
    };
    if let Some(problem) = &replica.problem {
        let what = format!("the replica {address} answers no reads, so the primary does: {problem}");
        let remedy = Remedy::Advice(
            "remove the cause (the log of the replica has more), or leave the server out of the replicas"
                .to_owned(),
        );
        add(Severity::Warning, "replica_unfit", what, remedy);
    }
    let Some(settings) = &replica.settings else { return findings };
    let set = |statement: &str| {
        Remedy::Sql(vec![format!("alter system set {statement}"), "select pg_reload_conf()".to_owned()])
    };
    if settings.max_standby_streaming_delay == "-1" {
        let what = format!(
            "the replica {address} replays nothing while a read conflicts with it (max_standby_streaming_delay is -1), however long that takes"
        );
        add(Severity::Warning, "replica_waits_for_reads", what, set("max_standby_streaming_delay = '30s'"));
    } else if !settings.hot_standby_feedback {
        let what = format!(
            "VACUUM on the primary cancels reads on the replica {address} (hot_standby_feedback is off, max_standby_streaming_delay is {}): the primary then repeats them",
            settings.max_standby_streaming_delay
        );
        add(Severity::Warning, "replica_cancels_reads", what, set("hot_standby_feedback = on"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use store::postgres::StandbySettings;

    use super::*;

    #[test]
    fn replica_that_answers_no_reads_or_cancels_them_is_found() {
        let found = |problem: Option<&str>, hot_standby_feedback, delay: &str| -> Vec<String> {
            let findings = diagnose(&ServerState {
                address: "standby:5432/panopticon".to_owned(),
                is_replica: true,
                problem: problem.map(str::to_owned),
                lag: None,
                settings: Some(StandbySettings {
                    hot_standby_feedback,
                    max_standby_streaming_delay: delay.to_owned(),
                }),
                reads: 0,
                passed_on: 0,
            });
            findings.iter().map(|finding| format!("{}: {}", finding.code, finding.what)).collect()
        };
        assert_eq!(found(None, true, "30s"), Vec::<String>::new());
        let all = [
            found(Some("connection refused"), true, "30s"),
            found(None, false, "30s"),
            found(None, false, "-1"),
        ];
        expect![[r#"
            replica_unfit: the replica standby:5432/panopticon answers no reads, so the primary does: connection refused
            replica_cancels_reads: VACUUM on the primary cancels reads on the replica standby:5432/panopticon (hot_standby_feedback is off, max_standby_streaming_delay is 30s): the primary then repeats them
            replica_waits_for_reads: the replica standby:5432/panopticon replays nothing while a read conflicts with it (max_standby_streaming_delay is -1), however long that takes"#]]
        .assert_eq(&all.concat().join("\n"));
    }
}
