//! Services that run apart, and how they are reached.

use std::sync::Arc;

use records::Service;

use crate::process::Process;

/// A service, and where it runs.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The service.
    pub service: Service,
    /// Its URL, without a slash at the end.
    pub url: String,
}

/// Where requests are passed on to.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    pub(crate) upstream: Upstream,
    pub(crate) client: reqwest::Client,
    pub(crate) process: Arc<Process>,
}
