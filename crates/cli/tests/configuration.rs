//! Settings: their origins, invalid values, and masked secrets.

use serde_json::{Value, json};

use crate::{panopticon, run};

#[test]
fn flag_overrides_environment_overrides_dot_env_and_config_shows_the_origin() {
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
    // A setting that is not set shows its default, or has neither value nor origin.
    assert_eq!(settings["GATEWAY_PORT"], json!({"value": "8000", "origin": "default"}));
    assert_eq!(settings["API_KEY"], json!({"value": null, "origin": null}));
    for (name, setting) in settings.as_object().expect("an object") {
        let is_embedded = setting["origin"] == "default: the embedded PostgreSQL";
        assert_eq!(
            setting["value"].is_null() && !is_embedded,
            setting["origin"].is_null(),
            "{name}: {setting}"
        );
    }
    let text = run(&mut panopticon(folder.path(), &["config"]));
    assert!(
        text.stdout.lines().any(|line| line == "API_KEY                               (not set)"),
        "{text:?}"
    );
    assert!(text.stdout.contains("u:***@dotenv") && !text.stdout.contains("s3cret"), "{text:?}");
}

#[test]
fn json_escapes_control_characters_and_keeps_the_values() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let odd = "a\u{202e}b\u{9b}2J\u{85}\u{7f}\u{2066}\u{2028}\u{200b}\u{feff}é";
    let ended = run(panopticon(folder.path(), &["config", "--json"]).env("PANOPTICON_ALLOWED_HOSTS", odd));
    assert_eq!(ended.code, 0, "{ended:?}");
    let raw: Vec<char> = ended.stdout.chars().filter(|c| !c.is_ascii() || c.is_control()).collect();
    assert_eq!(raw, ['é', '\n'], "{ended:?}");
    let settings: Value = serde_json::from_str(&ended.stdout).expect("one object");
    assert_eq!(settings["PANOPTICON_ALLOWED_HOSTS"]["value"], odd);
}

/// The defaults in the documentation are those of `config`.
#[test]
fn config_shows_the_documented_defaults() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = run(&mut panopticon(folder.path(), &["config", "--json"]));
    let settings: Value = serde_json::from_str(&ended.stdout).expect("one object");
    let embedded = json!({"value": null, "origin": "default: the embedded PostgreSQL"});
    assert_eq!(settings["DATABASE_URL"], embedded);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/settings.md");
    let table = std::fs::read_to_string(path).expect("it is there");
    let mut shown = 0;
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, name, _flag, default, ..] = cells[..] else { continue };
        let Some(setting) = settings.get(name).filter(|setting| setting["value"] == default) else {
            continue;
        };
        assert_eq!(setting["origin"], "default", "{line}");
        shown += 1;
    }
    let with_default = settings.as_object().expect("an object").values();
    let with_default = with_default.filter(|setting| setting["origin"] == "default").count();
    assert!(shown == with_default && shown > 30, "{shown} of {with_default}: {settings:#}");
}

#[test]
fn invalid_settings_end_a_command_with_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, value, code, expected) in [
        ("DATABASE_URL", "mysql://u:s3cret@h/d", 2, "expected postgresql://"),
        ("DATABASE_URL", "postgresql://u:s3cret%zz%40@h/d", 2, "written `%3F %23 %2F %40 %25 %3A`"),
        ("DATABASE_URL", "postgresql://u:s3cret@h1,h2/d?port=1,2,3", 2, "or one port for all"),
        ("DATABASE_URL", "postgresql://u:s3cret@h/d?target_session_attrs=master", 2, "prefer-standby"),
        ("DATABASE_URL", "postgresql://u:s3cret@h/d?service=x", 2, "parameter `service`"),
        (
            "DATABASE_URL",
            "postgresql://u:s3cret?s3cret:s3cret@127.0.0.1:1/d",
            1,
            "failed to connect to PostgreSQL at 127.0.0.1:1/d",
        ),
        (
            "DATABASE_URL",
            "postgresql://u:s3cret@127.0.0.1:1/d",
            1,
            "failed to connect to PostgreSQL at 127.0.0.1:1/d",
        ),
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

/// What `config --json` prints in a folder `working`, below one whose `.env` has `text`.
fn config_below(text: &[u8]) -> (crate::Run, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join(".env"), text).expect("the file is written");
    let working = folder.path().join("working");
    std::fs::create_dir(&working).expect("a folder is made");
    let ended = run(&mut panopticon(&working, &["config", "--json"]));
    let settings = serde_json::from_str(&ended.stdout).unwrap_or_default();
    (ended, settings)
}

#[test]
fn invalid_lines_and_those_of_other_programs_are_ignored() {
    for line in [
        "ORG=Default Organization",
        "SMTP_FROM=Eval Bot <bot@example.org>",
        r#"CORS=["http://a", "http://b"]"#,
        r#"JSON={"a": 1}"#,
        r"WIN=C:\data",
        "export FOO",
        "api-key=5",
        "1X=2",
        "MSG='don't'",
        "A=1  #'",
        "X=$(date +%F)",
        "KEY=-----BEGIN PRIVATE KEY-----\nMIIabc/+==\n-----END PRIVATE KEY-----",
        "GREETING=\"it is",
        "\u{0}\u{1b}[2J",
    ] {
        for (before, after) in [("", "\n"), ("\u{feff}", "\r\n"), ("# x\n", "\n\n")] {
            let text = format!("{before}{line}{after}LOG_LEVEL=INFO{after}");
            let (ended, settings) = config_below(text.as_bytes());
            assert_eq!(ended.code, 0, "{text:?}: {ended:?}");
            assert_eq!(settings["LOG_LEVEL"]["value"], "INFO", "{text:?}");
            assert!(!ended.stderr.contains("it is") && !ended.stdout.contains("it is"), "{ended:?}");
        }
    }
}

#[test]
fn errors_name_the_line_of_a_setting_and_print_no_content_of_the_file() {
    let note =
        "NOTE=\"for production only\nOPENAI_API_KEY=sk-s3cret\nDATABASE_URL=postgresql://u:s3cret@h/d\n";
    for (text, line, name) in [
        ("X=1\nVECTOR_RECALL_TARGET=s3cret\n", 2, "VECTOR_RECALL_TARGET"),
        ("VECTOR_RECALL_TARGET='s3cret\n", 1, "VECTOR_RECALL_TARGET"),
        ("\nQUERY_STORAGE_TYPE=s3cret\n", 2, "QUERY_STORAGE_TYPE"),
        ("MAINTENANCE=s3cret\n", 1, "MAINTENANCE"),
    ] {
        let (ended, _) = config_below(text.as_bytes());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{text}: {ended:?}");
        let place = format!("{name} in line {line} of `");
        assert!(ended.stderr.contains(&place) && ended.stderr.contains("/.env`"), "{text}: {ended:?}");
        assert!(!ended.stderr.contains("s3cret"), "{text}: {ended:?}");
    }
    let (ended, settings) = config_below(note.as_bytes());
    assert_eq!(settings["DATABASE_URL"]["value"], "postgresql://u:***@h/d", "{ended:?}");
    assert!(!ended.stdout.contains("s3cret") && !ended.stdout.contains("production"), "{ended:?}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join(".env"), "SMTP_PASSWORD='s3cret\nX=1\n").expect("the file is written");
    let ended = run(&mut panopticon(folder.path(), &["inspect", "."]));
    assert!(ended.stderr.contains("from line 1, were skipped"), "{ended:?}");
    assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
    std::fs::write(folder.path().join(".env"), "X=1\nDATABASE_URL=s3cret\n").expect("the file is written");
    let ended = run(&mut panopticon(folder.path(), &["search", "query", "x"]));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("DATABASE_URL in line 2 of") && !ended.stderr.contains("s3cret"),
        "{ended:?}"
    );
}

#[test]
fn variables_are_expanded_as_in_python_dotenv() {
    let text = "PW=a/b\nDATABASE_URL=postgresql://u:pa$sword@h/${NAME:-d}\nQUERY_STORAGE_URL=http://${UNSET:-h}:1\nLOG_LEVEL=${PW:-x}\nLOG_LEVEL=ERROR\n";
    let (ended, settings) = config_below(text.as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(settings["DATABASE_URL"]["value"], "postgresql://u:***@h/d");
    assert_eq!(settings["QUERY_STORAGE_URL"]["value"], "http://h:1");
}

#[test]
fn file_above_that_others_can_write_is_not_read_and_config_reports_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(".env");
    std::fs::write(&file, "OPENAI_BASE_URL=http://evil\nDATABASE_URL=postgresql://evil/d\n")
        .expect("it is written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("its mode can be set");
    let working = folder.path().join("working");
    std::fs::create_dir(&working).expect("a folder is made");
    let text = run(&mut panopticon(&working, &["config"]));
    assert_eq!(text.code, 0, "{text:?}");
    assert!(!text.stdout.contains("evil"), "{text:?}");
    assert!(text.stdout.contains("was not read: every user can write it"), "{text:?}");
    let search = run(&mut panopticon(&working, &["search", "query", "x"]));
    assert_eq!(search.code, 2, "the embedded server is not used instead: {search:?}");
    assert!(search.stderr.contains("DATABASE_URL may be set in a file that cannot be used"), "{search:?}");

    // In the working folder it is read, except for delicate settings.
    let text = run(&mut panopticon(folder.path(), &["config"]));
    assert!(text.stdout.contains("postgresql://evil/d") && !text.stdout.contains("http://evil"), "{text:?}");
    assert!(text.stdout.contains("OPENAI_BASE_URL in line 1"), "{text:?}");
    assert!(text.stdout.contains("DATABASE_URL in line 2"), "{text:?}");
}

#[test]
fn source_from_an_untrusted_file_is_refused_and_from_ones_own_is_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(".env");
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    server.set_nonblocking(true).expect("it does not block");
    let port = server.local_addr().expect("it has an address").port();
    let texts = [
        format!("CHROMA_PERSIST_DIRECTORY=http://127.0.0.1:{port}\n"),
        format!("CHROMA_PERSIST_DIRECTORY=http://127.0.0.1:{port}\nCHROMA_TOKEN=s3cret\n"),
        "CHROMA_PERSIST_DIRECTORY=./evil\n".to_owned(),
    ];
    let commands = [
        &["migrate", "query"][..],
        &["verify", "query"],
        &["serve", "query"],
        &["migrate", "query", "--token", "s3cret"],
    ];
    let ended = |arguments: &[&str]| {
        let mut command = panopticon(folder.path(), arguments);
        run(command.env("QUERY_PORT", "0").env("QUERY_STORAGE_TYPE", "chroma"))
    };
    for text in &texts {
        std::fs::write(&file, text).expect("it is written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("its mode can be set");
        for arguments in commands {
            let ended = ended(arguments);
            assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{text} {arguments:?}: {ended:?}");
            for expected in ["CHROMA_PERSIST_DIRECTORY in line 1 of", "every user", "chmod"] {
                assert!(ended.stderr.contains(expected), "{text} {arguments:?}: {ended:?}");
            }
            assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
        }
    }
    assert!(!folder.path().join("evil").exists(), "nothing was created");
    let error = server.accept().expect_err("no connection was made");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(server);
    for text in &texts[..2] {
        std::fs::write(&file, text).expect("it is written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode can be set");
        for arguments in commands {
            let ended = ended(arguments);
            assert!(ended.code != 0 && ended.stderr.contains("failed to reach"), "{text}: {ended:?}");
        }
    }
}

#[test]
fn empty_variable_counts_as_not_set() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = run(&mut panopticon(folder.path(), &["config", "--json"]));
    let defaults: Value = serde_json::from_str(&all.stdout).expect("one object");
    let names: Vec<&String> = defaults.as_object().expect("an object").keys().collect();
    // The folder of the test's own files is given to every command.
    let names = names.iter().filter(|name| *name != &"PANOPTICON_DATA_DIR");
    for value in ["", " ", "''", "\"\""] {
        let text: String = names.clone().map(|name| format!("{name}={value}\n")).collect();
        std::fs::write(folder.path().join(".env"), text).expect("it is written");
        let ended = run(&mut panopticon(folder.path(), &["config", "--json"]));
        assert_eq!(ended.code, 0, "{value:?}: {ended:?}");
        let settings: Value = serde_json::from_str(&ended.stdout).expect("one object");
        assert_eq!(settings, defaults, "{value:?}");
    }
    std::fs::write(folder.path().join(".env"), "LOG_LEVEL=INFO\n").expect("it is written");
    for value in ["", " ", "\t\n"] {
        let mut command = panopticon(folder.path(), &["config", "--json"]);
        let ended = run(command.envs(names.clone().map(|name| (name.as_str(), value))));
        assert_eq!(ended.code, 0, "{value:?}: {ended:?}");
        let settings: Value = serde_json::from_str(&ended.stdout).expect("one object");
        assert_eq!(settings["LOG_LEVEL"]["value"], "INFO", "that of the file, as without the variable");
        assert_eq!(settings["API_KEY"], defaults["API_KEY"], "{value:?}");
    }
    let ended = run(&mut panopticon(folder.path(), &["config", "--database-url", ""]));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("--database-url is empty"), "{ended:?}");
}

#[test]
fn values_of_other_programs_for_generic_names_are_ignored_in_files_only() {
    for (name, value) in [
        ("LOG_LEVEL", "20"),
        ("LOG_LEVEL", "fatal"),
        ("LOG_LEVEL", "s3cret"),
        ("LOG_LEVEL", "'s3cret"),
        ("LOG_FORMAT", "%(asctime)s s3cret"),
        ("LOG_FORMAT", "logfmt"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(".env"), format!("X=1\n{name}={value}\n")).expect("it is written");
        let mut command = panopticon(folder.path(), &["judge", "parse", "--min", "1", "--max", "10"]);
        let ended = run(&mut command);
        assert_eq!(ended.code, 0, "{name}={value}: {ended:?}");
        let place = format!("{name} in line 2 of `");
        assert_eq!(ended.stderr.matches(&place).count(), 1, "{name}={value}: {ended:?}");
        assert!(ended.stderr.contains("/.env`") && !ended.stderr.contains("s3cret"), "{ended:?}");
        let ended =
            run(panopticon(folder.path(), &["judge", "parse", "--min", "1", "--max", "10"]).env(name, value));
        assert_eq!(ended.code, 2, "{name}={value}: {ended:?}");
        assert!(ended.stderr.contains(&format!("{name} is `")), "{name}={value}: {ended:?}");
    }
}

#[test]
fn invalid_variable_stops_only_commands_that_use_it() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let parse = ["judge", "parse", "--min", "1", "--max", "10"];
    let invalid = [
        ("MAINTENANCE", "true"),
        ("QUERY_STORAGE_TYPE", "sqlite"),
        ("VECTOR_INDEX_TYPE", "flat"),
        ("VECTOR_RECALL_TARGET", "2"),
        ("MAINTENANCE_QUIET_HOURS", "night"),
        ("QUERY_PORT", "web"),
        ("DATABASE_URL", "mysql://h/d"),
    ];
    let text: String = invalid.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let ended = run(panopticon(folder.path(), &parse).envs(invalid));
    assert_eq!(ended.code, 0, "{ended:?}");
    let odd = std::ffi::OsString::from_vec(vec![0xff]);
    let ended = run(panopticon(folder.path(), &parse).envs(invalid.map(|(name, _)| (name, &odd))));
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = run(panopticon(folder.path(), &["search", "query", "x"]).env("DATABASE_URL", &odd));
    assert_eq!(ended.code, 2, "{ended:?}");
    for text in [text, invalid.map(|(name, _)| format!("{name}='a' b")).join("\n")] {
        std::fs::write(folder.path().join(".env"), &text).expect("it is written");
        let ended = run(&mut panopticon(folder.path(), &parse));
        assert_eq!(ended.code, 0, "{text}: {ended:?}");
        for arguments in [&["index", "status"][..], &["maintain"], &["search", "query", "x"], &["config"]] {
            let ended = run(&mut panopticon(folder.path(), arguments));
            assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{text} {arguments:?}: {ended:?}");
        }
    }
}

#[test]
fn variables_of_libpq_are_applied_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = "postgresql://u:s3cret@h.invalid/d";
    let ended = |name: &str, value: &str| {
        let mut command = panopticon(folder.path(), &["search", "query", "x"]);
        run(command.env("DATABASE_URL", url).env(name, value))
    };
    for (name, value) in [
        ("PGSERVICE", "prod"),
        ("PGTARGETSESSIONATTRS", "nonsense"),
        ("PGREQUIREPEER", "postgres"),
        ("PGSSLMODE", "nonsense"),
        ("PGHOSTADDR", "nonsense"),
        ("PGCHANNELBINDING", "require"),
    ] {
        let refused = ended(name, value);
        assert_eq!(refused.code, 2, "{name}: {refused:?}");
        assert!(refused.stderr.contains(name) && !refused.stderr.contains("nonsense"), "{refused:?}");
    }
    let elsewhere = ended("PGHOSTADDR", "127.0.0.1");
    assert!(
        elsewhere.stderr.contains("127.0.0.1:5432/d") || elsewhere.code == 0,
        "it overrides the host: {elsewhere:?}"
    );
    let port = ended("PGPORT", "1");
    assert!(port.stderr.contains("h.invalid:1/d"), "{port:?}");
}

#[test]
fn secrets_in_http_urls_are_masked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), &["config", "--json"]);
    for name in ["CHROMA_PERSIST_DIRECTORY", "EVALUATION_PERSIST_DIRECTORY", "JUDGE_PERSIST_DIRECTORY"] {
        command.env(name, "https://u:s3cret@h:8000");
    }
    command.env("OPENAI_BASE_URL", "https://h/v1?key=s3cret").env("GOOGLE_BASE_URL", "u:s3cret@h");
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://s3cret@h:4318")
        .env("QUERY_STORAGE_URL", "http://u:s3cret@h");
    command
        .env("VECTOR_ALERT_WEBHOOK_URL", "https://h/s3cret")
        .env("PANOPTICON_CORS_ORIGINS", "https://u:s3cret@h");
    let ended = run(&mut command);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stdout.contains("s3cret"), "{ended:?}");
}

#[test]
fn errors_do_not_repeat_invalid_addresses_and_sources() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (setting, arguments) in [
        ("PANOPTICON_CORS_ORIGINS=s3cret", &["serve", "query"][..]),
        ("OTEL_EXPORTER_OTLP_ENDPOINT=s3cret x", &["serve", "query"]),
        ("OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4318?token=s3cret", &["serve", "query"]),
        ("MAINTENANCE_QUIET_HOURS=s3cret", &["config"]),
        ("PANOPTICON_BIND=s3cret", &["serve", "query"]),
        ("CHROMA_PERSIST_DIRECTORY=u:s3cret@h:8000", &["migrate", "query"]),
        ("CHROMA_PERSIST_DIRECTORY=ftp://u:s3cret@h/x", &["migrate", "query"]),
        ("CHROMA_PERSIST_DIRECTORY=http://u:s3cret@h:port", &["migrate", "query"]),
        ("CHROMA_PERSIST_DIRECTORY=u:s3cret@h:8000\nQUERY_STORAGE_TYPE=chroma", &["serve", "query"]),
    ] {
        std::fs::write(folder.path().join(".env"), setting).expect("the file is written");
        let ended = run(&mut panopticon(folder.path(), arguments));
        assert_eq!(ended.code, 2, "{setting}: {ended:?}");
        assert!(!ended.stderr.contains("s3cret") && ended.stdout.is_empty(), "{setting}: {ended:?}");
    }
}

/// A folder whose `.env` every user can write.
fn untrusted(dot_env: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(".env");
    std::fs::write(&file, dot_env).expect("the file is written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("its mode can be set");
    folder
}

#[test]
fn delicate_settings_of_an_untrusted_file_are_ignored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = run(&mut panopticon(folder.path(), &["config", "--json"]));
    let all: Value = serde_json::from_str(&all.stdout).expect("one object");
    let names: Vec<&String> = all.as_object().expect("an object").keys().collect();
    let value = |name: &str| match name {
        "DATABASE_URL" => "postgresql://u:p@h/d",
        "LOG_LEVEL" => "INFO",
        "LOG_FORMAT" => "json",
        "VECTOR_RECALL_TARGET" => "0.5",
        "MODEL_DEFAULT_TEMPERATURE" => "0.1",
        name if name.ends_with("_STORAGE_TYPE") => "chroma",
        _ => "evil",
    };
    let text: String = names.iter().map(|name| format!("{name}={}\n", value(name))).collect();
    let folder = untrusted(&text);
    let ended = run(panopticon(folder.path(), &["config", "--json"]).env_remove("PANOPTICON_DATA_DIR"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let settings: Value = serde_json::from_str(&ended.stdout).expect("one object");
    let is_used = |name: &&&String| {
        settings[name.as_str()]["origin"].as_str().is_some_and(|origin| origin.ends_with(".env"))
    };
    let mut used: Vec<&str> = names.iter().filter(is_used).map(|name| name.as_str()).collect();
    used.sort_unstable();
    let expected = [
        // Settings that are checked are refused later, where they could do harm.
        "CHROMA_PERSIST_DIRECTORY",
        "CHROMA_TOKEN",
        "DATABASE_REPLICA_URLS",
        "DATABASE_URL",
        "EVALUATION_PERSIST_DIRECTORY",
        "EVALUATION_STORAGE_TYPE",
        "JUDGE_PERSIST_DIRECTORY",
        "JUDGE_STORAGE_TYPE",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MODEL_DEFAULT_TEMPERATURE",
        "PANOPTICON_MIGRATION_SOURCES",
        "QUERY_STORAGE_TYPE",
        "VECTOR_RECALL_TARGET",
    ];
    assert_eq!(used, expected);
    let remarks = settings["remarks"].to_string();
    let harmless = ["LOG_FORMAT", "LOG_LEVEL", "MODEL_DEFAULT_TEMPERATURE", "VECTOR_RECALL_TARGET"];
    for name in names.iter().filter(|name| !harmless.contains(&name.as_str())) {
        let is_reported = remarks.contains(&format!("{name} in line"))
            && remarks.contains("is not used: every user")
            && remarks.contains("is refused by commands that use it: every user");
        assert!(is_reported, "{name}: {remarks}");
    }
}

#[test]
fn database_from_an_untrusted_file_is_refused_by_all_commands_that_use_one() {
    let server = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    server.set_nonblocking(true).expect("it does not block");
    let port = server.local_addr().expect("it has an address").port();
    for url in [
        format!("postgresql://victim@127.0.0.1:{port}/d"),
        format!("postgresql://victim:own@127.0.0.1:{port}/d"),
        format!("postgresql://victim:${{PGPASSWORD}}@127.0.0.1:{port}/d"),
        format!("postgresql://victim:own@127.0.0.1:{port}/d?sslcert=/x&sslkey=/x"),
    ] {
        let folder = untrusted(&format!("# first\nDATABASE_URL={url}\n"));
        for arguments in [
            &["doctor"][..],
            &["search", "query", "x"],
            &["index", "status"],
            &["maintain"],
            &["serve", "query"],
        ] {
            let mut command = panopticon(folder.path(), arguments);
            let ended = run(command.env("PGPASSWORD", "t0psecret").env("QUERY_PORT", "0"));
            assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{url} {arguments:?}: {ended:?}");
            let place = format!("DATABASE_URL in line 2 of `{}", folder.path().join(".env").display());
            assert!(ended.stderr.contains(&place) && ended.stderr.contains("every user"), "{url}: {ended:?}");
            assert!(!ended.stderr.contains("t0psecret"), "{url}: {ended:?}");
        }
    }
    let error = server.accept().expect_err("no connection was made");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(server);
    // The remedies.
    use std::os::unix::fs::PermissionsExt as _;
    let url = format!("postgresql://victim:own@127.0.0.1:{port}/d");
    let folder = untrusted(&format!("DATABASE_URL={url}\n"));
    let is_used = |ended: &crate::Run| {
        ended.stderr.contains(&format!("failed to connect to PostgreSQL at 127.0.0.1:{port}/d"))
    };
    let ended = run(panopticon(folder.path(), &["doctor"]).env("DATABASE_URL", &url));
    assert!(is_used(&ended), "{ended:?}");
    let ended = run(&mut panopticon(folder.path(), &["doctor", "--database-url", &url]));
    assert!(is_used(&ended), "{ended:?}");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path().join(".env"), private).expect("its mode can be set");
    let ended = run(&mut panopticon(folder.path(), &["doctor"]));
    assert!(is_used(&ended), "{ended:?}");
    // Nor does a folder that others can write count as one's own.
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).expect("its mode can be set");
    let ended = run(&mut panopticon(folder.path(), &["doctor"]));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("DATABASE_URL in line 1 of"), "{ended:?}");
}

#[test]
fn storage_and_token_from_an_untrusted_file_are_refused() {
    for (dot_env, set, expected) in [
        (
            "QUERY_STORAGE_TYPE=chroma\n",
            &[("CHROMA_PERSIST_DIRECTORY", "./ours")][..],
            "QUERY_STORAGE_TYPE in line 1 of",
        ),
        (
            "QUERY_STORAGE_TYPE=chroma\n",
            &[("CHROMA_PERSIST_DIRECTORY", "http://127.0.0.1:1")],
            "QUERY_STORAGE_TYPE in line 1 of",
        ),
        (
            "CHROMA_TOKEN=theirs\n",
            &[("QUERY_STORAGE_TYPE", "chroma"), ("CHROMA_PERSIST_DIRECTORY", "http://127.0.0.1:1")],
            "CHROMA_TOKEN in line 1 of",
        ),
        (
            "CHROMA_PERSIST_DIRECTORY=http://127.0.0.1:1\n",
            &[("QUERY_STORAGE_TYPE", "chroma"), ("CHROMA_TOKEN", "ours")],
            "CHROMA_PERSIST_DIRECTORY in line 1 of",
        ),
    ] {
        let folder = untrusted(dot_env);
        let ended = run(panopticon(folder.path(), &["serve", "query"]).envs(set.iter().copied()));
        assert_eq!(ended.code, 2, "{dot_env}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{dot_env}: {ended:?}");
        assert!(!folder.path().join("ours").exists(), "nothing was created");
    }
}
