//! The servers that a URL lists, as libpq pairs hosts, addresses and ports; and which of them is wanted.

use super::{DatabaseUrl, UrlError};

/// More servers than this are refused: each is asked when the primary is looked for.
const MAX_SERVERS: usize = 32;

/// The session that `target_session_attrs` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Target {
    /// Any; of several servers one that accepts writes is preferred.
    #[default]
    Any,
    /// One that accepts writes.
    ReadWrite,
    /// One that rejects writes.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// The same; if no server is in recovery, any.
    PreferStandby,
}

impl Target {
    const NAMES: [(&str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    /// The value of `target_session_attrs`.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, target)| *target == self).expect("each has a name").0
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "" => Some(Self::Any),
            name => Self::NAMES.iter().find(|(other, _)| *other == name).map(|(_, target)| *target),
        }
    }
}

/// The text at `place` of a list, unless it is empty.
fn of<'u>(list: &[&'u str], place: usize) -> Option<&'u str> {
    list.get(place).copied().filter(|text| !text.is_empty())
}

/// A server that a URL lists; what is missing is libpq's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed<'u> {
    pub(super) host: Option<&'u str>,
    pub(super) address: Option<&'u str>,
    pub(super) port: Option<&'u str>,
}

impl DatabaseUrl {
    /// The servers in the order of the URL; at least one.
    pub(super) fn servers(&self) -> Result<Vec<Listed<'_>>, UrlError> {
        let [hosts, addresses, ports] = ["host", "hostaddr", "port"].map(|name| self.list(name));
        // As in libpq, addresses count if there are any.
        let count = [addresses.len(), hosts.len()].into_iter().find(|count| *count > 0).unwrap_or(1);
        let is_matched = (hosts.is_empty() || hosts.len() == count)
            // One port is that of all servers.
            && (ports.len() <= 1 || ports.len() == count);
        if !is_matched || count > MAX_SERVERS {
            return Err(UrlError::Servers);
        }
        let servers: Vec<Listed<'_>> = (0..count)
            .map(|place| Listed {
                host: of(&hosts, place),
                address: of(&addresses, place),
                port: of(&ports, if ports.len() == 1 { 0 } else { place }),
            })
            .collect();
        let is_clear = |server: &Listed<'_>| {
            (count == 1 || server.host.or(server.address).is_some())
                && server.port.is_none_or(|port| port.parse::<u16>().is_ok())
                && server.address.is_none_or(|address| address.parse::<std::net::IpAddr>().is_ok())
        };
        if servers.iter().all(is_clear) { Ok(servers) } else { Err(UrlError::Servers) }
    }

    fn list(&self, name: &str) -> Vec<&str> {
        self.value(name)
            .filter(|value| !value.is_empty())
            .map_or_else(Vec::new, |value| value.split(',').collect())
    }
}
