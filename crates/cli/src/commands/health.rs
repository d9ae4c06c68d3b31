//! `panopticon health`: whether a service is ready, in one line and by the exit code, for containers without curl.

use std::{error::Error, net::IpAddr, time::Duration};

use anyhow::{Context as _, anyhow};
use records::{Service, cut_short};
use reqwest::{Client, Response, StatusCode, redirect::Policy};
use serde_json::Value;
use url::Url;

use crate::{
    arguments::HealthArguments,
    configuration::Configuration,
    exit::{ExitCode, Failure},
    masking::url_or_path,
    output::print,
    settings::{
        Variable,
        table::{API_KEY, EVALUATION_PORT, GATEWAY_PORT, JUDGE_PORT, PANOPTICON_BIND, QUERY_PORT},
    },
    telemetry,
};

/// The route that says whether requests can be served.
const READY: &str = "/ready";

/// More than the answer of a service with all of its checks.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Characters of the reason. The line is for people and for the log of a container.
const REASON_CHARACTERS: usize = 500;

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &HealthArguments,
) -> Result<ExitCode, Failure> {
    let url = ready_url(configuration, arguments.what.as_deref()).map_err(Failure::usage)?;
    let shown = url_or_path(url.as_str());
    let client = Client::builder()
        .tls_backend_preconfigured(telemetry::tls().map_err(Failure::usage)?)
        .redirect(Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(arguments.timeout))
        .build()
        .context("failed to create the HTTP client")?;
    let mut request = client.get(url);
    if let Some(key) = configuration.text(&API_KEY)? {
        // Without it, the answer does not say what is not ready.
        request = request.header("x-api-key", key);
    }
    let problem = match request.send().await {
        Ok(response) => problem(response).await,
        Err(error) => Some(unreachable_because(&error, arguments.timeout)),
    };
    match problem {
        None => {
            print(&format!("ready: {shown}"))?;
            Ok(ExitCode::Complete)
        }
        Some(problem) => {
            let reason = cut_short(&problem, REASON_CHARACTERS);
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            print(&format!("not ready: {shown}: {reason}"))?;
            Ok(ExitCode::Failed)
        }
    }
}

/// The URL to ask: that of the service `what`, which may be a URL too; the gateway's without one.
fn ready_url(configuration: &Configuration, what: Option<&str>) -> anyhow::Result<Url> {
    let port = match what {
        None | Some("gateway") => &GATEWAY_PORT,
        Some(what) => match what.parse() {
            Ok(Service::Query) => &QUERY_PORT,
            Ok(Service::Evaluation) => &EVALUATION_PORT,
            Ok(Service::Judge) => &JUDGE_PORT,
            Err(_) => return given_url(what),
        },
    };
    own_url(configuration.get(&PANOPTICON_BIND)?, configuration.get(port)?, port)
}

/// The URL of a service of these settings, on this machine.
fn own_url(bind: IpAddr, port: u16, variable: &Variable<u16>) -> anyhow::Result<Url> {
    if port == 0 {
        return Err(anyhow!("{variable} is 0, so that the port is known only to the service: give its URL"));
    }
    let host = match bind {
        IpAddr::V4(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(address) if address.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    Ok(Url::parse(&format!("http://{host}:{port}{READY}"))?)
}

/// `text`, the URL of a service or of its route.
fn given_url(text: &str) -> anyhow::Result<Url> {
    // The text may hold a password.
    let invalid = || {
        anyhow!(
            "expected `query`, `evaluation`, `judge`, `gateway`, or the URL of a service such as http://localhost:8000"
        )
    };
    let mut url = Url::parse(text).map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid());
    }
    let path = url.path().trim_end_matches('/');
    let path = format!("{}{READY}", path.strip_suffix(READY).unwrap_or(path));
    url.set_path(&path);
    Ok(url)
}

/// Why `response` does not say that the service is ready; `None` if it does.
async fn problem(response: Response) -> Option<String> {
    let status = response.status();
    let answer = answer(response).await;
    let is_ours = answer.as_ref().is_some_and(|answer| answer["status"].is_string());
    match answer {
        Some(answer) if status == StatusCode::OK && answer["status"] == "success" => None,
        Some(answer) if is_ours => Some(reasons(&answer).unwrap_or_else(|| {
            // Without a message, the status still says what failed.
            let message = answer["message"].as_str().unwrap_or_default();
            format!("{message} (HTTP {})", status.as_u16())
        })),
        _ => Some(format!("the answer is not from Panopticon (HTTP {})", status.as_u16())),
    }
}

/// The JSON of `response`; `None` if it is something else, breaks off or is too long.
async fn answer(mut response: Response) -> Option<Value> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).ok()
}

/// What is not ready, which a service reports only to clients with its key.
fn reasons(answer: &Value) -> Option<String> {
    let checks = answer["data"]["checks"].as_array()?;
    let failed = checks.iter().filter(|check| check["ready"] == false);
    let reasons: Vec<String> = failed
        .map(|check| {
            // A check without a name is shown by its reason.
            let name = check["name"].as_str().unwrap_or_default();
            check["reason"].as_str().map_or_else(|| name.to_owned(), |reason| format!("{name}: {reason}"))
        })
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn unreachable_because(error: &reqwest::Error, timeout: u64) -> String {
    if error.is_timeout() {
        return format!("no answer within {timeout} s");
    }
    // The last cause is the system's; the others repeat the URL, which may hold a password.
    let mut last: Option<&dyn Error> = None;
    while let Some(cause) = last.map_or_else(|| error.source(), Error::source) {
        last = Some(cause);
    }
    last.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_to_ask_is_one_that_the_service_listens_on() {
        for (bind, expected) in [
            ("127.0.0.1", "http://127.0.0.1:8000/ready"),
            ("0.0.0.0", "http://127.0.0.1:8000/ready"),
            ("::", "http://[::1]:8000/ready"),
            ("10.0.0.7", "http://10.0.0.7:8000/ready"),
            ("fd00::7", "http://[fd00::7]:8000/ready"),
        ] {
            let bind = bind.parse().expect("an address");
            assert_eq!(own_url(bind, 8000, &GATEWAY_PORT).expect("a URL").as_str(), expected);
        }
        let error = own_url(IpAddr::from([127, 0, 0, 1]), 0, &JUDGE_PORT).expect_err("no port");
        assert!(error.to_string().contains("JUDGE_PORT"), "{error}");
    }

    #[test]
    fn url_is_that_of_a_service_or_of_its_route() {
        for (given, expected) in [
            ("http://h:8000", "http://h:8000/ready"),
            ("http://h:8000/", "http://h:8000/ready"),
            ("https://h/panopticon/", "https://h/panopticon/ready"),
            ("http://h/ready", "http://h/ready"),
            ("http://h:8000/ready/", "http://h:8000/ready"),
            ("http://h/panopticon/ready//", "http://h/panopticon/ready"),
        ] {
            assert_eq!(given_url(given).expect("a URL").as_str(), expected);
        }
        for given in ["localhost:8000", "ftp://h", "http://", "quer", "http://u:secret@h/?x=1", "http://h/#x"]
        {
            let error = given_url(given).expect_err(given).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
