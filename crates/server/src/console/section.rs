//! The sections of the console, as the navigation shows them.

use records::Service;

use crate::wire::{EvaluationMetrics, Outputs, Queries, Resource};

/// A section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Overview.
    Home,
    /// Queries.
    Queries,
    /// Evaluation metrics.
    Metrics,
    /// Outputs.
    Outputs,
    /// Collections that Chroma clients see.
    Collections,
    /// Runs.
    Runs,
    /// Comparisons of models.
    Compare,
    /// How judges judge.
    Judges,
    /// Labels of people.
    Label,
    /// Indexes of tables, and what searches find.
    Quality,
    /// Migrations from ChromaDB.
    Migrations,
    /// Settings.
    Settings,
}

impl Section {
    /// All sections, in the order of the navigation.
    pub(crate) const ALL: [Self; 12] = [
        Self::Home,
        Self::Queries,
        Self::Metrics,
        Self::Outputs,
        Self::Collections,
        Self::Runs,
        Self::Compare,
        Self::Judges,
        Self::Label,
        Self::Quality,
        Self::Migrations,
        Self::Settings,
    ];

    /// Its name.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Queries => "Queries",
            Self::Metrics => "Metrics",
            Self::Outputs => "Outputs",
            Self::Collections => "Collections",
            Self::Runs => "Runs",
            Self::Compare => "Compare",
            Self::Judges => "Judges",
            Self::Label => "Label",
            Self::Quality => "Search quality",
            Self::Migrations => "Migrations",
            Self::Settings => "Settings",
        }
    }

    /// The path of its first page; its other pages are below.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Home => "/".to_owned(),
            Self::Queries => format!("/console/{}", Queries::PATH),
            Self::Metrics => format!("/console/{}", EvaluationMetrics::PATH),
            Self::Outputs => format!("/console/{}", Outputs::PATH),
            Self::Collections => "/console/collections".to_owned(),
            Self::Runs => "/console/runs".to_owned(),
            Self::Compare => "/console/compare".to_owned(),
            Self::Judges => "/console/judges".to_owned(),
            Self::Label => "/console/label".to_owned(),
            Self::Quality => "/console/quality".to_owned(),
            Self::Migrations => "/console/migrations".to_owned(),
            Self::Settings => "/console/settings".to_owned(),
        }
    }

    /// The services that can show it, the best one first; none for the sections of every process. All services share one
    /// database, but only the judge always has one.
    pub(crate) fn services(self) -> &'static [Service] {
        match self {
            Self::Home | Self::Settings => &[],
            Self::Queries => &[Service::Query],
            Self::Metrics => &[Service::Evaluation],
            Self::Outputs | Self::Runs | Self::Compare | Self::Judges | Self::Label => &[Service::Judge],
            Self::Collections | Self::Quality | Self::Migrations => {
                &[Service::Judge, Service::Query, Service::Evaluation]
            }
        }
    }

    /// The section with the records of `service`.
    pub(crate) fn of_records(service: Service) -> Self {
        match service {
            Service::Query => Self::Queries,
            Service::Evaluation => Self::Metrics,
            Service::Judge => Self::Outputs,
        }
    }
}

/// The path prefixes of the sections that `service` shows, of those that are `served`.
pub(crate) fn prefixes(service: Service, served: &[Service]) -> impl Iterator<Item = String> {
    let shows = move |section: &Section| {
        section.services().iter().find(|able| served.contains(able)) == Some(&service)
    };
    Section::ALL.into_iter().filter(shows).map(Section::path)
}
