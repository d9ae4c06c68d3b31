//! The handling of each parameter of libpq.

use super::servers::Target;

/// How a parameter is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has the same effect as in libpq.
    Honoured,
    /// It affects neither where data go nor who can read them.
    Harmless,
    /// It would, but is not supported: the reason and the remedy.
    Refused(&'static str),
    /// libpq does not know it either.
    Unknown,
}

/// The parameter that libpq reads from the environment variable `name`. `None` for variables of sessions or programs,
/// which have no effect here.
pub fn libpq_parameter(name: &str) -> Option<&'static str> {
    Some(match name {
        "PGHOST" => "host",
        "PGHOSTADDR" => "hostaddr",
        "PGPORT" => "port",
        "PGDATABASE" => "dbname",
        "PGUSER" => "user",
        "PGPASSWORD" => "password",
        "PGPASSFILE" => "passfile",
        "PGREQUIREAUTH" => "require_auth",
        "PGCHANNELBINDING" => "channel_binding",
        "PGSERVICE" => "service",
        "PGOPTIONS" => "options",
        "PGAPPNAME" => "application_name",
        "PGSSLMODE" => "sslmode",
        "PGREQUIRESSL" => "requiressl",
        "PGSSLNEGOTIATION" => "sslnegotiation",
        "PGSSLCOMPRESSION" => "sslcompression",
        "PGSSLCERT" => "sslcert",
        "PGSSLKEY" => "sslkey",
        "PGSSLCERTMODE" => "sslcertmode",
        "PGSSLROOTCERT" => "sslrootcert",
        "PGSSLCRL" => "sslcrl",
        "PGSSLCRLDIR" => "sslcrldir",
        "PGSSLSNI" => "sslsni",
        "PGREQUIREPEER" => "requirepeer",
        "PGSSLMINPROTOCOLVERSION" => "ssl_min_protocol_version",
        "PGSSLMAXPROTOCOLVERSION" => "ssl_max_protocol_version",
        "PGMINPROTOCOLVERSION" => "min_protocol_version",
        "PGMAXPROTOCOLVERSION" => "max_protocol_version",
        "PGGSSENCMODE" => "gssencmode",
        "PGKRBSRVNAME" => "krbsrvname",
        "PGGSSLIB" => "gsslib",
        "PGGSSDELEGATION" => "gssdelegation",
        "PGCONNECT_TIMEOUT" => "connect_timeout",
        "PGCLIENTENCODING" => "client_encoding",
        "PGTARGETSESSIONATTRS" => "target_session_attrs",
        "PGLOADBALANCEHOSTS" => "load_balance_hosts",
        _ => return None,
    })
}

/// Whether `name` is a parameter of libpq, in any case.
pub(super) fn libpq_keyword(name: &str) -> bool {
    name.len() <= 64 && verdict(&name.to_ascii_lowercase(), "") != Verdict::Unknown
}

/// How parameter `name` with `value` is handled.
pub(super) fn verdict(name: &str, value: &str) -> Verdict {
    use Verdict::{Harmless, Honoured, Refused, Unknown};
    let only = |accepted: &[&str], reason| {
        if accepted.contains(&value) { Honoured } else { Refused(reason) }
    };
    match name {
        "port" => match value.is_empty() || value.contains(',') || value.parse::<u16>().is_ok() {
            true => Honoured,
            false => Refused("is invalid: expected a port number"),
        },
        "host" | "dbname" | "user" | "password" | "passfile" | "options" | "sslcert" | "ssl-cert"
        | "sslkey" | "ssl-key" | "sslrootcert" | "ssl-root-cert" | "ssl-ca" => Honoured,
        "statement-cache-capacity" => match value.parse::<u32>() {
            Ok(_) => Honoured,
            Err(_) => Refused("is invalid: expected a whole number"),
        },
        name if name.starts_with("options[") && name.ends_with(']') => Honoured,
        "hostaddr" => match value.contains(',') || value.parse::<std::net::IpAddr>().is_ok() {
            true => Honoured,
            false => Refused("is invalid: expected an IP address"),
        },
        "sslmode" | "ssl-mode" => only(
            &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
            "is invalid: expected disable, allow, prefer, require, verify-ca or verify-full",
        ),
        "ssl" => only(&["true"], "is not supported with this value: use sslmode"),
        "requiressl" => match value {
            "0" => Harmless,
            _ => only(&["1"], "is invalid: expected 0 or 1, or use sslmode"),
        },
        "connect_timeout" => match value.trim().parse::<i32>() {
            Ok(_) => Honoured,
            Err(_) => Refused("is invalid: expected a whole number of seconds"),
        },
        "service" | "servicefile" => Refused(
            "is not supported, since service files are not read: write host, port, user and dbname into the URL",
        ),
        "target_session_attrs" => match Target::named(value) {
            Some(_) => Honoured,
            None => {
                Refused("is invalid: expected any, read-write, read-only, primary, standby or prefer-standby")
            }
        },
        "load_balance_hosts" => only(&["disable", "random"], "is invalid: expected disable or random"),
        "channel_binding" => only(
            &["disable", "prefer"],
            "cannot be required, since channel binding is not supported: use sslmode=verify-full instead",
        ),
        "gssencmode" => {
            only(&["disable", "prefer"], "cannot be required, since GSSAPI is not supported: use sslmode")
        }
        "sslnegotiation" => only(&["postgres"], "is not supported with this value: leave it out"),
        "sslcertmode" => {
            only(&["allow"], "is not supported with this value: leave it out, or leave sslcert out")
        }
        "ssl_min_protocol_version" => only(
            &["", "TLSv1", "TLSv1.1", "TLSv1.2"],
            "is not supported with this value: TLS 1.2 and later are always accepted",
        ),
        "ssl_max_protocol_version" => {
            only(&["", "TLSv1.3"], "is not supported with this value: TLS 1.2 and later are always accepted")
        }
        "min_protocol_version" => only(&["3.0"], "is not supported with this value: protocol 3.0 is used"),
        "sslcrl" | "sslcrldir" => Refused("is not supported: revocation lists are not read"),
        "requirepeer" => Refused("is not supported: the server's account is not looked at"),
        "require_auth" => Refused("is not supported: the server chooses how a password is asked for"),
        "scram_client_key" | "scram_server_key" => Refused("is not supported: use a password"),
        "replication" => Refused("is not supported: leave it out"),
        "oauth_issuer" | "oauth_client_id" | "oauth_client_secret" | "oauth_scope" => {
            Refused("is not supported: use a password")
        }
        // The parameter of other drivers for the schema, which affects where data go.
        "schema" | "currentSchema" | "search_path" => {
            Refused("is not one of PostgreSQL's own: say options=-csearch_path%3Dname instead")
        }
        "application_name"
        | "fallback_application_name"
        | "client_encoding"
        | "keepalives"
        | "keepalives_idle"
        | "keepalives_interval"
        | "keepalives_count"
        | "tcp_user_timeout"
        | "sslcompression"
        | "sslsni"
        | "sslpassword"
        | "sslkeylogfile"
        | "krbsrvname"
        | "gsslib"
        | "gssdelegation"
        | "max_protocol_version" => Harmless,
        name if name.bytes().any(|byte| byte.is_ascii_uppercase())
            && verdict(&name.to_ascii_lowercase(), value) != Unknown =>
        {
            Refused("is not known in this spelling: write it in lower case")
        }
        _ => Unknown,
    }
}
