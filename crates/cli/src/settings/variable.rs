//! An environment variable: its row in the table of settings.

use std::fmt;

use provision::Error;

use crate::{dotenv::Sensitivity, masking};

/// An environment variable with values of type `T`. It has a default, unless it is [`Optional`].
#[derive(Debug)]
pub(crate) struct Variable<T, const HAS_DEFAULT: bool = true> {
    row: Row,
    kind: Kind<T>,
}

/// A variable without a default.
pub(crate) type Optional<T> = Variable<T, false>;

/// The valid values of a variable.
#[derive(Debug)]
pub(crate) struct Kind<T> {
    /// For error messages.
    pub(super) expected: &'static str,
    /// Parses a valid value.
    pub(super) parse: fn(&str) -> Option<T>,
}

/// The properties of a variable that do not depend on its type.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// For users: one or two sentences, without the default.
    pub(crate) doc: &'static str,
    /// The flag that overrides it.
    pub(crate) flag: Option<&'static str>,
    /// Whether it is trusted in a file that other users can write.
    pub(crate) importance: Sensitivity,
    /// Whether other programs have a variable of this name, so that an invalid value in a file is one of theirs.
    pub(crate) is_generic: bool,
    mask: Mask,
    default: Fallback,
    /// What happens without the variable, if a default value does not express it.
    otherwise: Option<&'static str>,
}

/// How much of a value is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mask {
    Nothing,
    /// Passwords in a database URL.
    DatabaseUrl,
    /// The same for each URL of a list.
    DatabaseUrls,
    /// Possible secrets in a URL; a path is shown.
    UrlOrPath,
    /// The same for each URL or path of a list.
    UrlList,
    /// All of it.
    All,
}

#[derive(Clone, Copy, Debug)]
enum Fallback {
    None,
    Text(&'static str),
    Computed(fn() -> String),
    Found(fn() -> Result<String, Error>),
}

/// A variable without a default and without secrets.
pub(super) const fn variable<T>(kind: Kind<T>, doc: &'static str) -> Optional<T> {
    let (name, mask, default) = ("", Mask::Nothing, Fallback::None);
    let importance = Sensitivity::Delicate;
    Variable {
        row: Row { name, doc, flag: None, importance, is_generic: false, mask, default, otherwise: None },
        kind,
    }
}

impl<T> Kind<T> {
    pub(super) const fn new(expected: &'static str, parse: fn(&str) -> Option<T>) -> Self {
        Self { expected, parse }
    }
}

impl<T> Optional<T> {
    const fn with(self, default: Fallback) -> Variable<T> {
        Variable { row: Row { default, ..self.row }, kind: self.kind }
    }

    pub(super) const fn or(self, default: &'static str) -> Variable<T> {
        self.with(Fallback::Text(default))
    }

    pub(super) const fn or_else(self, default: fn() -> String) -> Variable<T> {
        self.with(Fallback::Computed(default))
    }

    /// With a default that depends on the machine, which `otherwise` describes.
    pub(super) const fn or_found(
        self,
        otherwise: &'static str,
        default: fn() -> Result<String, Error>,
    ) -> Variable<T> {
        self.otherwise(otherwise).with(Fallback::Found(default))
    }
}

impl<T, const HAS_DEFAULT: bool> Variable<T, HAS_DEFAULT> {
    pub(super) const fn named(self, name: &'static str) -> Self {
        Self { row: Row { name, ..self.row }, ..self }
    }

    pub(super) const fn flag(self, flag: &'static str) -> Self {
        Self { row: Row { flag: Some(flag), ..self.row }, ..self }
    }

    /// No value of it can do harm.
    pub(super) const fn harmless(self) -> Self {
        Self { row: Row { importance: Sensitivity::Harmless, ..self.row }, ..self }
    }

    /// The code that uses it checks whether other users could have written it, and refuses a harmful value: ignoring the
    /// value would store data in a place that the file does not name.
    pub(super) const fn checked(self) -> Self {
        Self { row: Row { importance: Sensitivity::Checked, ..self.row }, ..self }
    }

    /// Other programs have a variable of this name.
    pub(super) const fn generic(self) -> Self {
        Self { row: Row { is_generic: true, ..self.row }, ..self }
    }

    pub(super) const fn mask(self, mask: Mask) -> Self {
        Self { row: Row { mask, ..self.row }, ..self }
    }

    pub(super) const fn otherwise(self, otherwise: &'static str) -> Self {
        Self { row: Row { otherwise: Some(otherwise), ..self.row }, ..self }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.row.name
    }

    pub(crate) const fn expected(&self) -> &'static str {
        self.kind.expected
    }

    pub(crate) fn parse(&self, text: &str) -> Option<T> {
        (self.kind.parse)(text)
    }
}

/// Its name, for messages.
impl<T, const HAS_DEFAULT: bool> fmt::Display for Variable<T, HAS_DEFAULT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A variable of any type.
pub(crate) trait AnyVariable: Sync {
    fn row(&self) -> &Row;

    /// Whether `text` is a valid value.
    fn accepts(&self, text: &str) -> bool;

    /// The valid values, for messages.
    fn expected(&self) -> &'static str;
}

impl<T, const HAS_DEFAULT: bool> AnyVariable for Variable<T, HAS_DEFAULT> {
    fn row(&self) -> &Row {
        &self.row
    }

    fn accepts(&self, text: &str) -> bool {
        self.parse(text).is_some()
    }

    fn expected(&self) -> &'static str {
        self.kind.expected
    }
}

impl Row {
    /// The default value.
    ///
    /// # Errors
    /// When it depends on the machine and cannot be found.
    pub(crate) fn default(&self) -> Result<Option<String>, Error> {
        Ok(match self.default {
            Fallback::None => None,
            Fallback::Text(text) => Some(text.to_owned()),
            Fallback::Computed(default) => Some(default()),
            Fallback::Found(default) => Some(default()?),
        })
    }

    /// The default as documentation shows it, the same on all machines.
    pub(crate) fn documented_default(&self) -> Option<String> {
        match (self.otherwise, self.default) {
            (Some(otherwise), _) => Some(otherwise.to_owned()),
            (None, _) => self.default().ok().flatten(),
        }
    }

    /// What happens without the variable, if a default value does not express it.
    pub(crate) fn otherwise(&self) -> Option<&'static str> {
        self.otherwise
    }

    /// `value` with its secrets masked.
    pub(crate) fn shown(&self, value: &str) -> String {
        match self.mask {
            Mask::Nothing => value.to_owned(),
            Mask::DatabaseUrl => masking::database_url(value),
            Mask::DatabaseUrls => masking::database_urls(value),
            Mask::UrlOrPath => masking::url_or_path(value),
            Mask::UrlList => value.split(',').map(masking::url_or_path).collect::<Vec<_>>().join(","),
            Mask::All => masking::MASK.to_owned(),
        }
    }
}
