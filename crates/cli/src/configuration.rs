//! The current settings. Precedence: flag, environment, `.env` of the current folder or the nearest one above it,
//! default. An empty variable counts as not set. An invalid one is an error of the commands that use it.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use provision::DataDir;
use records::Service;
use tracing_subscriber::filter::LevelFilter;
use upkeep::{Policy, maintenance::Limits};

use crate::{
    arguments::SettingFlags,
    dotenv::{DotEnv, Found, Sensitivity},
    environment,
    exit::Failure,
    settings::{
        AnyVariable, InvalidSetting, Optional, Row, Variable,
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
    /// Why it has no value although it is set.
    problem: Option<String>,
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
    /// Whether the database is the demo's.
    is_demo: bool,
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
    /// When a flag is empty. Other problems of a setting are errors where it is used.
    pub(crate) fn load(flags: &SettingFlags) -> Result<Self, Failure> {
        let current = env::current_dir().context("failed to find the current folder")?;
        let dot_env = DotEnv::find(&current, environment::variable);
        let mut remarks = dot_env.remarks();
        let settings = table::variables()
            .map(|variable| setting(variable, flags, &dot_env, &mut remarks))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::usage)?;
        let missed = dot_env.skipped.iter().find(|skipped| skipped.is_missed);
        let missed = missed.map(|file| format!("`{}` was not read: {}", file.path.display(), file.reason));
        let distrust = dot_env.distrust().map(str::to_owned);
        Ok(Self { settings, remarks, distrust, missed, is_demo: false })
    }

    /// The same with the database of `panopticon demo`: what the settings say about storages and separate services, which
    /// have the user's data, is replaced by the defaults.
    pub(crate) fn for_demo(mut self) -> Self {
        let is_meant =
            |setting: &&mut Setting| table::places_of_records().any(|name| name == setting.row.name);
        for setting in self.settings.iter_mut().filter(is_meant) {
            let value = setting.row.default().expect("their defaults depend on nothing");
            *setting = Setting { row: setting.row, value, origin: Origin::Default, problem: None };
        }
        Self { missed: None, is_demo: true, ..self }
    }

    /// Whether the database is the demo's.
    pub(crate) fn is_demo(&self) -> bool {
        self.is_demo
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
    ///
    /// # Errors
    /// When the setting cannot be read, or its default cannot be found.
    pub(crate) fn data_dir(&self) -> Result<DataDir, InvalidSetting> {
        Ok(DataDir::new(self.value(&PANOPTICON_DATA_DIR)?.expect("there is a default")))
    }

    /// The user's copy of the model, if there is one.
    ///
    /// # Errors
    /// When the setting cannot be read.
    pub(crate) fn model_dir(&self) -> Result<Option<PathBuf>, InvalidSetting> {
        Ok(self.text(&PANOPTICON_MODEL_DIR)?.map(PathBuf::from))
    }

    /// The value of `variable`, which says where data are stored or read.
    ///
    /// # Errors
    /// When other users could have written it, or it cannot be read.
    pub(crate) fn trusted<const D: bool>(
        &self,
        variable: &Variable<String, D>,
    ) -> Result<Option<&str>, InvalidSetting> {
        self.refuse_untrusted(variable, "say where data are stored")?;
        self.text(variable)
    }

    /// Refuses the storage of `service` if other users could have chosen it.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_untrusted_storage(&self, service: Service) -> Result<(), InvalidSetting> {
        self.refuse_untrusted(storage_type(service), "say where data are stored")
    }

    fn refuse_untrusted<T, const D: bool>(
        &self,
        variable: &Variable<T, D>,
        purpose: &str,
    ) -> Result<(), InvalidSetting> {
        let setting = self.setting(variable);
        match (&setting.origin, &self.distrust) {
            (Origin::DotEnv(..), Some(distrust)) => {
                let flag = setting.row.flag.map_or_else(String::new, |flag| format!(", with {flag}"));
                Err(InvalidSetting(format!(
                    "{} is not trusted to {purpose}: {distrust}; set it in the environment{flag}, or make the file and its folder yours and writable only by you (chown, chmod go-w)",
                    setting.place()
                )))
            }
            _ => Ok(()),
        }
    }

    /// The settings that are refused where they are used, since other users could have written them: one sentence each.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let Some(distrust) = &self.distrust else { return Vec::new() };
        let is_refused = |setting: &&Setting| {
            setting.row.importance == Sensitivity::Checked && matches!(setting.origin, Origin::DotEnv(..))
        };
        let refused = self.settings.iter().filter(is_refused);
        refused
            .map(|setting| format!("{} is refused by commands that use it: {distrust}", setting.place()))
            .collect()
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
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn text<const D: bool>(
        &self,
        variable: &Variable<String, D>,
    ) -> Result<Option<&str>, InvalidSetting> {
        Ok(self.value(variable)?.filter(|_| self.is_given(variable)))
    }

    /// Whether a value is given for `variable`.
    pub(crate) fn is_given<T, const D: bool>(&self, variable: &Variable<T, D>) -> bool {
        self.setting(variable).origin != Origin::Default
    }

    fn parsed<T, const D: bool>(&self, variable: &Variable<T, D>) -> anyhow::Result<Option<T>> {
        let Some(value) = self.value(variable)? else { return Ok(None) };
        variable.parse(value).map(Some).ok_or_else(|| self.invalid(variable).into())
    }

    /// The error of an invalid `variable`. A value from a file is not repeated: it may be a secret.
    fn invalid<T, const D: bool>(&self, variable: &Variable<T, D>) -> InvalidSetting {
        let (setting, expected) = (self.setting(variable), variable.expected());
        InvalidSetting(match (&setting.origin, &setting.value) {
            (Origin::DotEnv(..), _) | (_, None) => {
                format!("{} is invalid: expected {expected}", setting.place())
            }
            (_, Some(value)) => format!("{variable} is `{}`: expected {expected}", setting.row.shown(value)),
        })
    }

    /// The name of `variable` for errors: with file and line, if it is from a file.
    pub(crate) fn place<T, const D: bool>(&self, variable: &Variable<T, D>) -> String {
        self.setting(variable).place()
    }

    /// The token for Chroma servers: `flag`, else `CHROMA_TOKEN`.
    ///
    /// # Errors
    /// When other users could have written the variable, or it cannot be read.
    pub(crate) fn chroma_token<'a>(
        &'a self,
        flag: Option<&'a str>,
    ) -> Result<Option<&'a str>, InvalidSetting> {
        if flag.is_some() {
            return Ok(flag);
        }
        self.refuse_untrusted(&CHROMA_TOKEN, "give access to a server")?;
        self.text(&CHROMA_TOKEN)
    }

    fn value<T, const D: bool>(&self, variable: &Variable<T, D>) -> Result<Option<&str>, InvalidSetting> {
        let setting = self.setting(variable);
        match &setting.problem {
            Some(problem) => Err(InvalidSetting(problem.clone())),
            None => Ok(setting.value.as_deref()),
        }
    }

    fn setting<T, const D: bool>(&self, variable: &Variable<T, D>) -> &Setting {
        let name = variable.name();
        self.settings.iter().find(|setting| setting.row.name == name).expect("every row is loaded")
    }

    /// Checks the settings that more than one command uses.
    ///
    /// # Errors
    /// When one of them is invalid, or any cannot be read.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if let Some(problem) = self.settings.iter().find_map(|setting| setting.problem.clone()) {
            return Err(InvalidSetting(problem).into());
        }
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

/// The value of `variable` and its origin.
///
/// # Errors
/// When its flag is empty.
fn setting(
    variable: &'static dyn AnyVariable,
    flags: &SettingFlags,
    dot_env: &DotEnv,
    remarks: &mut Vec<String>,
) -> anyhow::Result<Setting> {
    let row = variable.row();
    if let Some((flag, value)) = row.flag.and_then(|flag| Some((flag, flags.value(flag)?))) {
        if value.trim().is_empty() {
            return Err(anyhow!("{flag} is empty: give it a value, or leave it out"));
        }
        return Ok(Setting { row, value: Some(value.to_owned()), origin: Origin::Flag, problem: None });
    }
    if let Some(value) = env::var_os(row.name) {
        match value.into_string() {
            Ok(value) if value.trim().is_empty() => {}
            Ok(value) => {
                return Ok(Setting { row, value: Some(value), origin: Origin::Environment, problem: None });
            }
            Err(_) => {
                let problem = Some(format!("{} is not Unicode text", row.name));
                return Ok(Setting { row, value: None, origin: Origin::Environment, problem });
            }
        }
    }
    if let Some(setting) = from_file(dot_env, variable, remarks) {
        return Ok(setting);
    }
    let (value, problem) = match row.default() {
        Ok(value) => (value, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Setting { row, value, origin: Origin::Default, problem })
}

/// The variable as the file sets it. A value that is not trusted, or another program's, is added to `remarks`.
fn from_file(
    dot_env: &DotEnv,
    variable: &'static dyn AnyVariable,
    remarks: &mut Vec<String>,
) -> Option<Setting> {
    let row = variable.row();
    let ((line, found), path) = (dot_env.get(row.name, row.importance)?, dot_env.path()?);
    let place = format!("{} in line {line} of `{}`", row.name, path.display());
    let set = |value, problem| {
        let origin = Origin::DotEnv(path.to_owned(), line);
        Some(Setting { row, value, origin, problem })
    };
    match found {
        Found::Value(value) if !row.is_generic || variable.accepts(&value) => set(Some(value), None),
        Found::Value(_) => {
            let expected = variable.expected();
            remarks.push(format!(
                "{place} is not used, since it seems to be for another program: expected {expected}"
            ));
            None
        }
        Found::Untrusted(why) => {
            remarks.push(format!("{place} is not used: {why}"));
            None
        }
        Found::Unreadable if row.is_generic => {
            remarks.push(format!("{place} is not used: it cannot be read"));
            None
        }
        Found::Unreadable => {
            let distrust = dot_env.distrust().map_or_else(String::new, |distrust| {
                format!(", and without references to environment variables, since {distrust}")
            });
            let problem = format!(
                "{place} cannot be read: expected {}=value, in quotes if it begins or ends with spaces or has line breaks{distrust}",
                row.name
            );
            set(None, Some(problem))
        }
    }
}
