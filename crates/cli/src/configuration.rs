//! The current settings. Precedence: flag, environment, `.env` of the current folder or the nearest one above it,
//! default. A variable that is set but empty is an error.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use provision::DataDir;
use records::Service;
use store::postgres::DatabaseUrl;
use tracing_subscriber::filter::LevelFilter;
use upkeep::{Policy, maintenance::Limits};

use crate::{
    arguments::SettingFlags,
    dotenv::{DotEnv, Found},
    environment::{self, libpq},
    exit::Failure,
    settings::{
        Optional, Row, Variable,
        table::{
            self, CHROMA_TOKEN, DATABASE_URL, Format, LOG_FORMAT, LOG_LEVEL, MAINTENANCE,
            MAINTENANCE_BUDGET_SECONDS, MAINTENANCE_INTERVAL_SECONDS, MAINTENANCE_QUIET_HOURS,
            PANOPTICON_DATA_DIR, PANOPTICON_MODEL_DIR, VECTOR_INDEX_TYPE, VECTOR_RECALL_TARGET, storage_type,
        },
    },
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
    /// Not set.
    Default,
}

/// The value of a variable.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) row: &'static Row,
    /// The value; `None` when it is not set and has no default.
    pub(crate) value: Option<String>,
    /// Where the value came from.
    pub(crate) origin: Origin,
}

/// Everything that is configured.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    settings: Vec<Setting>,
    /// What was ignored in `.env` files, one sentence each.
    remarks: Vec<String>,
    /// Why some settings of the `.env` file are not trusted.
    distrust: Option<String>,
    /// Why settings may be missing: a `.env` file of the user that could not be read.
    missed: Option<String>,
}

/// When maintenance is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaintenanceSettings {
    /// Whether `serve` does it.
    pub(crate) is_on: bool,
    /// From the end of a round to the next.
    pub(crate) interval: Duration,
    /// When it may work.
    pub(crate) limits: Limits,
}

impl Configuration {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a value is empty, not Unicode or invalid; or when a line of `.env` that sets one cannot be read.
    pub(crate) fn load(flags: &SettingFlags) -> Result<Self, Failure> {
        let current = env::current_dir().context("failed to find the current folder")?;
        let dot_env = DotEnv::find(&current, environment::variable);
        let mut remarks = dot_env.remarks();
        let settings = table::rows()
            .map(|row| {
                let name = row.name;
                let (value, origin) = if let Some(value) = row.flag.and_then(|flag| flags.value(flag)) {
                    (Some(value.to_owned()), Origin::Flag)
                } else if let Some(value) = env::var_os(name) {
                    let value = value.into_string().map_err(|_| anyhow!("{name} is not Unicode text"))?;
                    (Some(value), Origin::Environment)
                } else {
                    match from_file(&dot_env, row, &mut remarks)? {
                        Some((value, origin)) => (Some(value), origin),
                        None => (row.default()?, Origin::Default),
                    }
                };
                let setting = Setting { row, value, origin };
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
        let distrust = dot_env.distrust().map(str::to_owned);
        let configuration = Self { settings, remarks, distrust, missed };
        configuration.check().map_err(Failure::usage)?;
        Ok(configuration)
    }

    /// What was ignored in `.env` files, one sentence each, without values from the files.
    pub(crate) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Refuses the default of `variable` if a `.env` file of the user, which may set it, could not be read: data would go
    /// to a database that the user did not name.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_uncertain_default<T, const D: bool>(
        &self,
        variable: &Variable<T, D>,
    ) -> Result<(), Failure> {
        match &self.missed {
            Some(missed) if !self.is_given(variable) => Err(Failure::usage(anyhow!(
                "{variable} may be set in a file that cannot be used: {missed}; set it in the environment, or fix the file"
            ))),
            _ => Ok(()),
        }
    }

    /// All settings, in a fixed order.
    pub(crate) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Whether this command line itself names the database.
    pub(crate) fn names_database(&self) -> bool {
        self.setting(&DATABASE_URL).origin == Origin::Flag
    }

    /// The folder for Panopticon's files.
    pub(crate) fn data_dir(&self) -> DataDir {
        DataDir::new(self.value(&PANOPTICON_DATA_DIR).expect("there is a default"))
    }

    /// The user's copy of the model, if there is one.
    pub(crate) fn model_dir(&self) -> Option<PathBuf> {
        self.text(&PANOPTICON_MODEL_DIR).map(PathBuf::from)
    }

    /// Refuses `variable`, a directory that Chroma would open, if other users could have written the file that sets it:
    /// their code in that directory would run as this user.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_untrusted_directory(&self, variable: &Optional<String>) -> Result<(), Failure> {
        self.refuse_untrusted(variable, "a directory that Chroma opens")
    }

    /// Refuses `variable`, a server, if other users could have written the file that sets it and the server would get a
    /// token that they do not have: one from the flag `token` or the environment.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_untrusted_server(
        &self,
        variable: &Optional<String>,
        token: Option<&str>,
    ) -> Result<(), Failure> {
        let is_in_file = |variable| matches!(self.setting(variable).origin, Origin::DotEnv(..));
        let is_token_in_file = token.is_none() && is_in_file(&CHROMA_TOKEN);
        match (self.chroma_token(token).is_some(), is_token_in_file, is_in_file(variable)) {
            (true, false, true) => self.refuse_untrusted(variable, "a server that gets your token"),
            (true, true, false) => {
                self.refuse_untrusted(&CHROMA_TOKEN, "which gives access to a server that is named elsewhere")
            }
            _ => Ok(()),
        }
    }

    /// Refuses the storage of `service` if other users could have chosen it.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_untrusted_storage(&self, service: Service) -> Result<(), Failure> {
        self.refuse_untrusted(storage_type(service), "where data is stored")
    }

    /// Refuses `url`, the value of `DATABASE_URL`, if other users could have written it and its server would get a secret
    /// that they do not have.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_untrusted_database(&self, url: &DatabaseUrl) -> Result<(), Failure> {
        match url.secret_from_elsewhere(libpq()) {
            Some(secret) => {
                let purpose = format!("a server that gets {secret}, which is not from that file");
                self.refuse_untrusted(&DATABASE_URL, &purpose)
            }
            None => Ok(()),
        }
    }

    fn refuse_untrusted<T, const D: bool>(
        &self,
        variable: &Variable<T, D>,
        purpose: &str,
    ) -> Result<(), Failure> {
        let setting = self.setting(variable);
        match (&setting.origin, &self.distrust) {
            (Origin::DotEnv(..), Some(distrust)) => Err(Failure::usage(anyhow!(
                "{} is not trusted to name {purpose}: {distrust}; set it in the environment",
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
        let (index_type, recall_target) = (self.get(&VECTOR_INDEX_TYPE)?, self.get(&VECTOR_RECALL_TARGET)?);
        Ok(Policy { index_type, recall_target, ..Policy::default() })
    }

    /// When maintenance is done.
    ///
    /// # Errors
    /// When a setting is invalid.
    pub(crate) fn maintenance(&self) -> anyhow::Result<MaintenanceSettings> {
        Ok(MaintenanceSettings {
            is_on: self.get(&MAINTENANCE)?,
            interval: self.get(&MAINTENANCE_INTERVAL_SECONDS)?,
            limits: Limits {
                budget: self.get(&MAINTENANCE_BUDGET_SECONDS)?,
                quiet_hours: self.find(&MAINTENANCE_QUIET_HOURS)?,
                ..Limits::default()
            },
        })
    }

    /// `LOG_LEVEL` and `LOG_FORMAT`.
    ///
    /// # Errors
    /// When one of them is invalid.
    pub(crate) fn logging(&self) -> anyhow::Result<(LevelFilter, Format)> {
        Ok((self.get(&LOG_LEVEL)?, self.get(&LOG_FORMAT)?))
    }

    /// The value of `variable`, else its default.
    ///
    /// # Errors
    /// When the value is invalid.
    pub(crate) fn get<T>(&self, variable: &Variable<T>) -> anyhow::Result<T> {
        Ok(self.parsed(variable)?.expect("there is a default"))
    }

    /// The value of `variable`, if one is given.
    ///
    /// # Errors
    /// When it is invalid.
    pub(crate) fn find<T>(&self, variable: &Optional<T>) -> anyhow::Result<Option<T>> {
        self.parsed(variable)
    }

    /// The text of `variable`, which may be secret; `None` if it is not set.
    pub(crate) fn text<const D: bool>(&self, variable: &Variable<String, D>) -> Option<&str> {
        self.value(variable).filter(|_| self.is_given(variable))
    }

    /// Whether a value is given for `variable`.
    pub(crate) fn is_given<T, const D: bool>(&self, variable: &Variable<T, D>) -> bool {
        self.setting(variable).origin != Origin::Default
    }

    fn parsed<T, const D: bool>(&self, variable: &Variable<T, D>) -> anyhow::Result<Option<T>> {
        let Some(value) = self.value(variable) else { return Ok(None) };
        variable.parse(value).map(Some).ok_or_else(|| self.invalid(variable))
    }

    /// The error of an invalid `variable`. A value from a file is not repeated: it may be a secret.
    fn invalid<T, const D: bool>(&self, variable: &Variable<T, D>) -> anyhow::Error {
        let (setting, expected) = (self.setting(variable), variable.expected());
        match (&setting.origin, &setting.value) {
            (Origin::DotEnv(..), _) | (_, None) => {
                anyhow!("{} is invalid: expected {expected}", setting.place())
            }
            (_, Some(value)) => anyhow!("{variable} is `{}`: expected {expected}", setting.row.shown(value)),
        }
    }

    /// The name of `variable` for errors: with file and line, if it is from a file.
    pub(crate) fn place<T, const D: bool>(&self, variable: &Variable<T, D>) -> String {
        self.setting(variable).place()
    }

    /// The token for Chroma servers: `flag`, else `CHROMA_TOKEN`.
    pub(crate) fn chroma_token<'a>(&'a self, flag: Option<&'a str>) -> Option<&'a str> {
        flag.or_else(|| self.text(&CHROMA_TOKEN))
    }

    fn value<T, const D: bool>(&self, variable: &Variable<T, D>) -> Option<&str> {
        self.setting(variable).value.as_deref()
    }

    fn setting<T, const D: bool>(&self, variable: &Variable<T, D>) -> &Setting {
        let name = variable.name();
        self.settings.iter().find(|setting| setting.row.name == name).expect("every row is loaded")
    }

    fn check(&self) -> anyhow::Result<()> {
        for service in Service::ALL {
            self.get(storage_type(service))?;
        }
        self.index_policy()?;
        self.maintenance()?;
        self.logging().map(drop)
    }
}

impl Setting {
    /// The name, with file and line if it is from a file.
    fn place(&self) -> String {
        match &self.origin {
            Origin::DotEnv(path, line) => format!("{} in line {line} of `{}`", self.row.name, path.display()),
            Origin::Flag | Origin::Environment | Origin::Default => self.row.name.to_owned(),
        }
    }
}

/// The value of a variable in the file. One that is not trusted is added to `remarks`.
fn from_file(
    dot_env: &DotEnv,
    row: &Row,
    remarks: &mut Vec<String>,
) -> anyhow::Result<Option<(String, Origin)>> {
    let name = row.name;
    let (Some((line, found)), Some(path)) = (dot_env.get(name, row.importance), dot_env.path()) else {
        return Ok(None);
    };
    match found {
        Found::Value(value) => Ok(Some((value, Origin::DotEnv(path.to_owned(), line)))),
        Found::Untrusted(why) => {
            remarks.push(format!("{name} in line {line} of `{}` is not used: {why}", path.display()));
            Ok(None)
        }
        Found::Unreadable => {
            let distrust = dot_env.distrust().map_or_else(String::new, |distrust| {
                format!(", and without references to environment variables, since {distrust}")
            });
            Err(anyhow!(
                "{name} in line {line} of `{}` cannot be read: expected {name}=value, in quotes if it begins or ends with spaces or has line breaks{distrust}",
                path.display()
            ))
        }
    }
}
