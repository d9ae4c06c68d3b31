//! Variables and flags that fix an error. Libraries do not know them, so their messages do not name them.

use std::error::Error;

use migrate::Error as MigrateError;
use provision::{Content, Error as SetupError};
use store::postgres::ConnectionFault;
use upkeep::doctor::ExamineError;

use crate::settings::table::{DATABASE_URL, PANOPTICON_DATA_DIR, PANOPTICON_MODEL_DIR};

/// The text to append to the message of `error` itself, without its causes.
pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(remedy) = store::tls::remedy(error) {
        return Some(format!(": {remedy}"));
    }
    if let Some(fault) = downcast::<ConnectionFault>(error) {
        return fault.is_in_url().then(|| format!(" in {DATABASE_URL}"));
    }
    if let Some(error) = downcast::<SetupError>(error) {
        return of_setup(error);
    }
    if let Some(error) = downcast::<MigrateError>(error) {
        return of_migration(error);
    }
    if let Some(ExamineError::Store(error)) = downcast(error) {
        return of_store(error);
    }
    of_store(downcast(error)?)
}

/// Large errors are boxed.
fn downcast<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    error.downcast_ref().or_else(|| error.downcast_ref::<Box<E>>().map(AsRef::as_ref))
}

fn of_setup(error: &SetupError) -> Option<String> {
    Some(match error {
        SetupError::NoDataDir => format!(": set {PANOPTICON_DATA_DIR} to a folder"),
        SetupError::NoPip { content: Content::Model, .. } => {
            format!("; or set {PANOPTICON_MODEL_DIR} to a folder with model.safetensors and tokenizer.json")
        }
        SetupError::NoPip { content: Content::PostgreSql, .. } => {
            format!("; or install PostgreSQL with pgvector, or set {DATABASE_URL}")
        }
        SetupError::Platform { .. } | SetupError::NoAccount => format!(", or set {DATABASE_URL}"),
        SetupError::ClusterVersion { .. }
        | SetupError::VersionFile { .. }
        | SetupError::OtherOwner { .. }
        | SetupError::NotRegularFile { .. }
        | SetupError::NotFolder { .. } => format!(", or set {PANOPTICON_DATA_DIR} to another folder"),
        SetupError::Unreachable { .. } => format!(
            ": set {PANOPTICON_DATA_DIR} to a folder whose parents all users may enter, such as /var/lib/panopticon"
        ),
        SetupError::OthersWrite { .. } => {
            format!(", or set {PANOPTICON_DATA_DIR} to a folder that no other user can write")
        }
        SetupError::SocketFolder { .. } => {
            format!(", or set {PANOPTICON_DATA_DIR} to a folder with a short path")
        }
        _ => return None,
    })
}

fn of_migration(error: &MigrateError) -> Option<String> {
    let undo = |run| format!("undo it with `panopticon migrate --undo {run}`");
    Some(match error {
        MigrateError::Database(error) => return of_store(error),
        MigrateError::Unfinished(job) => format!(", or {}", undo(job.run_id)),
        MigrateError::OtherMapping(job) => {
            format!(": use the same options, another --table, or {}", undo(job.run_id))
        }
        MigrateError::Overlap { .. } => " with --table".to_owned(),
        MigrateError::Served { .. } => {
            " with --table, or copy both with `migrate collections --into TABLE --collection-column NAME`"
                .to_owned()
        }
        _ => return None,
    })
}

fn of_store(error: &store::Error) -> Option<String> {
    Some(match error {
        store::Error::OwnTable { .. } => ": name another with --table".to_owned(),
        store::Error::Row { .. } => ", or reject such records with --on-reject quarantine".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::exit::{Failure, chain};

    #[test]
    fn remedy_precedes_the_causes_for_every_wrapping_of_the_error() {
        let own = || store::Error::OwnTable { table: "t".to_owned() };
        let text = "table `t` is one of Panopticon's own: name another with --table";
        assert_eq!(Failure::from(own()).message(), text);
        assert_eq!(Failure::from(migrate::Error::Database(Box::new(own()))).message(), text);
        let boxed =
            migrate::Error::Store { operation: "read", table: "t".to_owned(), source: Box::new(own()) };
        assert_eq!(Failure::from(boxed).message(), format!("failed to read table `t`: {text}"));
        assert_eq!(Failure::from(upkeep::doctor::ExamineError::Store(own())).message(), text);
    }

    #[test]
    fn certificate_of_postgresql_without_a_name_that_counts_is_named_with_what_to_do() {
        use rustls::{CertificateError, Error, pki_types::ServerName};
        let expected = ServerName::try_from("localhost").expect("a name");
        let rejected = CertificateError::NotValidForNameContext { expected, presented: Vec::new() };
        let source = sqlx::Error::Io(std::io::Error::other(Error::InvalidCertificate(rejected)));
        let error = store::Error::connect("localhost:5432/d".to_owned(), source);
        let text = chain(&error);
        assert_eq!(text.matches("-addext subjectAltName=DNS:HOST").count(), 1, "{text}");
        assert!(
            text.starts_with("failed to connect to PostgreSQL at localhost:5432/d: TLS failed"),
            "{text}"
        );
    }

    #[test]
    fn remedies_of_setup_name_variables() {
        let none = provision::Error::NoDataDir;
        let expected = "no home folder to keep data in: set PANOPTICON_DATA_DIR to a folder";
        assert_eq!(chain(&none), expected);
        let platform = chain(&provision::Error::Platform { os: "plan9", arch: "vax" });
        assert!(platform.ends_with("or newer with pgvector, or set DATABASE_URL"), "{platform}");
    }
}
