//! Contradictions between the numbers of a migration, which no list of records shows.

use std::fmt;

use crate::report::{CollectionReport, Conflict, ConflictReason, CopyReport, Verification};

/// A contradiction between numbers that should agree, which no single record explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discrepancy {
    /// The source counts this many more records than it returned.
    Unread(u64),
    /// This many records were neither written, nor unchanged, nor reported; the comparison was skipped.
    Unwritten(u64),
    /// This many rows have no record in the source, in addition to those that the copy reported.
    Stale(u64),
    /// The source returned this many fewer records to the comparison than to the copy.
    Fewer(u64),
    /// This many records were neither equal, missing, different nor rejected.
    Unmatched(u64),
    /// The digests differ.
    Digests,
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STOP: &str = "stop its writers or check the proxy in front of it, then run again";
        match self {
            Self::Unread(count) => {
                write!(f, "records that the source counts but does not list: {count}; {STOP}")
            }
            Self::Unwritten(count) => write!(
                f,
                "records that were not written, although the server reported no error: {count}; disable the \
                    trigger of the table that skips them, then run again"
            ),
            Self::Stale(count) => {
                write!(f, "rows without a record when the source was read again: {count}; {STOP}")
            }
            Self::Fewer(count) => {
                write!(f, "records that the source did not return again for the comparison: {count}; {STOP}")
            }
            Self::Unmatched(count) => write!(f, "records that were not compared: {count}; run again"),
            Self::Digests => f.write_str("the digests of both sides differ; run again"),
        }
    }
}

impl CollectionReport {
    /// Contradictions between the numbers of both sides, in addition to the reported records.
    pub fn discrepancies(&self) -> Vec<Discrepancy> {
        let some = |count: u64, discrepancy: fn(u64) -> Discrepancy| (count > 0).then(|| discrepancy(count));
        let copied = self.copied.as_ref().filter(|_| self.stopped.is_none());
        let of_copy = self.copied.as_ref().map_or(0, |copied| copied.unread);
        let of_verification = self.verification.as_ref().map_or(0, |verification| verification.unread);
        let mut found = Vec::from_iter(some(of_copy.max(of_verification), Discrepancy::Unread));
        let Some(verification) = &self.verification else {
            found.extend(copied.and_then(|copied| some(copied.unaccounted(), Discrepancy::Unwritten)));
            return found;
        };
        if let Some(copied) = copied {
            let stale = verification.stale.saturating_sub(copied.stale_rows());
            found.extend(some(stale, Discrepancy::Stale));
            let fewer = copied.source_records.saturating_sub(verification.source_records);
            found.extend(some(fewer, Discrepancy::Fewer));
        }
        let has_conflicts = copied.is_some_and(|copied| !copied.conflicts.is_empty());
        if !has_conflicts && !verification.differs() && verification.rejects.is_empty() {
            let unmatched = verification.source_records.abs_diff(verification.matched);
            found.extend(some(unmatched, Discrepancy::Unmatched));
            let has_one_digest = verification.digest_source == verification.digest_target;
            found.extend((verification.stale == 0 && !has_one_digest).then_some(Discrepancy::Digests));
        }
        found
    }
}

impl CopyReport {
    /// Records without a reported outcome.
    fn unaccounted(&self) -> u64 {
        let is_of_record = |conflict: &&Conflict| conflict.reason != ConflictReason::EditedAndGone;
        let conflicts = self.conflicts.iter().filter(is_of_record).count();
        let told = self.written + self.updated + self.unchanged + (conflicts + self.rejects.len()) as u64;
        self.source_records.saturating_sub(told)
    }

    /// Rows whose records are gone from the source and which were kept.
    fn stale_rows(&self) -> u64 {
        let is_gone = |conflict: &&Conflict| match conflict.reason {
            ConflictReason::EditedAndGone => true,
            // Edited before it could be deleted.
            ConflictReason::Edited => conflict.source_id.is_none(),
            ConflictReason::BornHere | ConflictReason::OfAnother | ConflictReason::DeletedHere => false,
        };
        self.stale + self.conflicts.iter().filter(is_gone).count() as u64
    }
}

impl Verification {
    /// Whether rows are missing or different.
    pub(crate) fn differs(&self) -> bool {
        !self.missing.is_empty() || !self.different.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use store::postgres::{Table, jobs::Counts, jobs::Origin};
    use uuid::Uuid;

    use super::*;
    use crate::{classify::Tally, report::Outcome};

    /// A report of two records that were written and are equal.
    fn report() -> CollectionReport {
        let origin = Origin {
            collection_id: Uuid::nil(),
            tenant: "t".into(),
            database: "d".into(),
            collection: "c".into(),
            source: "s".into(),
        };
        let tally = Tally::new(&Table::of(records::Service::Query));
        let counts = Counts { written: 2, ..Counts::default() };
        let copied = CopyReport { source_records: 2, ..tally.into_report(counts, 0, Vec::new()) };
        let verification = Verification { source_records: 2, rows: 2, matched: 2, ..Verification::default() };
        CollectionReport {
            copied: Some(copied),
            verification: Some(verification),
            ..CollectionReport::new(origin, "c", Uuid::nil())
        }
    }

    #[track_caller]
    fn check(change: impl Fn(&mut CopyReport, &mut Verification), expected: &[Discrepancy]) {
        let mut report = report();
        let (copied, verification) = (&mut report.copied, &mut report.verification);
        change(copied.as_mut().expect("it is set"), verification.as_mut().expect("it is set"));
        assert_eq!(report.discrepancies(), expected);
        let outcome = if expected.is_empty() { Outcome::Verified } else { Outcome::Different };
        assert_eq!(report.outcome(), outcome);
    }

    #[test]
    fn contradicting_numbers_are_discrepancies() {
        check(|_, _| {}, &[]);
        check(|copied, _| copied.unread = 3, &[Discrepancy::Unread(3)]);
        check(|_, verification| verification.unread = 3, &[Discrepancy::Unread(3)]);
        check(|_, verification| verification.digest_target = "1".into(), &[Discrepancy::Digests]);
        check(|_, verification| verification.matched = 1, &[Discrepancy::Unmatched(1)]);
        check(|_, verification| verification.stale = 1, &[Discrepancy::Stale(1)]);
        check(|copied, verification| (copied.stale, verification.stale) = (1, 1), &[]);
        let source_gives_nothing_again = |_: &mut CopyReport, verification: &mut Verification| {
            (verification.source_records, verification.matched, verification.stale) = (0, 0, 2);
        };
        check(source_gives_nothing_again, &[Discrepancy::Stale(2), Discrepancy::Fewer(2)]);
    }

    #[test]
    fn copy_without_comparison_must_account_for_every_record() {
        let mut report = CollectionReport { verification: None, ..report() };
        assert_eq!(report.outcome(), Outcome::Copied);
        report.copied.as_mut().expect("it is set").written = 1;
        assert_eq!(report.discrepancies(), [Discrepancy::Unwritten(1)]);
        assert_eq!(report.outcome(), Outcome::Different);
    }
}
