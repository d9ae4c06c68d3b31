//! Parses `DATABASE_URL`, including unencoded passwords, with the meaning that libpq gives it.
//!
//! A parameter of libpq either has the same effect as there, or the URL is rejected; only a parameter that affects
//! neither where data go nor who can read them is ignored, with a warning. No error or log message contains a value.

mod parameters;
mod parts;
mod passfile;
mod scheme;
mod servers;
mod split;

use std::{str::FromStr as _, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use self::{
    parameters::{Verdict, verdict},
    servers::Listed,
};

pub(crate) use self::servers::Target;
pub use self::{
    parameters::libpq_parameter,
    parts::{DatabaseUrl, UrlError},
};

/// How connections are made.
pub(crate) struct Connecting {
    /// The driver's options for each server, in the order in which they are tried; at least one.
    pub(crate) servers: Vec<PgConnectOptions>,
    /// Which of them is wanted.
    pub(crate) target: Target,
    /// The time-out of an attempt, if the URL has one.
    pub(crate) timeout: Option<Duration>,
}

impl DatabaseUrl {
    /// Parses `text`. A password may contain reserved characters of URLs if the URL is still unambiguous.
    ///
    /// # Errors
    /// When `text` is not a URL of a PostgreSQL database, is ambiguous, or has an unsupported parameter.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = split::split(text.trim())?;
        url.check()?;
        Ok(url)
    }

    /// The same, with defaults from libpq's `variables`.
    ///
    /// # Errors
    /// When one of them is not supported.
    pub fn with_variables(mut self, variables: &[(String, String)]) -> Result<Self, UrlError> {
        for (variable, value) in variables {
            let Some(parameter) = libpq_parameter(variable) else { continue };
            if value.is_empty() || self.value(parameter).is_some() {
                continue;
            }
            match verdict(parameter, value) {
                Verdict::Refused(reason) => {
                    return Err(UrlError::Variable { name: variable.clone(), reason });
                }
                Verdict::Honoured => self.parameters.push((parameter.to_owned(), value.clone())),
                Verdict::Harmless | Verdict::Unknown => {
                    log::info!(
                        "ignoring the environment variable {variable}, which makes no difference here"
                    );
                }
            }
        }
        self.check()?;
        Ok(self)
    }

    /// The URL without secrets, for messages.
    pub fn masked(&self) -> String {
        let parameters = self.parameters.iter().map(|(name, value)| {
            let is_shown = verdict(name, value) == Verdict::Honoured && name != "password";
            let value = if is_shown { encoded(value) } else { "***".to_owned() };
            (name.as_str(), value)
        });
        self.written(self.password.as_ref().map(|_| "***".to_owned()), parameters.collect())
    }

    /// The complete URL with its password, fully encoded.
    pub fn to_url(&self) -> String {
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), encoded(value)));
        self.written(self.password.as_deref().map(encoded), parameters.collect())
    }

    fn written(&self, password: Option<String>, parameters: Vec<(&str, String)>) -> String {
        let mut url = "postgresql://".to_owned();
        if self.user.is_some() || password.is_some() {
            url += &self.user.as_deref().map(encoded).unwrap_or_default();
            url += &password.map(|password| format!(":{password}")).unwrap_or_default();
            url.push('@');
        }
        // Of a list, each has its place in both.
        let mut ports = self.port.as_deref().unwrap_or_default().split(',');
        for (place, host) in self.host.as_deref().unwrap_or_default().split(',').enumerate() {
            url += if place > 0 { "," } else { "" };
            url += &if host.contains(':') { format!("[{host}]") } else { encoded(host) };
            let port = ports.next().filter(|port| !port.is_empty());
            url += &port.map(|port| format!(":{port}")).unwrap_or_default();
        }
        url += &self.database.as_deref().map(|name| format!("/{}", encoded(name))).unwrap_or_default();
        for (index, (name, value)) in parameters.into_iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url += &format!("{name}={value}");
        }
        url
    }

    /// The value that libpq uses for the parameter `name`, anywhere in the URL.
    fn value(&self, name: &str) -> Option<&str> {
        let named = self.parameters.iter().rev().find(|(other, _)| canonical(other) == name);
        let part = || match name {
            "user" => self.user.as_deref(),
            "password" => self.password.as_deref(),
            "host" => self.host.as_deref(),
            "port" => self.port.as_deref(),
            "dbname" => self.database.as_deref(),
            _ => None,
        };
        named.map(|(_, value)| value.as_str()).or_else(part)
    }

    fn check(&self) -> Result<(), UrlError> {
        for (name, value) in &self.parameters {
            if let Verdict::Refused(reason) = verdict(name, value) {
                return Err(UrlError::Parameter { name: name.clone(), reason });
            }
        }
        self.servers()?;
        let is_verified = self.value("sslmode") == Some("verify-full") || self.has_system_roots();
        if self.value("hostaddr").is_some() && self.value("host").is_some() && is_verified {
            let reason =
                "cannot be used where the host's name is verified: leave it out, or use sslmode=verify-ca";
            return Err(UrlError::Parameter { name: "hostaddr".to_owned(), reason });
        }
        Ok(())
    }

    /// libpq's value for the system's certificates, which implies full verification.
    fn has_system_roots(&self) -> bool {
        self.value("sslrootcert") == Some("system")
    }

    /// How connections are made.
    pub(crate) fn connecting(&self) -> Result<Connecting, UrlError> {
        self.say_what_is_ignored();
        let servers = self.servers()?;
        let mut options =
            servers.iter().map(|server| self.options(server)).collect::<Result<Vec<_>, UrlError>>()?;
        if self.value("load_balance_hosts") == Some("random") {
            options.sort_by_cached_key(|_| uuid::Uuid::new_v4());
        }
        // As in libpq, 0 means no time-out; our own limit applies.
        let seconds = self.value("connect_timeout").and_then(|text| text.trim().parse::<u64>().ok());
        let timeout =
            seconds.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.max(2)));
        let target = self.value("target_session_attrs").and_then(Target::named).unwrap_or_default();
        Ok(Connecting { servers: options, target, timeout })
    }

    /// The options of the driver for `server`.
    fn options(&self, server: &Listed<'_>) -> Result<PgConnectOptions, UrlError> {
        let mut parameters = Vec::new();
        for name in ["user", "dbname", "options", "sslcert", "sslkey"] {
            parameters.extend(self.value(name).filter(|value| !value.is_empty()).map(|value| (name, value)));
        }
        let Listed { host, address, port } = server;
        let of_server = [("host", *host), ("port", *port), ("hostaddr", *address)];
        parameters.extend(of_server.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let named = |(name, value): &'_ (String, String)| {
            name.starts_with("options[").then(|| (name.clone(), value.clone()))
        };
        let options: Vec<(String, String)> = self.parameters.iter().filter_map(named).collect();
        parameters.extend(options.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let capacity = self.value("statement-cache-capacity");
        parameters.extend(capacity.map(|value| ("statement-cache-capacity", value)));
        let root = self.value("sslrootcert").filter(|_| !self.has_system_roots());
        parameters.extend(root.map(|path| ("sslrootcert", path)));
        let password = match self.value("password") {
            Some(password) => Some(password.to_owned()),
            None => self.password_of_file(server)?,
        };
        parameters.extend(password.as_deref().map(|password| ("password", password)));
        let query: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let options = PgConnectOptions::from_str(&format!("postgresql:///?{}", query.join("&")))
            .map_err(|source| UrlError::Value { source })?;
        let is_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
        Ok(options.ssl_mode(if is_socket { PgSslMode::Disable } else { self.ssl_mode()? }))
    }

    fn ssl_mode(&self) -> Result<PgSslMode, UrlError> {
        if self.has_system_roots() {
            return Ok(PgSslMode::VerifyFull);
        }
        let is_required = self.value("ssl") == Some("true") || self.value("requiressl") == Some("1");
        match self.value("sslmode") {
            Some(mode) => mode.parse().map_err(|source| UrlError::Value { source }),
            None if is_required => Ok(PgSslMode::Require),
            None => Ok(PgSslMode::Prefer),
        }
    }

    fn password_of_file(&self, server: &Listed<'_>) -> Result<Option<String>, UrlError> {
        let Some(path) = self.value("passfile").filter(|path| !path.is_empty()) else { return Ok(None) };
        let host = server.host.or(server.address).unwrap_or("localhost");
        let user = self.value("user").unwrap_or_default();
        let wanted = passfile::Wanted {
            host,
            port: server.port.unwrap_or("5432"),
            database: self.value("dbname").unwrap_or(user),
            user,
        };
        passfile::password(path, &wanted)
            .map_err(|source| UrlError::Passfile { path: path.to_owned(), source })
    }

    fn say_what_is_ignored(&self) {
        for (name, value) in &self.parameters {
            match verdict(name, value) {
                Verdict::Harmless => log::warn!(
                    "ignoring parameter `{name}` of the database's URL, which makes no difference here"
                ),
                Verdict::Unknown if is_name(name) => {
                    log::warn!("ignoring parameter `{name}` of the database's URL, which is unknown");
                }
                Verdict::Unknown => log::warn!("ignoring an unknown parameter of the database's URL"),
                Verdict::Honoured | Verdict::Refused(_) => {}
            }
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    /// Omits secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DatabaseUrl").field(&self.masked()).finish()
    }
}

/// libpq's name for a parameter for which the driver accepts other names.
fn canonical(name: &str) -> &str {
    match name {
        "ssl-mode" => "sslmode",
        "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        name => name,
    }
}

/// Whether `text` can only be a name: the text before a `=` may be the rest of a password.
fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// `text` with all reserved characters encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            byte => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
