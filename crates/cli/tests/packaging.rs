//! The files of `packaging`, of the release workflow and of the packages: what they name exists.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
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
