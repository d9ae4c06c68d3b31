//! Route classes, which decide how the layers treat a route. `routes` assigns them.

use std::time::Duration;

use axum::extract::Request;

use crate::config::ServerConfig;

/// The class of a path.
pub(crate) type ClassOf = fn(&str) -> RouteClass;

/// The class of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RouteClass {
    /// Records, results and runs, and paths without a route.
    #[default]
    Records,
    /// Evaluations, which wait for models.
    Evaluation,
    /// Liveness. It costs nothing, shows only the version, and is open to every monitor.
    Health,
    /// Readiness, also for load balancers, which have no key.
    Ready,
    /// The metrics.
    Metrics,
    /// The OpenAPI document.
    Description,
    /// The page that renders the document.
    Page,
    /// The pages of the console.
    Console,
    /// Its sign-in page, style sheet and script.
    OpenConsole,
    /// Chroma's API.
    Chroma,
    /// The part of Chroma's API that says nothing but that the server is there.
    OpenChroma,
}

impl RouteClass {
    /// The class that the outermost layer gave to `request`.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }

    /// Whether clients must send the key, if one is set.
    pub(crate) fn needs_key(self) -> bool {
        !matches!(self, Self::Health | Self::Ready | Self::OpenChroma | Self::OpenConsole)
    }

    /// Whether it belongs to the console: a cookie replaces the key, and bodies are those of HTML forms.
    pub(crate) fn is_console(self) -> bool {
        matches!(self, Self::Console | Self::OpenConsole)
    }

    /// Whether the host and origin of a request are checked, if no key is set.
    pub(crate) fn checks_origin(self) -> bool {
        self != Self::Health
    }

    /// Whether errors have the form of Chroma's API.
    pub(crate) fn is_chroma(self) -> bool {
        matches!(self, Self::Chroma | Self::OpenChroma)
    }

    /// Whether the key may have a form that Chroma's clients send: on Chroma's routes, and on those that a server of them has
    /// too.
    pub(crate) fn takes_chroma_key(self) -> bool {
        self.is_chroma() || matches!(self, Self::Metrics | Self::Description | Self::Page)
    }

    /// Whether pages of other origins may link to it: it costs nothing and shows no records.
    pub(crate) fn may_be_linked(self) -> bool {
        matches!(self, Self::Description | Self::Page)
    }

    /// Whether it counts towards the limit of concurrent requests. Operators need access to a busy process.
    pub(crate) fn is_limited(self) -> bool {
        !matches!(self, Self::Health | Self::Ready | Self::Metrics | Self::OpenChroma)
    }

    /// Time limit until the response begins.
    pub(crate) fn time_limit(self, config: &ServerConfig) -> Duration {
        if self == Self::Evaluation { config.evaluation_timeout } else { config.request_timeout }
    }
}
