//! How the layers treat a route. `routes` says which route is of which class.

use std::time::Duration;

use axum::extract::Request;

use crate::config::ServerConfig;

/// The class of a path.
pub(crate) type ClassOf = fn(&str) -> RouteClass;

/// What sets a route apart from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RouteClass {
    /// Nothing: records, results and runs, and paths without a route.
    #[default]
    Records,
    /// It waits for models.
    Evaluation,
    /// It shows that the process is alive. It shows the version, costs nothing, and is open to every monitor.
    Health,
    /// It shows whether requests can be served, to load balancers too, which have no key.
    Ready,
    /// It shows the metrics.
    Metrics,
    /// It is the OpenAPI document.
    Description,
    /// It is the page that shows the document.
    Page,
}

impl RouteClass {
    /// The class that the outermost layer gave to `request`.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }

    /// Whether clients must send the key, if there is one.
    pub(crate) fn needs_key(self) -> bool {
        !matches!(self, Self::Health | Self::Ready)
    }

    /// Whether the host and the origin of a request are checked, if there is no key.
    pub(crate) fn checks_origin(self) -> bool {
        self != Self::Health
    }

    /// Whether pages of other origins may link to it: it costs nothing and shows nothing of records.
    pub(crate) fn may_be_linked(self) -> bool {
        matches!(self, Self::Description | Self::Page)
    }

    /// Whether it counts among the requests that are worked on at once. Operators must see into a busy process.
    pub(crate) fn is_limited(self) -> bool {
        !matches!(self, Self::Health | Self::Ready | Self::Metrics)
    }

    /// How long it may take until its answer begins.
    pub(crate) fn time_limit(self, config: &ServerConfig) -> Duration {
        if self == Self::Evaluation { config.evaluation_timeout } else { config.request_timeout }
    }
}
