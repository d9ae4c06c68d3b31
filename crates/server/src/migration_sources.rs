//! From where the console may start migrations: only from what the operator has named.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Folders with Chroma directories, and Chroma servers. None by default: a user of the console could otherwise read
/// every folder that the process can read, and send requests to every host that it reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationSources {
    folders: Vec<PathBuf>,
    /// Without a slash at the end.
    servers: Vec<String>,
}

/// An invalid source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected absolute paths of folders, and URLs of Chroma servers without user and password, separated by commas"
)]
pub struct InvalidSource;

/// A source that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedSource {
    /// A directory, without symbolic links.
    Directory(PathBuf),
    /// The URL of a server.
    Server(String),
}

impl MigrationSources {
    /// Parses folders and URLs, separated by commas.
    ///
    /// # Errors
    /// When a path is not absolute, or a URL has a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, InvalidSource> {
        let mut sources = Self::default();
        for source in text.split(',').map(str::trim) {
            if is_url(source) {
                let url = reqwest::Url::parse(source).map_err(|_| InvalidSource)?;
                let has_secrets = !url.username().is_empty() || url.password().is_some();
                if has_secrets || url.query().is_some() || url.fragment().is_some() {
                    return Err(InvalidSource);
                }
                sources.servers.push(without_slash(source).to_owned());
            } else if Path::new(source).is_absolute() {
                sources.folders.push(PathBuf::from(source));
            } else {
                return Err(InvalidSource);
            }
        }
        Ok(sources)
    }

    /// Whether nothing is allowed.
    pub(crate) fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.servers.is_empty()
    }

    /// What is allowed, as it was named.
    pub(crate) fn names(&self) -> Vec<String> {
        let folders = self.folders.iter().map(|folder| folder.display().to_string());
        folders.chain(self.servers.iter().cloned()).collect()
    }

    /// The directory or server `given`, if it is allowed: one of the servers, or a directory in one of the folders, wherever
    /// symbolic links lead. What is not allowed looks the same whether it exists or not. Blocks.
    pub(crate) fn find(&self, given: &str) -> Option<AllowedSource> {
        let given = given.trim();
        if is_url(given) {
            let server = self.servers.iter().find(|server| *server == without_slash(given))?;
            return Some(AllowedSource::Server(server.clone()));
        }
        // A relative path would depend on where the process was started.
        let path = Path::new(given);
        let found = if path.is_absolute() { directory(path).ok()? } else { return None };
        // A folder that does not exist allows nothing.
        let allowed = self.folders.iter().filter_map(|folder| folder.canonicalize().ok());
        allowed.into_iter().any(|folder| found.starts_with(folder)).then_some(AllowedSource::Directory(found))
    }
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme))
}

fn without_slash(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn directory(path: &Path) -> io::Result<PathBuf> {
    let path = path.canonicalize()?;
    if path.is_dir() { Ok(path) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_what_is_in_a_named_folder_is_found_wherever_links_lead() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().canonicalize().expect("it exists");
        for name in ["allowed/one", "allowed-too", "other"] {
            fs::create_dir_all(root.join(name)).expect("it is made");
        }
        fs::write(root.join("allowed/file"), "x").expect("it is written");
        symlink(root.join("other"), root.join("allowed/link")).expect("a link is made");
        symlink(root.join("allowed"), root.join("named")).expect("a link is made");
        let named = root.join("named").display().to_string();
        let sources = MigrationSources::parse(&format!("{named}, http://chroma:8000/")).expect("it parses");
        let find = |name: &str| sources.find(&root.join(name).display().to_string());
        let one = AllowedSource::Directory(root.join("allowed/one"));
        assert_eq!((find("allowed/one"), find("named/one")), (Some(one.clone()), Some(one)));
        assert_eq!(find("named"), Some(AllowedSource::Directory(root.join("allowed"))));
        for name in [
            "other",
            "allowed/link",
            "allowed/../other",
            "allowed-too",
            "allowed/file",
            "allowed/none",
            "none",
        ] {
            assert_eq!(find(name), None, "{name}");
        }
        assert_eq!(sources.find("allowed/one"), None, "no path is relative");
        assert_eq!(sources.find(""), None);
        let server = AllowedSource::Server("http://chroma:8000".to_owned());
        assert_eq!(sources.find(" http://chroma:8000 "), Some(server));
        for url in [
            "http://chroma:8001",
            "http://chroma:8000/x",
            "http://chroma:8000@evil",
            "https://chroma:8000",
            "HTTP://chroma:8000",
            "http://chroma:80001",
        ] {
            assert_eq!(sources.find(url), None, "{url}");
        }
        assert_eq!(MigrationSources::default().find(&root.display().to_string()), None);
    }

    #[test]
    fn sources_are_absolute_paths_and_urls_without_secrets() {
        assert_eq!(MigrationSources::parse("/data,/more").map(|sources| sources.names().len()), Ok(2));
        for text in
            ["", "data", "/a,,/b", "http://", "http://u:p@host", "http://host?x=1", "ftp://host", "~/x"]
        {
            assert_eq!(MigrationSources::parse(text), Err(InvalidSource), "{text}");
        }
    }
}
