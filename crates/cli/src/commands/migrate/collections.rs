//! `migrate collections`: from the command line to all collections of a source.

use anyhow::{anyhow, bail};
use chroma::{Collection, EmptyDatabase};
use migrate::{Placement, Target, WholeSource};
use store::postgres::{SharedTable, Table, is_own_relation, jobs::Origin};
use uuid::Uuid;

use super::transfers::{check_names, template};
use crate::{
    arguments::TransferArguments,
    configuration::Configuration,
    exit::Failure,
    interrupt::run_interruptibly,
    output::visible,
    source::{self, Location, Selection},
};

const DEFAULT_COLUMN: &str = "collection_name";

/// Opens the source of `arguments`, and adds its name to `sources`.
pub(super) async fn open(
    configuration: &Configuration,
    arguments: &TransferArguments,
    sources: &mut Vec<String>,
) -> Result<WholeSource, Failure> {
    let placement = placement(arguments).map_err(Failure::usage)?;
    let path = arguments
        .from
        .as_ref()
        .ok_or_else(|| anyhow!("no source given: add --from DIR or --from URL"))
        .map_err(Failure::usage)?;
    let location = Location::new(path, &arguments.scope, configuration).map_err(Failure::usage)?;
    sources.push(location.to_string());
    let (tenant, database) = (arguments.scope.tenant.clone(), arguments.scope.database.clone());
    let patterns = arguments.patterns.clone();
    run_interruptibly(move |_| {
        let source = source::open(&location)?;
        let selection = Selection { tenant: tenant.as_deref(), database: database.as_deref(), name: None };
        // Patterns select collections, and nothing else.
        let is_meant = |one: &&EmptyDatabase| {
            patterns.is_empty() && selection.covers(&one.tenant, one.database.as_deref())
        };
        let empty_databases: Vec<EmptyDatabase> =
            source.empty_databases().iter().filter(is_meant).cloned().collect();
        let collections = match selection.of(source.collections()) {
            Err(_) if !empty_databases.is_empty() => Vec::new(),
            meant => matching(meant.map_err(Failure::usage)?, &patterns).map_err(Failure::usage)?,
        };
        let is_server = matches!(location, Location::Server(..));
        let is_selected = Box::new(move |origin: &Origin| {
            // A server lists the collections of one tenant.
            let tenant = tenant.as_deref().or_else(|| is_server.then_some(chroma::DEFAULT_TENANT));
            Selection { tenant, database: database.as_deref(), name: None }
                .covers(&origin.tenant, Some(&origin.database))
                && is_of(&patterns, &origin.collection)
        });
        let is_reserved = is_own_relation;
        Ok(WholeSource { source, collections, empty_databases, placement, is_reserved, is_selected })
    })
    .await
}

/// The collections whose name one of `patterns` matches; all of them if no pattern is given.
fn matching(collections: Vec<&Collection>, patterns: &[String]) -> anyhow::Result<Vec<Collection>> {
    let is_meant = |collection: &&Collection| is_of(patterns, &collection.name);
    let count = collections.len();
    let meant: Vec<Collection> = collections.into_iter().filter(is_meant).cloned().collect();
    if meant.is_empty() && count > 0 {
        let patterns: Vec<String> =
            patterns.iter().map(|pattern| format!("`{}`", visible(pattern))).collect();
        bail!("none of the {count} collections matches {}", patterns.join(" or "));
    }
    Ok(meant)
}

/// Whether one of `patterns` matches `name`, or none is given.
fn is_of(patterns: &[String], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
}

/// Whether `pattern` matches all of `text`: `*` is any text and `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut in_text) = (0, 0);
    // Position of the last star, and how much of the text it matches.
    let mut star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                (at, in_text) = (place + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// The tables that the flags choose.
fn placement(arguments: &TransferArguments) -> anyhow::Result<Placement> {
    if arguments.name.is_some() {
        bail!(
            "`collections` takes no NAME: select collections with --match, or migrate one with `collection NAME`"
        );
    }
    if arguments.table.is_some() {
        bail!("--table names the table of one collection: use --into to name one for all of them");
    }
    let template = template(arguments)?;
    let Some(table) = &arguments.into else {
        check_names(&Table { name: "any".to_owned(), ..template.clone() })?;
        return Ok(Placement { template, target: Target::OwnTables });
    };
    if is_own_relation(table) {
        bail!("table `{table}` is one of Panopticon's own: name another with --into");
    }
    // With the longest suffix of an additional table.
    let longest = format!("{table}_16000_cosine");
    if longest.len() > 63 || table.is_empty() || table.contains('\0') {
        let most = 63 - "_16000_cosine".len();
        bail!(
            "`{table}` is no valid table name: expected 1 to {most} bytes, found {}: name another with --into",
            table.len()
        );
    }
    let column = arguments.collection_column.clone().unwrap_or_else(|| DEFAULT_COLUMN.to_owned());
    let shared = SharedTable { column: column.clone(), id: Uuid::nil(), name: String::new() };
    check_names(&Table { name: table.clone(), shared: Some(shared), ..template.clone() })?;
    Ok(Placement { template, target: Target::Shared { table: table.clone(), column } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("file-*", "file-0a", true),
            ("file-*", "my-file-0a", false),
            ("*", "", true),
            ("*-*-*", "a-b-c", true),
            ("?b*", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("docs", "docs", true),
            ("docs", "docs2", false),
            ("日*", "日本", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)), "without exponential time");
    }
}
