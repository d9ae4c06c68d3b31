//! Services that run as separate processes.

use std::sync::Arc;

use records::Service;

use crate::process::Process;

/// A service and its address.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The service.
    pub service: Service,
    /// Its URL, without a slash at the end.
    pub url: String,
}

/// A service behind the gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayTarget {
    pub(crate) upstream: Upstream,
    pub(crate) client: reqwest::Client,
}

/// Where the gateway forwards requests to.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    /// The name of the service.
    pub(crate) name: &'static str,
    /// Its URL, without a slash at the end.
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) process: Arc<Process>,
}
