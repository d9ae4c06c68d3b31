//! `panopticon config`: every setting in force and where it came from, secrets masked.

use serde_json::json;
use url::Url;

use crate::{
    configuration::{Configuration, Origin, Setting},
    exit::{ExitCode, Failure},
    output::print,
};

pub(crate) fn run(configuration: &Configuration, as_json: bool) -> Result<ExitCode, Failure> {
    if as_json {
        let settings: serde_json::Map<String, serde_json::Value> = configuration
            .settings()
            .iter()
            .map(|setting| {
                let value = json!({ "value": masked(setting), "origin": origin(setting) });
                (setting.name.to_owned(), value)
            })
            .collect();
        print(&serde_json::Value::from(settings).to_string())?;
        return Ok(ExitCode::Complete);
    }
    for setting in configuration.settings() {
        let value = masked(setting).unwrap_or_else(|| "(not set)".to_owned());
        print(&format!("{:<37} {value}  [{}]", setting.name, origin(setting)))?;
    }
    Ok(ExitCode::Complete)
}

fn origin(setting: &Setting) -> String {
    match &setting.origin {
        Origin::Flag => "flag".to_owned(),
        Origin::Environment => "environment".to_owned(),
        Origin::DotEnv(path) => path.display().to_string(),
        Origin::Default => match setting.name {
            "DATABASE_URL" => "default: the embedded PostgreSQL".to_owned(),
            _ => "default".to_owned(),
        },
    }
}

fn masked(setting: &Setting) -> Option<String> {
    let value = setting.value.as_deref()?;
    Some(match setting.name {
        "DATABASE_URL"
        | "QUERY_STORAGE_URL"
        | "EVALUATION_STORAGE_URL"
        | "JUDGE_SERVICE_URL"
        | "OPENAI_BASE_URL"
        | "ANTHROPIC_BASE_URL"
        | "GOOGLE_BASE_URL"
        | "OTEL_EXPORTER_OTLP_ENDPOINT" => mask_url(value),
        "CHROMA_TOKEN"
        | "VECTOR_ALERT_WEBHOOK_URL"
        | "API_KEY"
        | "OPENAI_API_KEY"
        | "ANTHROPIC_API_KEY"
        | "GOOGLE_API_KEY" => "***".to_owned(),
        _ => value.to_owned(),
    })
}

/// The URL with `***` for its password, in the authority and in the query (`?password=…`); what cannot be
/// parsed is masked whole.
fn mask_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "***".to_owned() };
    if url.cannot_be_a_base() {
        return "***".to_owned();
    }
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                let secret = key.to_ascii_lowercase().contains("password");
                (key.into_owned(), if secret { "***".to_owned() } else { value.into_owned() })
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_masked_wherever_a_url_can_hold_one() {
        assert_eq!(mask_url("postgresql://u:secret@h:5432/d"), "postgresql://u:***@h:5432/d");
        assert_eq!(mask_url("postgresql://u@h/d"), "postgresql://u@h/d");
        assert!(!mask_url("postgresql://h/d?user=u&password=secret&sslpassword=secret").contains("secret"));
        assert_eq!(mask_url("u:secret@h"), "***".to_owned());
    }
}
