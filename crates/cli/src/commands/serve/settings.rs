//! What `serve` was told, by flags and settings.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use records::Service;
use server::{AllowedHosts, ApiKey, Hosts, Origins, ServerConfig, Upstream};
use url::Url;

use crate::{
    arguments::{ServeArguments, Served},
    configuration::Configuration,
};

/// What is served, where, and within which limits.
pub(super) struct Settings {
    pub(super) server: ServerConfig,
    pub(super) addresses: Vec<(Role, SocketAddr)>,
    /// Where the gateway passes requests on to; of the gateway alone.
    pub(super) upstreams: Vec<Upstream>,
    /// How long what is under way has to end once the process is told to stop: requests, and calls of runs. 25 s by
    /// default, less than Kubernetes gives. Shorter cuts them off; longer than the supervisor waits has no effect.
    pub(super) grace: Duration,
}

pub(super) const GRACE: Duration = Duration::from_secs(25);
pub(super) const DEFAULT_BIND: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One service.
    Service(Service),
    /// All routes of the services in this process.
    All,
    /// All routes of services that run apart.
    Gateway,
}

impl Role {
    /// As it is printed.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Service(service) => service.as_str(),
            Self::All | Self::Gateway => "gateway",
        }
    }

    /// The settings for ports, and their defaults.
    pub(super) const PORTS: [(&'static str, u16); 4] =
        [("GATEWAY_PORT", 8000), ("QUERY_PORT", 8001), ("EVALUATION_PORT", 8002), ("JUDGE_PORT", 8003)];

    fn port(self) -> (&'static str, u16) {
        let [gateway, query, evaluation, judge] = Self::PORTS;
        match self {
            Self::All | Self::Gateway => gateway,
            Self::Service(Service::Query) => query,
            Self::Service(Service::Evaluation) => evaluation,
            Self::Service(Service::Judge) => judge,
        }
    }
}

impl Settings {
    /// Gathers them.
    ///
    /// # Errors
    /// When one is wrong or missing, or would let everybody in unasked.
    pub(super) fn gather(configuration: &Configuration, arguments: &ServeArguments) -> anyhow::Result<Self> {
        let roles = match arguments.what {
            None => Service::ALL.into_iter().map(Role::Service).chain([Role::All]).collect(),
            Some(Served::Query) => vec![Role::Service(Service::Query)],
            Some(Served::Evaluation) => vec![Role::Service(Service::Evaluation)],
            Some(Served::Judge) => vec![Role::Service(Service::Judge)],
            Some(Served::Gateway) => vec![Role::Gateway],
        };
        let bind = configuration.parsed("PANOPTICON_BIND", "an IP address", |text| text.parse().ok())?;
        let bind: IpAddr = arguments.bind.or(bind).unwrap_or(DEFAULT_BIND);
        let addresses = roles
            .iter()
            .map(|role| {
                let (name, default) = role.port();
                let port = configuration.parsed(name, "a port, 0 to 65535", |text| text.parse().ok())?;
                Ok((*role, SocketAddr::new(bind, arguments.port.or(port).unwrap_or(default))))
            })
            .collect::<anyhow::Result<_>>()?;
        let mut server = server_config(configuration)?;
        let is_allowed = configuration.is_on("PANOPTICON_ALLOW_OPEN")? || arguments.allow_open;
        if server.api_key.is_none() && !bind.is_loopback() && !is_allowed {
            return Err(anyhow!(
                "refused to listen on {bind} without a key, where everybody could read and change all records: set API_KEY, or say --allow-open (PANOPTICON_ALLOW_OPEN=1) if only friends can reach it"
            ));
        }
        // By which names others reach an address beyond loopback, only its operator knows.
        if !bind.is_loopback() && configuration.text("PANOPTICON_ALLOWED_HOSTS").is_none() {
            server.allowed_hosts = AllowedHosts::Any;
        }
        let upstreams = match arguments.what {
            Some(Served::Gateway) => Service::ALL
                .into_iter()
                .map(|service| {
                    let missing = || format!("{} is not set: the gateway needs it", url_setting(service));
                    upstream(configuration, service)?.with_context(missing)
                })
                .collect::<anyhow::Result<_>>()?,
            _ => Vec::new(),
        };
        let seconds =
            configuration.parsed("PANOPTICON_SHUTDOWN_SECONDS", "a whole number of seconds", |text| {
                text.parse().ok().map(Duration::from_secs)
            })?;
        Ok(Self { server, addresses, upstreams, grace: seconds.unwrap_or(GRACE) })
    }

    /// The services that run in this process.
    pub(super) fn services(&self) -> Vec<Service> {
        let service = |role| match role {
            Role::Service(service) => Some(service),
            Role::All | Role::Gateway => None,
        };
        self.addresses.iter().filter_map(|(role, _)| service(*role)).collect()
    }
}

pub(super) fn server_config(configuration: &Configuration) -> anyhow::Result<ServerConfig> {
    let default = ServerConfig::default();
    let positive = "a whole number from 1";
    let max_body_bytes = configuration.parsed("PANOPTICON_MAX_BODY_BYTES", positive, at_least_one)?;
    let max_requests = configuration.parsed("PANOPTICON_MAX_REQUESTS", positive, at_least_one)?;
    let max_streams = configuration.parsed("PANOPTICON_MAX_STREAMS", positive, at_least_one)?;
    let seconds = |name| {
        configuration.parsed(name, positive, |text| text.parse().ok().filter(|seconds: &u64| *seconds > 0))
    };
    let request_timeout = seconds("PANOPTICON_REQUEST_TIMEOUT_SECONDS")?.map(Duration::from_secs);
    let evaluation_timeout = seconds("PANOPTICON_EVALUATION_TIMEOUT_SECONDS")?.map(Duration::from_secs);
    let cors_origins = match configuration.text("PANOPTICON_CORS_ORIGINS") {
        Some(origins) => Origins::parse(origins).map_err(|error| {
            let place = configuration.place("PANOPTICON_CORS_ORIGINS");
            match place == "PANOPTICON_CORS_ORIGINS" {
                true => anyhow::Error::new(error).context("PANOPTICON_CORS_ORIGINS is wrong"),
                // What a file has is not repeated.
                false => anyhow!("{place} is wrong: expected origins such as https://example.org"),
            }
        })?,
        None => default.cors_origins,
    };
    let hosts = configuration.text("PANOPTICON_ALLOWED_HOSTS").map(Hosts::parse);
    let hosts = hosts.transpose().context("PANOPTICON_ALLOWED_HOSTS is wrong")?;
    Ok(ServerConfig {
        api_key: configuration.text("API_KEY").map(ApiKey::new),
        cors_origins,
        allowed_hosts: AllowedHosts::Local(hosts.unwrap_or_default()),
        max_body_bytes: max_body_bytes.unwrap_or(default.max_body_bytes),
        request_timeout: request_timeout.unwrap_or(default.request_timeout),
        evaluation_timeout: evaluation_timeout.unwrap_or(default.evaluation_timeout),
        max_requests: max_requests.unwrap_or(default.max_requests),
        max_streams: max_streams.unwrap_or(default.max_streams),
    })
}

fn at_least_one(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

/// Where `service` runs, if it runs apart and a setting says where.
pub(super) fn upstream(configuration: &Configuration, service: Service) -> anyhow::Result<Option<Upstream>> {
    let name = url_setting(service);
    let Some(url) = configuration.text(name) else { return Ok(None) };
    // The text may hold a password.
    let is_http =
        Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none());
    if !is_http {
        return Err(anyhow!("{name} is no URL of a service: expected one such as http://localhost:8001"));
    }
    Ok(Some(Upstream { service, url: url.trim_end_matches('/').to_owned() }))
}

fn url_setting(service: Service) -> &'static str {
    match service {
        Service::Query => "QUERY_STORAGE_URL",
        Service::Evaluation => "EVALUATION_STORAGE_URL",
        Service::Judge => "JUDGE_SERVICE_URL",
    }
}
