//! `panopticon config`: each current setting and its origin, secrets masked.

use serde_json::json;

use crate::{
    configuration::{Configuration, Origin, Setting},
    exit::{ExitCode, Failure},
    output::{print, print_json, visible},
    settings::table::DATABASE_URL,
};

pub(crate) fn run(configuration: &Configuration, as_json: bool) -> Result<ExitCode, Failure> {
    configuration.check()?;
    let remarks = [configuration.remarks(), &configuration.refusals()].concat();
    if as_json {
        let mut settings: serde_json::Map<String, serde_json::Value> = configuration
            .settings()
            .iter()
            .map(|setting| {
                let value = json!({ "value": shown(setting), "origin": origin(setting) });
                (setting.row.name.to_owned(), value)
            })
            .collect();
        if !remarks.is_empty() {
            settings.insert("remarks".to_owned(), remarks.into());
        }
        print_json(&serde_json::Value::from(settings))?;
        return Ok(ExitCode::Complete);
    }
    for setting in configuration.settings() {
        let value = shown(setting).unwrap_or_else(|| "(not set)".to_owned());
        let origin = origin(setting).map_or_else(String::new, |origin| format!("  [{}]", visible(&origin)));
        print(&format!("{:<37} {}{origin}", setting.row.name, visible(&value)))?;
    }
    for remark in &remarks {
        print(&visible(remark))?;
    }
    Ok(ExitCode::Complete)
}

/// The origin of the value; `None` if there is no value.
pub(super) fn origin(setting: &Setting) -> Option<String> {
    Some(match &setting.origin {
        Origin::Flag => "flag".to_owned(),
        Origin::Environment => "environment".to_owned(),
        Origin::DotEnv(path, _) => path.display().to_string(),
        Origin::Default if setting.row.name == DATABASE_URL.name() => {
            "default: the embedded PostgreSQL".to_owned()
        }
        Origin::Default => shown(setting).map(|_| "default".to_owned())?,
    })
}

/// The current value; `None` if the setting is not set and has no default.
pub(super) fn shown(setting: &Setting) -> Option<String> {
    setting.value.as_deref().map(|value| setting.row.shown(value))
}
