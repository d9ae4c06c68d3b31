use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> DatabaseUrl {
    DatabaseUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    let error = DatabaseUrl::parse(text).expect_err(text).to_string();
    assert!(!error.contains("secret") && !error.contains("part"), "{text}: {error}");
    error
}

fn only_server(text: &str) -> PgConnectOptions {
    let mut servers = parse(text).connecting().expect("it can be used").servers;
    assert_eq!(servers.len(), 1, "{text}");
    servers.remove(0)
}

#[test]
fn password_with_characters_of_urls_is_understood_where_only_one_reading_makes_sense() {
    for password in [
        "secret?part2:part3",
        "sec#ret",
        "sec/ret",
        "p@ss",
        "p@ss/word",
        "a:b:c",
        "pa$sword",
        "100%",
        "p%ss",
        "%",
        "/",
        "?",
        "#",
        "@",
        "://",
        "a?b=c",
        "a?sslmode=b&c",
        "a/b?c#d@e:f",
        "12?34",
        "12/34",
        "12#34",
        "ä ö",
        "a&b=c",
        "[x]",
        "a+b",
    ] {
        for server in [
            "127.0.0.1:5432/panopticon",
            "db.example.org/d?sslmode=require",
            "[::1]:5433/d",
            "/d?host=/run/x",
        ] {
            let url = parse(&format!("postgresql://judge:{password}@{server}"));
            assert_eq!(
                (url.user.as_deref(), url.password.as_deref()),
                (Some("judge"), Some(password)),
                "{server}"
            );
            let plain = parse(&format!("postgresql://judge:x@{server}"));
            assert_eq!((&url.host, &url.port, &url.database), (&plain.host, &plain.port, &plain.database));
            assert_eq!(url.parameters, plain.parameters, "{password} {server}");
            assert!(!url.masked().contains(password) || password.len() <= 3, "{}", url.masked());
            assert_eq!(parse(&url.to_url()), url);
        }
    }
    let encoded = parse("postgresql://me%40corp:p%40%2F%25@h/d");
    assert_eq!((encoded.user.as_deref(), encoded.password.as_deref()), (Some("me@corp"), Some("p@/%")));
    assert_eq!(parse("postgresql://me@corp:p@h/d").user.as_deref(), Some("me@corp"), "as Azure has them");
}

#[test]
fn parts_of_ordinary_urls_are_found() {
    let url = parse("postgres://u:p@h:5433/d?sslmode=require&user=other@corp&options=-c+a%3Db%20-cc=d");
    assert_eq!(
        (url.value("host"), url.value("port"), url.value("dbname")),
        (Some("h"), Some("5433"), Some("d"))
    );
    assert_eq!(url.value("user"), Some("other@corp"), "a parameter beats what stands before");
    assert_eq!(url.value("options"), Some("-c a=b -cc=d"));
    let socket = parse("postgresql://u:p@/d?host=/run/x&port=5432&sslmode=disable&options=");
    assert_eq!((socket.value("host"), socket.value("options")), (Some("/run/x"), Some("")));
    assert_eq!(parse("postgresql://u:p@%2Frun%2Fx/d").value("host"), Some("/run/x"));
    assert_eq!(parse("postgresql:///d").value("host"), None);
    assert_eq!(parse("postgresql://h:5432/d?user=a@b.org").value("user"), Some("a@b.org"));
    let appended =
        parse("postgresql://u:p@/d?host=/run/x&options=?options=-csearch_path%3Dpublic,extensions");
    assert_eq!(appended.value("options"), Some("-csearch_path=public,extensions"));
}

#[test]
fn what_is_no_url_or_could_be_read_in_several_ways_is_refused_with_a_hint_that_repeats_nothing() {
    for text in [
        "postgresql://u:secret@h:notaport/d",
        "postgresql://u:secret@h:99999/d",
        "postgresql://u:secret%zz%40@h/d",
        "postgresql://u:secret%ff@h/d",
        "postgresql://u:secret@h/d?sslmode",
        "postgresql://u:secret@h/d@x",
        "postgresql://u:secret@h/d#part",
        "postgresql://u:secret@h/d?x=part@h2",
        "postgresql://u:secret@h?x=part@h2/d",
        "postgresql://u:secret@h:1/d?host=part@h2:5432/d2",
        "postgresql://u:secret@h:1/d?dbname=part@h2:5432/d2",
        "postgresql://u:secret@h:1/d?user=part@h2:5432/d2",
        "postgresql://u:secret%00@h/d",
        "postgresql://u:secret\n@h/d",
    ] {
        assert!(refused(text).contains("%3F %23 %2F %40 %25 %3A"), "{text}");
    }
    refused(&format!("postgresql://u:secret{}h/d", "@/".repeat(5_000)));
}

#[test]
fn other_forms_of_a_connection_are_refused_with_the_remedy() {
    for (text, expected) in [
        ("", "does not begin with `postgresql://`"),
        ("secret", "does not begin with `postgresql://`"),
        ("u:secret@h", "does not begin with `postgresql://`"),
        ("localhost:5432/d", "does not begin with `postgresql://`"),
        ("postgresql:/u:secret@h/d", "does not begin with `postgresql://`"),
        ("postgresql+://u:secret@h/d", "does not begin with `postgresql://`"),
        ("postgresql+se cret://u:secret@h/d", "does not begin with `postgresql://`"),
        ("pöstgresql://u:secret@h/d", "does not begin with `postgresql://`"),
        ("secret=part", "does not begin with `postgresql://`"),
        ("host=localhost user=u password=secret", "keywords"),
        ("dbname = d", "keywords"),
        ("password='se=cret' host=h", "keywords"),
        ("Host=h;Username=u;Password=secret", "keywords"),
        ("mysql://u:secret@h/d", "MySQL"),
        ("mysql+pymysql://u:secret@h/d", "MySQL"),
        ("sqlite:///secret.db", "SQLite"),
        ("MSSQL+pyodbc://u:secret@h/d", "SQL Server"),
        ("jdbc:postgresql://h/d?user=u&password=secret", "leave `jdbc:` out"),
        ("\"postgresql://u:secret@h/d\"", "quotation marks"),
        ("'postgresql://u:secret@h/d", "quotation marks"),
        ("https://u:secret@h/d", "HTTP"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected) && error.contains("postgresql://user"), "{text}: {error}");
        assert!(!error.contains("%3F"), "{text}: {error}");
    }
}

#[test]
fn urls_of_sqlalchemy_are_read_without_their_driver() {
    for scheme in
        ["postgresql+psycopg2", "postgresql+asyncpg", "postgres+psycopg", "PostgreSQL", "postgresql+pg8000"]
    {
        let url = parse(&format!("{scheme}://u:p?w@h:5433/d?sslmode=require"));
        assert_eq!(url, parse("postgresql://u:p?w@h:5433/d?sslmode=require"), "{scheme}");
        assert_eq!(url.to_url(), "postgresql://u:p%3Fw@h:5433/d?sslmode=require");
    }
}

#[test]
fn parameters_that_decide_where_data_go_are_honoured_or_refused() {
    for (parameter, expected) in [
        ("service=prod", "service"),
        ("servicefile=/x", "servicefile"),
        ("target_session_attrs=master", "prefer-standby"),
        ("target_session_attrs=READ-WRITE", "prefer-standby"),
        ("channel_binding=require", "channel_binding"),
        ("gssencmode=require", "gssencmode"),
        ("sslnegotiation=direct", "sslnegotiation"),
        ("requirepeer=postgres", "requirepeer"),
        ("require_auth=scram-sha-256", "require_auth"),
        ("sslcrl=/x", "sslcrl"),
        ("ssl_min_protocol_version=TLSv1.3", "TLS 1.2"),
        ("sslmode=secret", "verify-full"),
        ("hostaddr=secret", "IP address"),
        ("connect_timeout=secret", "seconds"),
        ("schema=secret", "search_path"),
        ("port=secret", "port number"),
        ("HOST=secret", "lower case"),
        ("Sslmode=require", "lower case"),
        ("port=1,2", "one port for all"),
        ("host=a,b&port=1,2,3", "one port for all"),
        ("host=a,b&port=1,x", "one port for all"),
        ("host=a,b&port=1,99999", "one port for all"),
        ("host=a,", "one port for all"),
        ("hostaddr=1.1.1.1,2.2.2.2", "one port for all"),
        ("host=a,b&hostaddr=1.1.1.1,part", "one port for all"),
        ("hostaddr=1.1.1.1&sslmode=verify-full", "hostaddr"),
    ] {
        let error = refused(&format!("postgresql://u:secret@h/d?{parameter}"));
        assert!(error.contains(expected), "{parameter}: {error}");
    }
    let Connecting { servers, timeout, .. } = parse(
        "postgresql://u:p@h/d?hostaddr=10.0.0.5&connect_timeout=1&sslmode=verify-ca&application_name=a&keepalives=1&target_session_attrs=any&channel_binding=prefer&load_balance_hosts=random&gssencmode=disable&x=y&options[a.b]=c",
    )
    .connecting()
    .expect("all of it can be used");
    let [options] = &servers[..] else { panic!("one server: {servers:?}") };
    assert_eq!(options.get_host(), "10.0.0.5");
    assert_eq!(timeout, Some(Duration::from_secs(2)), "libpq's shortest");
    assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyCa));
    assert!(options.get_options().expect("some").contains("-c a.b=c"));
}

#[test]
fn connections_are_made_as_the_url_says() {
    let options = only_server("postgresql://u%20v:p?w@h:5433/d%2Fe?options=-csearch_path%3Da");
    assert_eq!((options.get_host(), options.get_port()), ("h", 5433));
    assert_eq!((options.get_username(), options.get_database()), ("u v", Some("d/e")));
    assert_eq!(options.get_options(), Some("-csearch_path=a"));
    let socket = only_server("postgresql://u:p@/d?host=/run/x&sslmode=require");
    assert_eq!(socket.get_socket().map(|path| path.as_path()), Some(std::path::Path::new("/run/x")));
    assert!(matches!(socket.get_ssl_mode(), PgSslMode::Disable), "no TLS on a socket, as in libpq");
    let system = only_server("postgresql://u:p@h/d?sslrootcert=system");
    assert!(matches!(system.get_ssl_mode(), PgSslMode::VerifyFull));
    for required in ["ssl=true", "requiressl=1"] {
        let options = only_server(&format!("postgresql://u:p@h/d?{required}"));
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Require), "{required}");
    }
    let options = only_server("postgresql://u:p@h/d?requiressl=0");
    assert!(matches!(options.get_ssl_mode(), PgSslMode::Prefer));
}

#[test]
fn servers_are_listed_as_libpq_pairs_hosts_addresses_and_ports() {
    for (text, expected) in [
        ("h1,h2/d", "h1:5432 h2:5432"),
        ("h1:1,h2:2/d", "h1:1 h2:2"),
        ("h1,h2:2/d", "h1:5432 h2:2"),
        ("h1:1,h2/d", "h1:1 h2:5432"),
        ("[::1]:1,h2:2,[fe80::2]/d", "::1:1 h2:2 fe80::2:5432"),
        ("/d?host=h1,h2&port=7", "h1:7 h2:7"),
        ("/d?host=h1,h2&port=7,8", "h1:7 h2:8"),
        ("/d?host=h1,h2&port=,8", "h1:5432 h2:8"),
        ("h1,h2/d?port=7", "h1:7 h2:7"),
        ("h0:9/d?host=h1,h2", "h1:9 h2:9"),
        ("/d?hostaddr=10.0.0.1,10.0.0.2", "10.0.0.1:5432 10.0.0.2:5432"),
        ("h1,h2/d?hostaddr=10.0.0.1,10.0.0.2&port=7,8", "10.0.0.1:7 10.0.0.2:8"),
        ("h1,h2:2/d?load_balance_hosts=disable", "h1:5432 h2:2"),
    ] {
        let url = parse(&format!("postgresql://u:pa,ss@{text}"));
        let servers = url.connecting().expect("it can be used").servers;
        let found: Vec<String> =
            servers.iter().map(|server| format!("{}:{}", server.get_host(), server.get_port())).collect();
        assert_eq!(found.join(" "), expected, "{text}");
        assert_eq!(parse(&url.to_url()), url, "{}", url.to_url());
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("u"), Some("pa,ss")));
    }
    let mut orders: Vec<Vec<u16>> = Vec::new();
    for _ in 0..100 {
        let url = parse("postgresql://u@h:1,h:2,h:3/d?load_balance_hosts=random");
        let order = url.connecting().expect("fine").servers.iter().map(|server| server.get_port()).collect();
        orders.push(order);
    }
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 1, "{orders:?}");
    let many = vec!["h"; 33].join(",");
    assert!(refused(&format!("postgresql://u:secret@{many}/d")).contains("32 servers"));
}

#[test]
fn session_attributes_are_those_of_libpq() {
    for (name, expected) in [
        ("", Target::Any),
        ("any", Target::Any),
        ("read-write", Target::ReadWrite),
        ("read-only", Target::ReadOnly),
        ("primary", Target::Primary),
        ("standby", Target::Standby),
        ("prefer-standby", Target::PreferStandby),
    ] {
        let url = parse(&format!("postgresql://u@h1,h2/d?target_session_attrs={name}"));
        let target = url.connecting().expect("it can be used").target;
        assert_eq!(target, expected);
        assert!(name.is_empty() || target.as_str() == name);
    }
}

#[test]
fn variables_of_libpq_say_what_the_url_does_not() {
    let variables = |variables: &[(&str, &str)]| -> Vec<(String, String)> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let with = |url: &str, set: &[(&str, &str)]| parse(url).with_variables(&variables(set));
    let url = with(
        "postgresql://u@h/d",
        &[
            ("PGHOST", "other"),
            ("PGPORT", "1"),
            ("PGPASSWORD", "pw"),
            ("PGSSLMODE", "require"),
            ("PGTZ", "x"),
            ("PGDATABASE", ""),
        ],
    );
    let url = url.expect("all of it can be used");
    let value = |name| url.value(name).expect(name);
    assert_eq!((value("host"), value("port"), value("password")), ("h", "1", "pw"));
    assert_eq!((value("sslmode"), value("dbname")), ("require", "d"));
    assert!(!format!("{url:?}").contains("pw"), "{url:?}");
    assert_eq!(
        with("postgresql://u@h/d", &[("PGHOSTADDR", "10.0.0.5")]).expect("fine").value("hostaddr"),
        Some("10.0.0.5")
    );
    for variable in [
        "PGPORT",
        "PGSERVICE",
        "PGTARGETSESSIONATTRS",
        "PGREQUIREPEER",
        "PGSSLMODE",
        "PGHOSTADDR",
        "PGCHANNELBINDING",
    ] {
        let error = with("postgresql://u@h/d", &[(variable, "secret")]).expect_err(variable).to_string();
        assert!(error.contains(variable) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn password_is_read_from_a_passfile_that_is_ours_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pass");
    let mode =
        |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it can be set");
    let url = parse(&format!("postgresql://u@h/d?passfile={}", path.display()));
    let server = url.servers().expect("there is one")[0];
    assert_eq!(url.password_of_file(&server).expect("no file is no password"), None);
    std::fs::write(&path, "other:*:*:*:x\nh:5432:d:u:se:cret\nh:*:*:*:y\n").expect("the file is written");
    mode(0o644);
    assert!(matches!(url.password_of_file(&server), Err(UrlError::Passfile { .. })));
    mode(0o600);
    assert_eq!(url.password_of_file(&server).expect("it reads").as_deref(), Some("se"));
    let other = Listed { host: Some("other"), ..server };
    assert_eq!(url.password_of_file(&other).expect("it reads").as_deref(), Some("x"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_is_written_again(text in "\\PC{0,60}") {
        for text in [text.clone(), format!("postgresql://{text}"), format!("postgresql://u:{text}@h/d")] {
            if let Ok(url) = DatabaseUrl::parse(&text) {
                prop_assert_eq!(DatabaseUrl::parse(&url.to_url()).ok(), Some(url));
            }
        }
    }

    #[test]
    fn any_password_that_is_encoded_arrives(password in "\\PC{1,30}") {
        let url = parse(&format!("postgresql://u:{}@h:5432/d", encoded(&password)));
        prop_assert_eq!(url.password.as_deref(), Some(password.as_str()));
    }
}
