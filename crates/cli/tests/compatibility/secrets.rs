//! Secrets are never printed.

use test_support::{ChromaServer, TestDatabase, sample};
use url::Url;

use super::{name, run_with};

const SECRET: &str = "correct-horse-battery";

#[tokio::test]
async fn password_and_token_appear_in_no_output_of_any_command_at_any_log_level() {
    let database = TestDatabase::create().await;
    let password = |url: &str, password: &str| {
        let mut url = Url::parse(url).expect("the server's URL is one");
        url.set_password(Some(password)).expect("it may have a password");
        url.to_string()
    };
    let own = Url::parse(&database.url()).ok().and_then(|url| url.password().map(str::to_owned));
    let own = own.expect("the test server asks for a password");
    let wrong = password(&database.url(), SECRET);
    let nowhere = wrong.replace("127.0.0.1", "127.0.0.2").replace("localhost", "127.0.0.2");
    let folder = sample("query_storage_data");
    let server = ChromaServer::start(folder.path());
    let directory = name(folder.path());
    for level in ["WARNING", "DEBUG", "TRACE"] {
        for url in [
            database.url(),
            wrong.clone(),
            nowhere.clone(),
            format!("{}?sslpassword={SECRET}&password={SECRET}", database.url()),
        ] {
            for arguments in [
                &["migrate", "query", "--from", directory, "--json"][..],
                &["migrate", "query", "--from", &server.url(), "--token", SECRET, "--no-verify"],
                &["verify", "query", "--from", directory],
                &["migrate", "--undo", "67e55044-10b1-426f-9247-bb680e5fe0c8"],
                &["doctor", "--json"],
                &["config"],
                &["config", "--json"],
            ] {
                let environment =
                    [("DATABASE_URL", url.as_str()), ("LOG_LEVEL", level), ("CHROMA_TOKEN", SECRET)];
                let ended = run_with(arguments, &environment).await;
                for secret in [own.as_str(), SECRET] {
                    let is_printed = ended.stdout.contains(secret) || ended.stderr.contains(secret);
                    assert!(!is_printed, "{arguments:?} on {url}: {ended:?}");
                }
            }
        }
    }
}

/// libpq sends characters that SASLprep forbids; the driver rejects them and quotes the character in its error.
#[tokio::test]
async fn password_that_cannot_be_sent_is_refused_without_any_of_its_characters() {
    let database = TestDatabase::create().await;
    for (at, odd) in ["😀", "\t", "\u{e000}", "\u{fdd0}"].into_iter().enumerate() {
        let role = format!(
            "{}_{at}",
            Url::parse(&database.url()).expect("it is one").path().trim_start_matches('/')
        );
        let secret = format!("horse{odd}staple");
        database
            .execute(&format!("drop role if exists {role}; create role {role} login password '{secret}'"))
            .await;
        let mut url = Url::parse(&database.url()).expect("the server's URL is one");
        url.set_username(&role).expect("a role is a user");
        url.set_password(Some(&secret)).expect("it may have a password");
        for arguments in [&["doctor"][..], &["serve"]] {
            let ended = run_with(arguments, &[("DATABASE_URL", url.as_str())]).await;
            assert_eq!(ended.code, 2, "{ended:?}");
            let printed = format!("{}{}", ended.stdout, ended.stderr);
            let is_explained =
                printed.contains("the password for PostgreSQL at") && printed.contains("alter role");
            assert!(is_explained, "{printed}");
            let escaped = odd.escape_debug().to_string();
            let is_printed = printed.contains(odd) || printed.contains(&escaped) || printed.contains("horse");
            assert!(!is_printed, "{printed}");
        }
        database.execute(&format!("drop role {role}")).await;
    }
}
