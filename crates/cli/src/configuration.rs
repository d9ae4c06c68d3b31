//! The settings in force. Precedence: flag, environment, `.env` of the current folder or the nearest one above it,
//! default. A variable that is set but empty is an error, never the default.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use provision::DataDir;
use records::Service;
use tracing_subscriber::filter::LevelFilter;
use upkeep::{Policy, maintenance::Limits};

use crate::{
    arguments::SettingFlags,
    dotenv::{DotEnv, Found, Importance},
    environment,
    exit::Failure,
    logging::{self, Format},
};

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag of this command line.
    Flag,
    /// The process environment.
    Environment,
    /// This line of a `.env` file.
    DotEnv(PathBuf, usize),
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
    /// What of `.env` files was passed over, a sentence each.
    remarks: Vec<String>,
    /// Why the `.env` that was read is not believed about everything.
    doubt: Option<String>,
    /// Why settings may be missing: the `.env` of the user that could not be read.
    missed: Option<String>,
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
const NAMES: [&str; 54] = [
    "DATABASE_URL",
    "PANOPTICON_DATABASE_CONNECTIONS",
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
    "PANOPTICON_MAX_STREAMS",
    "PANOPTICON_SHUTDOWN_SECONDS",
    "PANOPTICON_CORS_ORIGINS",
    "PANOPTICON_ALLOWED_HOSTS",
    "PANOPTICON_MAX_CONNECTIONS",
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

/// Settings that name programs to run, or addresses to which keys and texts are sent.
const DELICATE: [&str; 10] = [
    "PANOPTICON_DATA_DIR",
    "PANOPTICON_MODEL_DIR",
    "OPENAI_BASE_URL",
    "ANTHROPIC_BASE_URL",
    "GOOGLE_BASE_URL",
    "QUERY_STORAGE_URL",
    "EVALUATION_STORAGE_URL",
    "JUDGE_SERVICE_URL",
    "VECTOR_ALERT_WEBHOOK_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

impl Configuration {
    /// Gathers the settings.
    ///
    /// # Errors
    /// When a value is empty, not Unicode, or none of those allowed; or a line of `.env` that gives one cannot be read.
    pub(crate) fn load(flags: &SettingFlags) -> Result<Self, Failure> {
        let current = env::current_dir().context("failed to find the current folder")?;
        let dot_env = DotEnv::find(&current, environment::variable);
        let mut remarks = dot_env.remarks();
        let settings = NAMES
            .into_iter()
            .map(|name| {
                let (value, origin) = if let Some(value) = flag(flags, name) {
                    (Some(value), Origin::Flag)
                } else if let Some(value) = env::var_os(name) {
                    let value = value.into_string().map_err(|_| anyhow!("{name} is not Unicode text"))?;
                    (Some(value), Origin::Environment)
                } else {
                    match from_file(&dot_env, name, &mut remarks)? {
                        Some((value, origin)) => (Some(value), origin),
                        None => (default(name)?, Origin::Default),
                    }
                };
                let setting = Setting { name, value, origin };
                if setting.value.as_deref().is_some_and(|value| value.trim().is_empty()) {
                    let place = setting.place();
                    return Err(anyhow!("{place} is set but empty: give it a value or unset it"));
                }
                Ok(setting)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::usage)?;
        let missed = dot_env.skipped.iter().find(|skipped| skipped.is_missed);
        let missed = missed.map(|file| format!("`{}` was not read: {}", file.path.display(), file.reason));
        let doubt = dot_env.doubt().map(str::to_owned);
        let configuration = Self { settings, remarks, doubt, missed };
        configuration.check().map_err(Failure::usage)?;
        Ok(configuration)
    }

    /// What of `.env` files was passed over, a sentence each, without anything that they say.
    pub(crate) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Refuses to take the default of `name` where a file of the user's, which may say otherwise, could not be read:
    /// data would go to a database that the user did not name.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubtful_default(&self, name: &str) -> Result<(), Failure> {
        match &self.missed {
            Some(missed) if self.setting(name).origin == Origin::Default => Err(Failure::usage(anyhow!(
                "{name} may be set in a file that cannot be used: {missed}; set it in the environment, or mend the file"
            ))),
            _ => Ok(()),
        }
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

    /// Refuses `name`, a directory on which a program of ours is to run, if others can have written where it is set:
    /// what they put into that directory would run as us.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubted_directory(&self, name: &str) -> Result<(), Failure> {
        self.refuse_doubted(name, "a directory that Chroma is to open")
    }

    /// Refuses `name`, a server, if others can have written where it is set, and it would get a token that they do not
    /// have: one of the flag `token` or the environment.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubted_server(&self, name: &str, token: Option<&str>) -> Result<(), Failure> {
        let is_in_file = matches!(self.setting("CHROMA_TOKEN").origin, Origin::DotEnv(..));
        if self.chroma_token(token).is_none() || (token.is_none() && is_in_file) {
            return Ok(());
        }
        self.refuse_doubted(name, "a server that gets your token")
    }

    fn refuse_doubted(&self, name: &str, purpose: &str) -> Result<(), Failure> {
        let setting = self.setting(name);
        match (&setting.origin, &self.doubt) {
            (Origin::DotEnv(..), Some(doubt)) => Err(Failure::usage(anyhow!(
                "{} is not believed about {purpose}: {doubt}; set it in the environment",
                setting.place()
            ))),
            _ => Ok(()),
        }
    }

    /// `VECTOR_INDEX_TYPE` and `VECTOR_RECALL_TARGET`.
    ///
    /// # Errors
    /// When one of them is invalid.
    pub(crate) fn index_policy(&self) -> anyhow::Result<Policy> {
        let index_type = self.value("VECTOR_INDEX_TYPE").expect("there is a default");
        let index_type = index_type
            .parse()
            .map_err(|_| self.invalid("VECTOR_INDEX_TYPE", "`auto`, `ivfflat`, `hnsw` or `none`"))?;
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
    /// When a setting is invalid.
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
        let quiet_hours =
            self.parsed("MAINTENANCE_QUIET_HOURS", "hours in UTC such as 22:00-06:00", |text| {
                text.parse().ok()
            })?;
        Ok(MaintenanceSettings {
            is_on: is_on.expect("there is a default"),
            interval: seconds("MAINTENANCE_INTERVAL_SECONDS")?,
            limits: Limits {
                budget: seconds("MAINTENANCE_BUDGET_SECONDS")?,
                quiet_hours,
                ..Limits::default()
            },
        })
    }

    /// `LOG_LEVEL` and `LOG_FORMAT`.
    ///
    /// # Errors
    /// When one of them is invalid.
    pub(crate) fn logging(&self) -> anyhow::Result<(LevelFilter, Format)> {
        let level = self.parsed("LOG_LEVEL", "ERROR, WARNING, INFO, DEBUG or TRACE", logging::level)?;
        let format = self.parsed("LOG_FORMAT", "text or json", logging::format)?;
        Ok((level.expect("there is a default"), format.expect("there is a default")))
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
        parse(value).map(Some).ok_or_else(|| self.invalid(name, expected))
    }

    /// The setting `name` is invalid; `expected` says what is valid. A value from a file is not repeated: it may be a secret.
    fn invalid(&self, name: &str, expected: &str) -> anyhow::Error {
        let setting = self.setting(name);
        match (&setting.origin, &setting.value) {
            (Origin::DotEnv(..), _) | (_, None) => {
                anyhow!("{} is invalid: expected {expected}", setting.place())
            }
            (_, Some(value)) => anyhow!("{name} is `{value}`: expected {expected}"),
        }
    }

    /// The setting `name` as errors name it: with file and line, if it is from one.
    pub(crate) fn place(&self, name: &str) -> String {
        self.setting(name).place()
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
                return Err(self.invalid(name, "`postgres` or `chroma`"));
            }
        }
        self.index_policy()?;
        self.maintenance()?;
        self.logging().map(drop)
    }
}

impl Setting {
    /// The name, with file and line if it is from one.
    fn place(&self) -> String {
        match &self.origin {
            Origin::DotEnv(path, line) => format!("{} in line {line} of `{}`", self.name, path.display()),
            Origin::Flag | Origin::Environment | Origin::Default => self.name.to_owned(),
        }
    }
}

/// What the file says of `name`. One that is not believed is remarked upon.
fn from_file(
    dot_env: &DotEnv,
    name: &'static str,
    remarks: &mut Vec<String>,
) -> anyhow::Result<Option<(String, Origin)>> {
    let importance = if DELICATE.contains(&name) { Importance::Delicate } else { Importance::Ordinary };
    let (Some((line, found)), Some(path)) = (dot_env.get(name, importance), dot_env.path()) else {
        return Ok(None);
    };
    match found {
        Found::Value(value) => Ok(Some((value, Origin::DotEnv(path.to_owned(), line)))),
        Found::Doubted(why) => {
            remarks.push(format!("{name} in line {line} of `{}` is not used: {why}", path.display()));
            Ok(None)
        }
        Found::Unreadable => Err(anyhow!(
            "{name} in line {line} of `{}` cannot be read: expected {name}=value, in quotes if it has blanks at its ends or line breaks",
            path.display()
        )),
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
