//! The configuration of `serve`, from flags and settings.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, anyhow};
use records::Service;
use server::{
    AllowedHosts, ApiKey, Hosts, MigrationSources, Origins, Reset, ServerConfig, SettingNames, Upstream,
};
use store::memory::MemoryLimit;
use url::Url;

use crate::{
    arguments::{ReplicaFlags, ServeArguments, Served},
    configuration::Configuration,
    settings::{
        Optional, Variable,
        table::{
            ALLOW_RESET, API_KEY, EVALUATION_PORT, GATEWAY_PORT, JUDGE_PORT, PANOPTICON_ALLOW_OPEN,
            PANOPTICON_ALLOWED_HOSTS, PANOPTICON_BIND, PANOPTICON_CHROMA_API_URL, PANOPTICON_CORS_ORIGINS,
            PANOPTICON_EVALUATION_TIMEOUT_SECONDS, PANOPTICON_MAX_BODY_BYTES, PANOPTICON_MAX_REQUESTS,
            PANOPTICON_MAX_STREAMS, PANOPTICON_MIGRATION_SOURCES, PANOPTICON_REQUEST_TIMEOUT_SECONDS,
            PANOPTICON_SHUTDOWN_SECONDS, QUERY_PORT, service_url,
        },
    },
};

/// The resident memory above which the process begins no large operation. Idle, it uses about 150 MB, and operations in
/// progress may add half of this limit. With a lower limit, large requests wait for each other; with a higher one, they may
/// exhaust a small machine.
pub(super) const MEMORY_LIMIT: MemoryLimit = MemoryLimit::bytes(350 << 20);

/// What is served, where, and within which limits.
pub(super) struct Settings {
    pub(super) server: ServerConfig,
    pub(super) addresses: Vec<(Role, SocketAddr)>,
    /// The services that the gateway forwards requests to; empty unless only the gateway is served.
    pub(super) upstreams: Vec<Upstream>,
    /// The URL of the server of Chroma's API that the gateway forwards requests to, if any.
    pub(super) chroma: Option<String>,
    /// Time that requests and calls of runs in progress may take to end after the signal.
    pub(super) grace: Duration,
    /// Whether clients of Chroma's API may delete everything.
    pub(super) reset: Reset,
    /// The servers that answer reads.
    pub(super) replicas: ReplicaFlags,
}

/// What an address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One service.
    Service(Service),
    /// All routes of the services in this process, and Chroma's API.
    All,
    /// All routes of services that run separately.
    Gateway,
    /// Chroma's API.
    Chroma,
}

impl Role {
    /// As it is printed.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Service(service) => service.as_str(),
            Self::All | Self::Gateway => "gateway",
            Self::Chroma => "chroma",
        }
    }

    /// What to do if another program listens on its port, `taken`.
    pub(super) fn other_port(self, taken: u16) -> String {
        let usual = match taken {
            8000 => ", which `panopticon serve`, `serve gateway` and `serve chroma` use by default",
            8001 => ", which `panopticon serve` and `serve query` use by default",
            8002 => ", which `panopticon serve` and `serve evaluation` use by default",
            8003 => ", which `panopticon serve` and `serve judge` use by default",
            _ => "",
        };
        let variable = self.port();
        let flag = match self {
            Self::All => String::new(),
            _ => format!("--port of `panopticon serve {}` or ", self.as_str()),
        };
        format!(
            "another program uses port {taken}{usual}: stop it, or choose another port with {flag}{variable}"
        )
    }

    fn port(self) -> &'static Variable<u16> {
        match self {
            Self::All | Self::Gateway | Self::Chroma => &GATEWAY_PORT,
            Self::Service(Service::Query) => &QUERY_PORT,
            Self::Service(Service::Evaluation) => &EVALUATION_PORT,
            Self::Service(Service::Judge) => &JUDGE_PORT,
        }
    }
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is invalid or missing, or when a non-loopback address would be served without a key.
    pub(super) fn gather(configuration: &Configuration, arguments: &ServeArguments) -> anyhow::Result<Self> {
        let roles: Vec<Role> = match arguments.what {
            None => Service::ALL.into_iter().map(Role::Service).chain([Role::All]).collect(),
            Some(Served::Query) => vec![Role::Service(Service::Query)],
            Some(Served::Evaluation) => vec![Role::Service(Service::Evaluation)],
            Some(Served::Judge) => vec![Role::Service(Service::Judge)],
            Some(Served::Gateway) => vec![Role::Gateway],
            Some(Served::Chroma) => vec![Role::Chroma],
        };
        let bind = configuration.get(&PANOPTICON_BIND)?;
        let bind = arguments.bind.unwrap_or(bind);
        let addresses = roles
            .iter()
            .map(|role: &Role| {
                let port = configuration.get(role.port())?;
                Ok((*role, SocketAddr::new(bind, arguments.port.unwrap_or(port))))
            })
            .collect::<anyhow::Result<_>>()?;
        let mut server = server_config(configuration)?;
        let is_allowed = configuration.get(&PANOPTICON_ALLOW_OPEN)? || arguments.allow_open;
        if server.api_key.is_none() && !bind.is_loopback() && !is_allowed {
            return Err(anyhow!(
                "refused to listen on {bind} without a key, since anyone who can reach it could read and change all records: set {API_KEY}, or use --allow-open ({PANOPTICON_ALLOW_OPEN}=1) on a trusted network"
            ));
        }
        // The host names of a non-loopback address are known only to its operator.
        if !bind.is_loopback() && !configuration.is_given(&PANOPTICON_ALLOWED_HOSTS) {
            server.allowed_hosts = AllowedHosts::Any;
        }
        let upstreams = match arguments.what {
            Some(Served::Gateway) => Service::ALL
                .into_iter()
                .map(|service| {
                    let missing = || format!("{} is not set: the gateway needs it", service_url(service));
                    upstream(configuration, service)?.with_context(missing)
                })
                .collect::<anyhow::Result<_>>()?,
            _ => Vec::new(),
        };
        let chroma = match arguments.what {
            Some(Served::Gateway) => url(configuration, &PANOPTICON_CHROMA_API_URL)?,
            _ => None,
        };
        let grace = configuration.get(&PANOPTICON_SHUTDOWN_SECONDS)?;
        let reset = if configuration.get(&ALLOW_RESET)? { Reset::Allowed } else { Reset::Refused };
        let replicas = arguments.replicas.clone();
        Ok(Self { server, addresses, upstreams, chroma, grace, reset, replicas })
    }

    /// Whether an address serves `role`.
    pub(super) fn has(&self, role: Role) -> bool {
        self.addresses.iter().any(|(served, _)| *served == role)
    }

    /// The services that run in this process.
    pub(super) fn services(&self) -> Vec<Service> {
        let service = |role| match role {
            Role::Service(service) => Some(service),
            Role::All | Role::Gateway | Role::Chroma => None,
        };
        self.addresses.iter().filter_map(|(role, _)| service(*role)).collect()
    }
}

fn server_config(configuration: &Configuration) -> anyhow::Result<ServerConfig> {
    let cors_origins = match configuration.text(&PANOPTICON_CORS_ORIGINS)? {
        Some(origins) => Origins::parse(origins).map_err(|error| {
            let place = configuration.place(&PANOPTICON_CORS_ORIGINS);
            match place == PANOPTICON_CORS_ORIGINS.name() {
                true => anyhow::Error::new(error).context(format!("{place} is invalid")),
                // Values from a file are not repeated.
                false => anyhow!("{place} is invalid: expected origins such as https://example.org"),
            }
        })?,
        None => Origins::default(),
    };
    let hosts = configuration.text(&PANOPTICON_ALLOWED_HOSTS)?.map(Hosts::parse);
    let hosts = hosts.transpose().with_context(|| format!("{PANOPTICON_ALLOWED_HOSTS} is invalid"))?;
    let migration_sources =
        configuration.trusted(&PANOPTICON_MIGRATION_SOURCES)?.map(MigrationSources::parse);
    let migration_sources = migration_sources
        .transpose()
        .with_context(|| format!("{} is invalid", configuration.place(&PANOPTICON_MIGRATION_SOURCES)))?;
    let max_body_bytes = configuration.get(&PANOPTICON_MAX_BODY_BYTES)?;
    let is_given = configuration.is_given(&PANOPTICON_MAX_BODY_BYTES);
    let of_chroma = ServerConfig::default().max_chroma_body_bytes;
    Ok(ServerConfig {
        api_key: configuration.text(&API_KEY)?.map(ApiKey::new),
        cors_origins,
        allowed_hosts: AllowedHosts::Local(hosts.unwrap_or_default()),
        max_body_bytes,
        max_chroma_body_bytes: if is_given { max_body_bytes } else { of_chroma },
        request_timeout: configuration.get(&PANOPTICON_REQUEST_TIMEOUT_SECONDS)?,
        evaluation_timeout: configuration.get(&PANOPTICON_EVALUATION_TIMEOUT_SECONDS)?,
        max_requests: configuration.get(&PANOPTICON_MAX_REQUESTS)?,
        max_streams: configuration.get(&PANOPTICON_MAX_STREAMS)?,
        setting_names: SettingNames {
            allowed_hosts: PANOPTICON_ALLOWED_HOSTS.name(),
            cors_origins: PANOPTICON_CORS_ORIGINS.name(),
            migration_sources: PANOPTICON_MIGRATION_SOURCES.name(),
        },
        memory: MEMORY_LIMIT,
        // Without the setting, none is allowed.
        migration_sources: migration_sources.unwrap_or_default(),
    })
}

/// The URL of `service`, if it runs separately.
pub(super) fn upstream(configuration: &Configuration, service: Service) -> anyhow::Result<Option<Upstream>> {
    let url = url(configuration, service_url(service))?;
    Ok(url.map(|url| Upstream { service, url }))
}

/// The URL of a service, without a slash at the end.
fn url(configuration: &Configuration, name: &'static Optional<String>) -> anyhow::Result<Option<String>> {
    let Some(url) = configuration.text(name)? else { return Ok(None) };
    // The text may hold a password.
    let is_http =
        Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none());
    if !is_http {
        return Err(anyhow!(
            "{name} is not the URL of a service: expected one such as http://localhost:8001"
        ));
    }
    Ok(Some(url.trim_end_matches('/').to_owned()))
}
