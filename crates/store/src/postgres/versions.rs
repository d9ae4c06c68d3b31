//! Required versions of PostgreSQL and pgvector, and known problems.

use records::oldest;

/// Oldest server that Panopticon supports, as `server_version_num` counts.
pub const OLDEST_SERVER: i32 = oldest::POSTGRESQL.cast_signed() * 10_000;
/// First pgvector with iterative scans.
pub(crate) const ITERATIVE_SCAN_PGVECTOR: [u32; 3] = [0, 8, 0];
/// First pgvector with the fixes that the upkeep of indexes needs.
pub(crate) const FIXED_PGVECTOR: [u32; 3] = [0, 8, 4];

/// Known problems of pgvector versions, from its changelog.
const PGVECTOR_PROBLEMS: [VersionProblem; 5] = [
    VersionProblem {
        fixed_in: [0, 8, 0],
        consequence: Consequence::Slowness,
        reference: None,
        what: "a filtered index scan cannot continue after too few rows, so all matches are scanned exactly",
    },
    VersionProblem {
        fixed_in: [0, 8, 2],
        consequence: Consequence::Security,
        reference: Some("CVE-2026-3172"),
        what: "a parallel build of an HNSW index can expose data of other tables or crash the server",
    },
    VersionProblem {
        fixed_in: [0, 8, 3],
        consequence: Consequence::LostRows,
        reference: None,
        what: "VACUUM can corrupt HNSW indexes, so that searches miss rows",
    },
    VersionProblem {
        fixed_in: [0, 8, 4],
        consequence: Consequence::Failures,
        reference: None,
        what: "VACUUM of HNSW indexes can fail (\"hnsw graph not repaired\"), and so can inserts beside it",
    },
    VersionProblem {
        fixed_in: [0, 8, 7],
        consequence: Consequence::Unlikely,
        reference: Some("issue 1036"),
        what: "a build of an IVFFlat index can write beyond its memory",
    },
];

/// The oldest release of each major version of PostgreSQL without CVE-2026-6473, which allows a takeover of the
/// server by SQL statements, as `server_version_num`.
const SAFE_SERVERS: [i32; 5] = [140_023, 150_018, 160_014, 170_010, 180_004];

/// A problem of versions before a certain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionProblem {
    /// The first version without it.
    pub fixed_in: [u32; 3],
    /// The kind of its consequence.
    pub consequence: Consequence,
    /// A reference, if there is one besides the changelog.
    pub reference: Option<&'static str>,
    /// Its consequence, as a clause.
    pub what: &'static str,
}

/// The consequence of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Searches take longer than they need.
    Slowness,
    /// No occurrence is known.
    Unlikely,
    /// Statements fail.
    Failures,
    /// A role can exceed its privileges.
    Security,
    /// Indexes lose rows.
    LostRows,
}

/// The problems of this version of pgvector, oldest fix first.
pub fn pgvector_problems(version: &str) -> Vec<VersionProblem> {
    let found = parse_version(version);
    PGVECTOR_PROBLEMS.into_iter().filter(|problem| found < problem.fixed_in).collect()
}

/// The release to which a server of version `number` should be upgraded for security, such as `18.4`.
pub fn safe_server(number: i32) -> Option<String> {
    let safe = SAFE_SERVERS.into_iter().find(|safe| safe / 10_000 == number / 10_000)?;
    (number < safe).then(|| format!("{}.{}", safe / 10_000, safe % 10_000))
}

/// Whether pgvector `version` is older than Panopticon supports.
pub fn is_too_old(version: &str) -> bool {
    parse_version(version)[..] < oldest::PGVECTOR[..]
}

/// The three numbers; what does not parse counts as 0, the oldest.
pub fn parse_version(version: &str) -> [u32; 3] {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(parse_version("0.10.0") > parse_version("0.8.6"));
        assert!(is_too_old("0.6.2") && !is_too_old("0.7.0") && !is_too_old("0.10"));
        assert!(parse_version("0.8.3") < FIXED_PGVECTOR);
        assert_eq!(parse_version("unreadable"), [0, 0, 0]);
    }

    #[test]
    fn problems_are_those_that_a_later_version_has_fixed() {
        let fixes = |version: &str| -> Vec<String> {
            let problems = pgvector_problems(version);
            problems.into_iter().map(|problem| problem.fixed_in.map(|n| n.to_string()).join(".")).collect()
        };
        assert_eq!(fixes("0.7.4"), ["0.8.0", "0.8.2", "0.8.3", "0.8.4", "0.8.7"]);
        assert_eq!(fixes("0.8.3"), ["0.8.4", "0.8.7"]);
        assert_eq!(fixes("0.8.6"), ["0.8.7"]);
        assert_eq!(fixes("0.9.0"), [""; 0]);
    }

    #[test]
    fn each_major_version_has_a_safe_release() {
        assert_eq!(safe_server(180_003).as_deref(), Some("18.4"));
        assert_eq!(safe_server(170_009).as_deref(), Some("17.10"));
        assert_eq!(safe_server(180_006), None);
        assert_eq!(safe_server(190_000), None);
    }
}
