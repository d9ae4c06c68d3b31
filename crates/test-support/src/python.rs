//! Python packages of pinned versions, each set in a separate folder.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use crate::{data_dir, process::run};

/// The folder `name` with `packages`, such as `["llmock==0.2.2"]`, which must include all dependencies; downloaded at the
/// first call on a machine.
pub fn python_packages(name: &str, packages: &[&str]) -> PathBuf {
    let folder = data_dir().path().to_owned();
    fs::create_dir_all(&folder).expect("the data folder can be made");
    let target = folder.join(name);
    // Locked until the end of the function, so that one test downloads and the others wait.
    let lock = File::create(folder.join(format!("{name}.lock"))).expect("the lock file can be made");
    lock.lock().expect("the lock can be held");
    if !target.is_dir() {
        println!("downloading {name}");
        let scratch = tempfile::tempdir_in(&folder).expect("a temporary folder");
        let unpacked = scratch.path().join("packages");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--target"]).arg(&unpacked).args(packages);
        run(&mut pip).unwrap_or_else(|error| panic!("{name} downloads: {error}"));
        fs::rename(&unpacked, &target).expect("the packages can be moved");
    }
    target
}
