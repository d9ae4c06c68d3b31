//! Templates with placeholders.

use std::{fmt, sync::LazyLock};

use regex::Regex;

/// A placeholder of a rubric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// `{query}`
    Query,
    /// `{output}`
    Output,
    /// `{reference}`
    Reference,
    /// `{output_a}`
    OutputA,
    /// `{output_b}`
    OutputB,
}

/// A text, split at its placeholders.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
    unknown: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Placeholder(Placeholder),
}

/// `{name}`, `{{name}}` and `{{ name }}`: the formats of Python, and of Jinja, Mustache and Handlebars.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\{\{\s*(?<double>[A-Za-z][A-Za-z0-9_]*)\s*\}\}|\{(?<single>[A-Za-z][A-Za-z0-9_]*)\}")
        .expect("a pattern")
});

impl Template {
    pub(super) fn parse(text: &str) -> Self {
        let mut template = Self { parts: Vec::new(), unknown: Vec::new() };
        let mut end = 0;
        for found in NAME.captures_iter(text) {
            let name =
                found.name("double").or_else(|| found.name("single")).expect("one of the two is there");
            match Placeholder::named(name.as_str()) {
                Some(placeholder) => {
                    let whole = found.get_match();
                    template.parts.push(Part::Text(text[end..whole.start()].to_owned()));
                    template.parts.push(Part::Placeholder(placeholder));
                    end = whole.end();
                }
                None => template.unknown.push(name.as_str().to_owned()),
            }
        }
        template.parts.push(Part::Text(text[end..].to_owned()));
        template.unknown.sort();
        template.unknown.dedup();
        template
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(super) fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder(placeholder) => Some(*placeholder),
        })
    }

    pub(super) fn unknown_names(&self) -> &[String] {
        &self.unknown
    }
}

impl Placeholder {
    const ALL: [Self; 5] = [Self::Query, Self::Output, Self::Reference, Self::OutputA, Self::OutputB];

    /// The name between the braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Output => "output",
            Self::Reference => "reference",
            Self::OutputA => "output_a",
            Self::OutputB => "output_b",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|placeholder| placeholder.as_str() == name)
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
