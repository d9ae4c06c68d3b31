//! Splits a URL into its parts.
//!
//! Passwords are often pasted into URLs without encoding `/`, `?`, `#`, `@` and `%`. A valid URL without `@` in
//! unusual places is parsed by the standard. Any other is split at the `@` after which host, port, database and
//! parameters are valid, provided that there is only one such `@`: a wrong one would lead to another server.

use super::{
    parameters::{Verdict, verdict},
    parts::{DatabaseUrl, UrlError},
    scheme::after_scheme,
};

/// Longer URLs, or those with more `@`, are rejected.
const MAX_BYTES: usize = 16 << 10;
const MAX_CANDIDATES: usize = 64;

pub(super) fn split(text: &str) -> Result<DatabaseUrl, UrlError> {
    let rest = after_scheme(text)?;
    if rest.len() > MAX_BYTES || rest.contains(char::is_control) {
        return Err(UrlError::Unreadable);
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let by_the_book = authority.rfind('@');
    if let Some(url) = at(rest, by_the_book, Reading::Certain) {
        return Ok(url);
    }
    let ats: Vec<usize> = rest.match_indices('@').map(|(index, _)| index).collect();
    if ats.len() > MAX_CANDIDATES {
        return Err(UrlError::Unreadable);
    }
    let possible = at(rest, by_the_book, Reading::Possible);
    let mut readings =
        ats.into_iter().filter_map(|index| at(rest, Some(index), Reading::Certain)).chain(possible);
    match (readings.next(), readings.next()) {
        (Some(url), None) => Ok(url),
        _ => Err(UrlError::Unreadable),
    }
}

/// How strictly the parts of a URL are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// What can be little else.
    Certain,
    /// Also accepts an `@` in the name of a database or in a parameter that normally has none.
    Possible,
}

/// `rest` with the user before the `@` at `at`, or without one, if that is valid.
fn at(rest: &str, at: Option<usize>, reading: Reading) -> Option<DatabaseUrl> {
    let Some(at) = at else { return server(rest, reading) };
    let url = server(&rest[at + 1..], reading)?;
    let (user, password) = match rest[..at].split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (&rest[..at], None),
    };
    if user.contains(['/', '?', '#']) {
        return None;
    }
    let user = Some(decoded(user)?).filter(|user| !user.is_empty());
    let password = match password {
        Some(password) => Some(decoded(password)?).filter(|password| !password.is_empty()),
        None => None,
    };
    Some(DatabaseUrl { user, password, ..url })
}

/// The part after the user: `host:port/database?parameters`, all optional.
fn server(text: &str, reading: Reading) -> Option<DatabaseUrl> {
    let (address, query) = match text.split_once('?') {
        Some((address, query)) => (address, query),
        None => (text, ""),
    };
    let (address, database) = match address.split_once('/') {
        Some((address, database)) => (address, decoded(database.trim_start_matches('/'))?),
        None => (address, String::new()),
    };
    // Checked before decoding, except for the leading slashes.
    let path = text[address.len()..].split('?').next()?.trim_start_matches('/');
    let is_odd = path.contains('@') && (reading == Reading::Certain || path.contains(':'));
    if is_odd || path.contains(['/', '#']) || text[..address.len()].contains(['#', '@']) {
        return None;
    }
    let (host, port) = host_and_port(address)?;
    let parameters = parameters(query, reading)?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Some(DatabaseUrl {
        host: given(host),
        port: given(port),
        database: given(database),
        parameters,
        ..DatabaseUrl::default()
    })
}

/// Host and port, which may be empty; or lists of them, as libpq writes them, with an empty port where one has none.
fn host_and_port(address: &str) -> Option<(String, String)> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in address.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed.split_once(']')?;
                host.split('%').next()?.parse::<std::net::Ipv6Addr>().ok()?;
                (host.to_owned(), if after.is_empty() { "" } else { after.strip_prefix(':')? })
            }
            None => {
                let (host, port) = one.split_once(':').unwrap_or((one, ""));
                if host.contains(|c: char| c.is_whitespace() || "[]\\<>^|\"`{}".contains(c)) {
                    return None;
                }
                // An encoded comma would be another host for libpq.
                (decoded(host).filter(|host| !host.contains(','))?, port)
            }
        };
        if !is_port(port) {
            return None;
        }
        hosts.push(host);
        ports.push(port);
    }
    let has_port = ports.iter().any(|port| !port.is_empty());
    Some((hosts.join(","), if has_port { ports.join(",") } else { String::new() }))
}

fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

fn parameters(query: &str, reading: Reading) -> Option<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    for parameter in query.split('&').flat_map(split_again).filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        let name = decoded(name)?;
        let is_plausible = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte));
        // The text before an `@` is probably the rest of a password, unless a parameter of that name may have one and
        // no server follows.
        let is_known = verdict(&name, value) != Verdict::Unknown;
        let is_taken = is_known
            && value.rsplit_once('@').is_none_or(|(_, after)| {
                !matches!(name.as_str(), "host" | "hostaddr" | "port" | "dbname")
                    && !after.contains([':', '/'])
            });
        let is_unclear = reading == Reading::Certain && parameter.contains('@') && !is_taken;
        if !is_plausible || is_unclear || value.contains('#') {
            return None;
        }
        // In options, `+` is a space, as most programs write them; in other parts it is literal, as in libpq.
        let value = if name == "options" { value.replace('+', " ") } else { value.to_owned() };
        parameters.push((name, decoded(&value)?));
    }
    Some(parameters)
}

/// Scripts append `?name=value` to a URL that already has parameters.
fn split_again(parameter: &str) -> impl Iterator<Item = &str> {
    let begins = |rest: &str| {
        rest.split_once('=').is_some_and(|(name, value)| verdict(name, value) != Verdict::Unknown)
    };
    let again =
        parameter.match_indices('?').map(|(index, _)| index).find(|index| begins(&parameter[index + 1..]));
    let (first, second) = match again {
        Some(index) => (&parameter[..index], &parameter[index + 1..]),
        None => (parameter, ""),
    };
    [first, second].into_iter()
}

/// `text` with its percent escapes decoded. A `%` that begins no escape is literal, unless there are also valid
/// escapes: then the text is ambiguous.
fn decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let escape = |at: usize| {
        let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut decoded, mut escapes, mut bare, mut at) = (Vec::with_capacity(bytes.len()), 0, 0, 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, escape(at)) {
            (b'%', Some(escaped)) => {
                decoded.push(escaped);
                escapes += 1;
                at += 3;
            }
            (byte, _) => {
                decoded.push(*byte);
                bare += usize::from(*byte == b'%');
                at += 1;
            }
        }
    }
    // PostgreSQL accepts NUL nowhere.
    let is_clear = (escapes == 0 || bare == 0) && !decoded.contains(&0);
    is_clear.then(|| String::from_utf8(decoded).ok()).flatten()
}
