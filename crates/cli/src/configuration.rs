//! The settings in force. Precedence: flag, environment, `.env` of the current folder or the nearest one above it,
//! default. A variable that is set but empty is an error, never the default.

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
    /// Nothing said otherwise.
    Default,
}

/// What holds for a variable.
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
    /// From the end of a round to the next.
    pub(crate) interval: Duration,
    /// When it may work.
    pub(crate) limits: Limits,
}

impl Configuration {
    /// Gathers the settings.
    ///
    /// # Errors
    /// When a value is empty, not Unicode, or none of those allowed; or a line of `.env` that gives one cannot be read.
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
        let doubt = dot_env.doubt().map(str::to_owned);
        let configuration = Self { settings, remarks, doubt, missed };
        configuration.check().map_err(Failure::usage)?;
        Ok(configuration)
    }

    /// What of `.env` files was passed over, a sentence each, without anything that they say.
    pub(crate) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Refuses to take the default of `variable` where a file of the user's, which may say otherwise, could not be read:
    /// data would go to a database that the user did not name.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubtful_default<T, const D: bool>(
        &self,
        variable: &Variable<T, D>,
    ) -> Result<(), Failure> {
        match &self.missed {
            Some(missed) if !self.is_given(variable) => Err(Failure::usage(anyhow!(
                "{variable} may be set in a file that cannot be used: {missed}; set it in the environment, or mend the file"
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

    /// Where Panopticon keeps its own things.
    pub(crate) fn data_dir(&self) -> DataDir {
        DataDir::new(self.value(&PANOPTICON_DATA_DIR).expect("there is a default"))
    }

    /// The user's own copy of the model, if there is one.
    pub(crate) fn model_dir(&self) -> Option<PathBuf> {
        self.text(&PANOPTICON_MODEL_DIR).map(PathBuf::from)
    }

    /// Refuses `variable`, a directory on which a program of ours is to run, if others can have written where it is set:
    /// what they put into that directory would run as us.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubted_directory(&self, variable: &Optional<String>) -> Result<(), Failure> {
        self.refuse_doubted(variable, "a directory that Chroma is to open")
    }

    /// Refuses `variable`, a server, if others can have written where it is set, and it would get a token that they do not
    /// have: one of the flag `token` or the environment.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubted_server(
        &self,
        variable: &Optional<String>,
        token: Option<&str>,
    ) -> Result<(), Failure> {
        let is_in_file = |variable| matches!(self.setting(variable).origin, Origin::DotEnv(..));
        let is_token_in_file = token.is_none() && is_in_file(&CHROMA_TOKEN);
        match (self.chroma_token(token).is_some(), is_token_in_file, is_in_file(variable)) {
            (true, false, true) => self.refuse_doubted(variable, "a server that gets your token"),
            (true, true, false) => self.refuse_doubted(
                &CHROMA_TOKEN,
                "whose data a server that it does not name is to show and change",
            ),
            _ => Ok(()),
        }
    }

    /// Refuses the store of `service` if others can have written which one it is.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubted_storage(&self, service: Service) -> Result<(), Failure> {
        self.refuse_doubted(storage_type(service), "where data are stored")
    }

    /// Refuses `url`, that of `DATABASE_URL`, if others can have written it, and its server would be shown a secret that
    /// they do not have.
    ///
    /// # Errors
    /// In that case.
    pub(crate) fn refuse_doubted_database(&self, url: &DatabaseUrl) -> Result<(), Failure> {
        match url.secret_from_elsewhere(libpq()) {
            Some(secret) => {
                let purpose = format!("a server that is shown {secret}, which is not from that file");
                self.refuse_doubted(&DATABASE_URL, &purpose)
            }
            None => Ok(()),
        }
    }

    fn refuse_doubted<T, const D: bool>(
        &self,
        variable: &Variable<T, D>,
        purpose: &str,
    ) -> Result<(), Failure> {
        let setting = self.setting(variable);
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

    /// The value of `variable` that is given, else its default.
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

    /// The text that is given for `variable`, which may be secret.
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

    /// `variable` as errors name it: with file and line, if it is from one.
    pub(crate) fn place<T, const D: bool>(&self, variable: &Variable<T, D>) -> String {
        self.setting(variable).place()
    }

    /// The token for Chroma servers: what a flag says, else `CHROMA_TOKEN`.
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
    /// The name, with file and line if it is from one.
    fn place(&self) -> String {
        match &self.origin {
            Origin::DotEnv(path, line) => format!("{} in line {line} of `{}`", self.row.name, path.display()),
            Origin::Flag | Origin::Environment | Origin::Default => self.row.name.to_owned(),
        }
    }
}

/// What the file says of a variable. One that is not believed is remarked upon.
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
        Found::Doubted(why) => {
            remarks.push(format!("{name} in line {line} of `{}` is not used: {why}", path.display()));
            Ok(None)
        }
        Found::Unreadable => {
            let doubt = dot_env.doubt().map_or_else(String::new, |doubt| {
                format!(", and without variables of the environment, since {doubt}")
            });
            Err(anyhow!(
                "{name} in line {line} of `{}` cannot be read: expected {name}=value, in quotes if it has blanks at its ends or line breaks{doubt}",
                path.display()
            ))
        }
    }
}
