//! Settings: where they come from, what is refused, what is never shown.

use serde_json::Value;

use crate::{panopticon, run};

#[test]
fn flag_beats_environment_beats_dot_env_and_config_says_which() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dot_env = "DATABASE_URL=postgresql://u:s3cret@dotenv/d\nLOG_LEVEL=ERROR\nQUERY_STORAGE_TYPE=chroma\nCHROMA_TOKEN=s3cret\n";
    std::fs::write(folder.path().join(".env"), dot_env).expect("the file is written");
    let below = folder.path().join("below");
    std::fs::create_dir(&below).expect("a folder is made");
    let mut command =
        panopticon(&below, &["config", "--json", "--database-url", "postgresql://u:s3cret@flag/d"]);
    let ended =
        run(command.env("LOG_LEVEL", "INFO").env("DATABASE_URL", "postgresql://u:s3cret@environment/d"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let settings: Value = serde_json::from_str(&ended.stdout).expect("one object");
    assert_eq!(settings["DATABASE_URL"]["value"], "postgresql://u:***@flag/d");
    assert_eq!(settings["DATABASE_URL"]["origin"], "flag");
    assert_eq!(settings["LOG_LEVEL"]["origin"], "environment");
    assert_eq!(settings["QUERY_STORAGE_TYPE"]["value"], "chroma");
    assert_eq!(settings["CHROMA_TOKEN"]["value"], "***");
    let origin = settings["QUERY_STORAGE_TYPE"]["origin"].as_str().expect("an origin");
    assert!(origin.ends_with(".env"), "{origin}");
    assert_eq!(settings["JUDGE_STORAGE_TYPE"]["origin"], "default");
    assert!(!ended.stdout.contains("s3cret"), "{ended:?}");
    let text = run(&mut panopticon(folder.path(), &["config"]));
    assert!(text.stdout.contains("u:***@dotenv") && !text.stdout.contains("s3cret"), "{text:?}");
}

#[test]
fn wrong_settings_stop_every_command_with_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, value, code, expected) in [
        ("DATABASE_URL", "", 2, "DATABASE_URL is set but empty"),
        ("DATABASE_URL", "mysql://u:s3cret@h/d", 2, "expected postgresql://"),
        (
            "DATABASE_URL",
            "postgresql://u:s3cret@127.0.0.1:1/d",
            1,
            "failed to connect to PostgreSQL at 127.0.0.1:1/d",
        ),
        ("CHROMA_TOKEN", " ", 2, "CHROMA_TOKEN is set but empty"),
        ("QUERY_STORAGE_TYPE", "postgress", 2, "expected `postgres` or `chroma`"),
        ("QUERY_STORAGE_TYPE", "chroma", 2, "QUERY_STORAGE_TYPE is `chroma`"),
        ("LOG_LEVEL", "LOUD", 2, "LOG_LEVEL is `LOUD`"),
    ] {
        let ended = run(panopticon(folder.path(), &["search", "query", "x"]).env(name, value));
        assert_eq!(ended.code, code, "{name}={value}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{name}={value}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{name}={value}: {ended:?}");
        assert!(!ended.stderr.contains("s3cret") && ended.stdout.is_empty(), "{name}={value}: {ended:?}");
    }
}
