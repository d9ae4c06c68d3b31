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
    /// Runs.
    Runs,
    /// Comparisons of models.
    Compare,
    /// Settings.
    Settings,
}

impl Section {
    /// All sections, in the order of the navigation.
    pub(crate) const ALL: [Self; 7] =
        [Self::Home, Self::Queries, Self::Metrics, Self::Outputs, Self::Runs, Self::Compare, Self::Settings];

    /// Its name.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Queries => "Queries",
            Self::Metrics => "Metrics",
            Self::Outputs => "Outputs",
            Self::Runs => "Runs",
            Self::Compare => "Compare",
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
            Self::Runs => "/console/runs".to_owned(),
            Self::Compare => "/console/compare".to_owned(),
            Self::Settings => "/console/settings".to_owned(),
        }
    }

    /// The service whose data it shows; `None` for the sections of every process.
    pub(crate) fn service(self) -> Option<Service> {
        match self {
            Self::Home | Self::Settings => None,
            Self::Queries => Some(Service::Query),
            Self::Metrics => Some(Service::Evaluation),
            Self::Outputs | Self::Runs | Self::Compare => Some(Service::Judge),
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

/// The path prefixes of the sections of `service`.
pub(crate) fn prefixes(service: Service) -> impl Iterator<Item = String> {
    Section::ALL.into_iter().filter(move |section| section.service() == Some(service)).map(Section::path)
}
