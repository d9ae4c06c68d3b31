//! The settings in force. Precedence: flag, environment, `.env` of the current folder or the nearest one above it,
//! default. A variable that is set but empty is an error, never the default.

use std::{collections::HashMap, env, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use provision::DataDir;
use records::Service;
use upkeep::{Policy, maintenance::Limits};

use crate::{arguments::SettingFlags, exit::Failure};

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag of this command line.
    Flag,
    /// The process environment.
    Environment,
    /// A `.env` file.
    DotEnv(PathBuf),
    /// Nothing said otherwise.
    Default,
}

/// One setting by its environment name.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Name of the environment variable.
    pub(crate) name: &'static str,
    /// Its value; `None` when it is not set and has no default.
    pub(crate) value: Option<String>,
    /// Where the value came from.
    pub(crate) origin: Origin,
}

/// Everything that is configured.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    settings: Vec<Setting>,
}

/// When maintenance is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaintenanceSettings {
    /// Whether `serve` does it.
    pub(crate) is_on: bool,
    /// From the end of a round to the next, five minutes by default: seldom enough not to be noticed, and often enough
    /// that a table which is filled in an hour has its index soon after.
    pub(crate) interval: Duration,
    /// When it may work.
    pub(crate) limits: Limits,
}

const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(300);

/// The names, in the order in which `panopticon config` prints them.
const NAMES: [&str; 49] = [
    "DATABASE_URL",
    "QUERY_STORAGE_TYPE",
    "EVALUATION_STORAGE_TYPE",
    "JUDGE_STORAGE_TYPE",
    "CHROMA_PERSIST_DIRECTORY",
    "EVALUATION_PERSIST_DIRECTORY",
    "JUDGE_PERSIST_DIRECTORY",
    "CHROMA_TOKEN",
    "PANOPTICON_CHROMA_UPGRADE",
    "VECTOR_INDEX_TYPE",
    "VECTOR_RECALL_TARGET",
    "VECTOR_SAMPLE_RATE",
    "VECTOR_SAMPLE_RETENTION_DAYS",
    "VECTOR_MONITOR_INTERVAL_SECONDS",
    "VECTOR_MONITOR_REPLAYS",
    "VECTOR_HISTORY_RETENTION_DAYS",
    "VECTOR_ALERT_WEBHOOK_URL",
    "MAINTENANCE",
    "MAINTENANCE_INTERVAL_SECONDS",
    "MAINTENANCE_BUDGET_SECONDS",
    "MAINTENANCE_QUIET_HOURS",
    "PANOPTICON_DATA_DIR",
    "PANOPTICON_MODEL_DIR",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "API_KEY",
    "PANOPTICON_BIND",
    "PANOPTICON_ALLOW_OPEN",
    "GATEWAY_PORT",
    "QUERY_PORT",
    "EVALUATION_PORT",
    "JUDGE_PORT",
    "QUERY_STORAGE_URL",
    "EVALUATION_STORAGE_URL",
    "JUDGE_SERVICE_URL",
    "PANOPTICON_MAX_BODY_BYTES",
    "PANOPTICON_REQUEST_TIMEOUT_SECONDS",
    "PANOPTICON_EVALUATION_TIMEOUT_SECONDS",
    "PANOPTICON_MAX_REQUESTS",
    "PANOPTICON_CORS_ORIGINS",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "GOOGLE_API_KEY",
    "GOOGLE_BASE_URL",
    "MODEL_DEFAULT_TEMPERATURE",
    "MODEL_MAX_CONCURRENCY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

impl Configuration {
    /// Gathers the settings.
    ///
    /// # Errors
    /// When `.env` cannot be read or a value is empty, not Unicode, or none of those allowed.
    pub(crate) fn load(flags: &SettingFlags) -> Result<Self, Failure> {
        let (dot_env_path, dot_env) = read_dot_env()?;
        let settings = NAMES
            .into_iter()
            .map(|name| {
                let (value, origin) = if let Some(value) = flag(flags, name) {
                    (Some(value), Origin::Flag)
                } else if let Some(value) = env::var_os(name) {
                    let value = value.into_string().map_err(|_| anyhow!("{name} is not Unicode text"))?;
                    (Some(value), Origin::Environment)
                } else if let Some(value) = dot_env.get(name) {
                    (Some(value.clone()), Origin::DotEnv(dot_env_path.clone()))
                } else {
                    (default(name)?, Origin::Default)
                };
                if value.as_deref().is_some_and(|value| value.trim().is_empty()) {
                    return Err(anyhow!("{name} is set but empty: give it a value or unset it"));
                }
                Ok(Setting { name, value, origin })
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::usage)?;
        let configuration = Self { settings };
        configuration.check().map_err(Failure::usage)?;
        Ok(configuration)
    }

    /// All settings, in a fixed order.
    pub(crate) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// `DATABASE_URL`, if one is set.
    pub(crate) fn database_url(&self) -> Option<&str> {
        self.value("DATABASE_URL")
    }

    /// Whether this command line itself names the database.
    pub(crate) fn names_database(&self) -> bool {
        self.setting("DATABASE_URL").origin == Origin::Flag
    }

    /// Where Panopticon keeps its own things.
    pub(crate) fn data_dir(&self) -> DataDir {
        DataDir::new(self.value("PANOPTICON_DATA_DIR").expect("there is a default"))
    }

    /// The user's own copy of the model, if there is one.
    pub(crate) fn model_dir(&self) -> Option<PathBuf> {
        self.value("PANOPTICON_MODEL_DIR").map(PathBuf::from)
    }

    /// `VECTOR_INDEX_TYPE` and `VECTOR_RECALL_TARGET`.
    ///
    /// # Errors
    /// When one of them is none of those allowed.
    pub(crate) fn index_policy(&self) -> anyhow::Result<Policy> {
        let index_type = self.value("VECTOR_INDEX_TYPE").expect("there is a default");
        let index_type = index_type.parse().map_err(|_| {
            anyhow!("VECTOR_INDEX_TYPE is `{index_type}`: expected `auto`, `ivfflat`, `hnsw` or `none`")
        })?;
        let recall_target =
            self.parsed("VECTOR_RECALL_TARGET", "a number above 0 and up to 1, such as 0.98", |text| {
                text.parse().ok().filter(|target| *target > 0.0 && *target <= 1.0)
            })?;
        let recall_target = recall_target.expect("there is a default");
        Ok(Policy { index_type, recall_target, ..Policy::default() })
    }

    /// When maintenance is done.
    ///
    /// # Errors
    /// When a setting is none of those allowed.
    pub(crate) fn maintenance(&self) -> anyhow::Result<MaintenanceSettings> {
        let is_on = self.parsed("MAINTENANCE", "`on` or `off`", |text| match text {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        })?;
        let seconds = |name| {
            let seconds = |text: &str| text.parse().ok().filter(|seconds: &u64| *seconds > 0);
            let parsed = self.parsed(name, "a whole number from 1", seconds)?;
            anyhow::Ok(Duration::from_secs(parsed.expect("there is a default")))
        };
        let quiet_hours = self.text("MAINTENANCE_QUIET_HOURS").map(str::parse).transpose();
        Ok(MaintenanceSettings {
            is_on: is_on.expect("there is a default"),
            interval: seconds("MAINTENANCE_INTERVAL_SECONDS")?,
            limits: Limits {
                budget: seconds("MAINTENANCE_BUDGET_SECONDS")?,
                quiet_hours: quiet_hours.context("MAINTENANCE_QUIET_HOURS is wrong")?,
                ..Limits::default()
            },
        })
    }

    /// `LOG_LEVEL`.
    pub(crate) fn log_level(&self) -> &str {
        self.value("LOG_LEVEL").expect("there is a default")
    }

    /// `LOG_FORMAT`.
    pub(crate) fn log_format(&self) -> &str {
        self.value("LOG_FORMAT").expect("there is a default")
    }

    /// The setting `name`, if it is set, read by `parse`; `expected` says what it has to be.
    ///
    /// # Errors
    /// When `parse` cannot read it.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<Option<T>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let parsed = parse(value).ok_or_else(|| anyhow!("{name} is `{value}`: expected {expected}"))?;
        Ok(Some(parsed))
    }

    /// Whether the setting `name` is `1`; `false` where it is not set.
    ///
    /// # Errors
    /// When it is neither `1` nor `0`.
    pub(crate) fn is_on(&self, name: &str) -> anyhow::Result<bool> {
        let is_on = self.parsed(name, "1 or 0", |text| match text {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        })?;
        Ok(is_on == Some(true))
    }

    /// A setting that has no default and whose value may be secret.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)
    }

    /// Name and value of the setting that names the Chroma directory of `service`.
    pub(crate) fn persist_directory(&self, service: Service) -> (&'static str, Option<PathBuf>) {
        let name = match service {
            Service::Query => "CHROMA_PERSIST_DIRECTORY",
            Service::Evaluation => "EVALUATION_PERSIST_DIRECTORY",
            Service::Judge => "JUDGE_PERSIST_DIRECTORY",
        };
        (name, self.value(name).map(PathBuf::from))
    }

    /// The token for Chroma servers: what a flag says, else `CHROMA_TOKEN`.
    pub(crate) fn chroma_token<'a>(&'a self, flag: Option<&'a str>) -> Option<&'a str> {
        flag.or_else(|| self.value("CHROMA_TOKEN"))
    }

    /// Name and value of the setting that chooses the store of `service`.
    pub(crate) fn storage_type(&self, service: Service) -> (&'static str, &str) {
        let name = match service {
            Service::Query => "QUERY_STORAGE_TYPE",
            Service::Evaluation => "EVALUATION_STORAGE_TYPE",
            Service::Judge => "JUDGE_STORAGE_TYPE",
        };
        (name, self.value(name).expect("there is a default"))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.setting(name).value.as_deref()
    }

    fn setting(&self, name: &str) -> &Setting {
        self.settings.iter().find(|setting| setting.name == name).expect("every name is loaded")
    }

    fn check(&self) -> anyhow::Result<()> {
        for service in Service::ALL {
            let (name, value) = self.storage_type(service);
            if !matches!(value, "postgres" | "chroma") {
                return Err(anyhow!("{name} is `{value}`: expected `postgres` or `chroma`"));
            }
        }
        self.index_policy()?;
        self.maintenance()?;
        crate::logging::level(self.log_level())?;
        crate::logging::format(self.log_format()).map(drop)
    }
}

fn flag(flags: &SettingFlags, name: &str) -> Option<String> {
    match name {
        "DATABASE_URL" => flags.database_url.clone(),
        "PANOPTICON_DATA_DIR" => flags.data_dir.clone(),
        "PANOPTICON_MODEL_DIR" => flags.model_dir.clone(),
        _ => None,
    }
}

fn default(name: &str) -> anyhow::Result<Option<String>> {
    Ok(match name {
        "QUERY_STORAGE_TYPE" | "EVALUATION_STORAGE_TYPE" | "JUDGE_STORAGE_TYPE" => {
            Some("postgres".to_owned())
        }
        "PANOPTICON_DATA_DIR" => Some(DataDir::platform_default()?.path().to_string_lossy().into_owned()),
        "VECTOR_INDEX_TYPE" => Some(Policy::default().index_type.as_str().to_owned()),
        "VECTOR_RECALL_TARGET" => Some(Policy::default().recall_target.to_string()),
        "MAINTENANCE" => Some("on".to_owned()),
        "MAINTENANCE_INTERVAL_SECONDS" => Some(MAINTENANCE_INTERVAL.as_secs().to_string()),
        "MAINTENANCE_BUDGET_SECONDS" => Some(Limits::default().budget.as_secs().to_string()),
        "LOG_LEVEL" => Some("WARNING".to_owned()),
        "LOG_FORMAT" => Some("text".to_owned()),
        _ => None,
    })
}

/// The variables of the nearest `.env`; no file is no variables.
fn read_dot_env() -> Result<(PathBuf, HashMap<String, String>), Failure> {
    let current = env::current_dir().context("failed to find the current folder")?;
    let Some(path) = current.ancestors().map(|folder| folder.join(".env")).find(|path| path.is_file()) else {
        return Ok((PathBuf::new(), HashMap::new()));
    };
    let read = || dotenvy::from_path_iter(&path)?.collect::<Result<HashMap<_, _>, _>>();
    let variables = read().with_context(|| format!("failed to read `{}`", path.display()));
    Ok((path.clone(), variables.map_err(Failure::usage)?))
}
