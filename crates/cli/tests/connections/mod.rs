//! Nothing is sent to anyone but the configured servers: no telemetry, no search for updates.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::demo::fresh_data_dir;

/// Uses every command while the services run. A judge's text comes from standard input.
const ALL_COMMANDS: &str = r#"
program=$1 source=$2
export QUERY_PORT=0 EVALUATION_PORT=0 JUDGE_PORT=0 GATEWAY_PORT=18441
"$program" serve >serve.log 2>&1 &
serving=$!
until "$program" health gateway; do kill -0 $serving; sleep 0.2; done
"$program" --version --json
"$program" config
"$program" inspect "$source"
"$program" dump "$source"
"$program" migrate query --from "$source"
"$program" verify query --from "$source"
"$program" search query 'fusion power'
"$program" index status
"$program" index plan
"$program" index apply
"$program" index tune
"$program" doctor || [ $? = 6 ]
"$program" maintain --once
echo 'Score: 7' | "$program" judge parse
"$program" backup saved
"$program" generate man manual
"$program" db url
kill $serving
wait $serving
"$program" demo
"$program" db stop
"#;

/// Runs a shell script where every packet that leaves the machine is seen; returns their destinations. `None` where the
/// kernel allows this process no network namespace, as in many containers.
fn destinations(folder: &Path, data_dir: &Path, script: &str) -> Option<(Output, Vec<String>)> {
    // An ordinary user remains one, so that the embedded server is started as by that user.
    let is_root = rustix::process::geteuid().is_root();
    let user: &[&str] = if is_root { &[] } else { &["--map-current-user", "--keep-caps"] };
    let unshare = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.arg("--net").args(user).args(command).current_dir(folder).env_clear();
        unshare.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        unshare
    };
    if !unshare(&["true"]).output().is_ok_and(|tried| tried.status.success()) {
        test_support::not_permitted("this process may make no network namespace");
        return None;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (watch, found) = (here.join("tests/connections/watch.py"), folder.join("found"));
    let mut command = unshare(&["python3"]);
    command.args([&watch, &found]).args(["sh", "-euc", script, "sh", env!("CARGO_BIN_EXE_panopticon")]);
    command.arg(here.join("../../sample/query_storage_data")).env("PANOPTICON_DATA_DIR", data_dir);
    let output = command.output().expect("it starts");
    let found = fs::read_to_string(found).expect("the watch has ended");
    Some((output, found.lines().map(str::to_owned).collect()))
}

#[test]
fn no_command_connects_to_a_server_that_is_not_configured() {
    let (folder, data_dir) = (tempfile::tempdir().expect("a folder"), fresh_data_dir());
    let Some((output, found)) = destinations(folder.path(), data_dir.path(), ALL_COMMANDS) else { return };
    // Only shown when the script fails; without the file, its own output says why.
    let served = fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{served}");
    assert_eq!(found, [] as [&str; 0]);
}

#[test]
fn configured_server_and_downloads_are_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let seen = |script| destinations(folder.path(), folder.path(), script).map(|(_, found)| found);
    let script = "! DATABASE_URL=postgresql://user@192.0.2.7/x \"$1\" search query x";
    let Some(found) = seen(script) else { return };
    assert_eq!(found, ["tcp 192.0.2.7 5432"], "the test sees connections");
    let proxy = "! https_proxy=http://192.0.2.8:99 PIP_RETRIES=0 \"$1\" demo";
    let found = seen(proxy).expect("namespaces are allowed");
    assert!(found.contains(&"tcp 192.0.2.8 99".to_owned()), "the model's download: {found:?}");
}
