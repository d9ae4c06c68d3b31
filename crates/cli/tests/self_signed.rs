//! TLS servers with self-signed certificates: Chroma, models, services, collectors.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use test_support::{ChromaServer, HttpAnswer, HttpStub, TestDatabase, sample};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    Run, run_with,
    serve::{Serving, blocking},
};

/// Creates `name.pem` and `name.key` with `openssl`.
fn openssl(folder: &Path, name: &str, arguments: &[&str]) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout"])
        .arg(folder.join(format!("{name}.key")))
        .arg("-out")
        .arg(folder.join(format!("{name}.pem")))
        .args(arguments)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{made:?}");
}

/// Starts a TLS proxy with the certificate `name` for `port`, until the test ends; returns the proxy's port.
async fn front(folder: &Path, name: &str, port: u16) -> u16 {
    let certificates = CertificateDer::pem_file_iter(folder.join(format!("{name}.pem"))).expect("it reads");
    let certificates = certificates.collect::<Result<Vec<_>, _>>().expect("it is PEM");
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("it is PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let own = listener.local_addr().expect("it has one").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that refuses the certificate ends here.
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                let Ok(mut inner) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let _ended = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    own
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

const FOR_LOCALHOST: [&str; 4] =
    ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];

async fn inspect(host: &str, port: u16, trusted: &Path) -> Run {
    let trusted = trusted.display().to_string();
    run_with(&["inspect", &format!("https://{host}:{port}")], &[("SSL_CERT_FILE", &trusted)]).await
}

#[tokio::test]
async fn self_signed_certificate_is_accepted_only_if_it_is_trusted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["own", "other"] {
        openssl(folder.path(), name, &FOR_LOCALHOST);
    }
    openssl(folder.path(), "elsewhere", &["-subj", "/CN=x", "-addext", "subjectAltName=DNS:elsewhere"]);
    let leaf = [&FOR_LOCALHOST[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat();
    openssl(folder.path(), "leaf", &leaf);
    let pem = |name: &str| folder.path().join(format!("{name}.pem"));
    let served = sample("query_storage_data");
    let server = ChromaServer::start(served.path());
    let port = port_of(&server.url());

    for name in ["own", "leaf"] {
        let tls = front(folder.path(), name, port).await;
        for host in ["localhost", "127.0.0.1"] {
            let ended = inspect(host, tls, &pem(name)).await;
            assert_eq!(ended.code, 0, "{name}: {ended:?}");
            assert!(ended.stdout.contains("61"), "{ended:?}");
        }
        let stranger = inspect("localhost", tls, &pem("other")).await;
        assert_eq!(stranger.code, 2, "{stranger:?}");
        assert!(
            stranger.stderr.contains("hint: ") && stranger.stderr.contains("SSL_CERT_FILE"),
            "{stranger:?}"
        );
        assert!(stranger.stderr.contains("ssh -L"), "{stranger:?}");
    }
    // Trusted, but for another name.
    let tls = front(folder.path(), "elsewhere", port).await;
    let ended = inspect("localhost", tls, &pem("elsewhere")).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("for another name"), "{ended:?}");
    // Several certificates are trusted.
    let all = folder.path().join("all.pem");
    let bytes: Vec<u8> =
        ["other", "own"].iter().flat_map(|name| std::fs::read(pem(name)).expect("it reads")).collect();
    std::fs::write(&all, bytes).expect("it is written");
    let tls = front(folder.path(), "own", port).await;
    let ended = inspect("localhost", tls, &all).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let plain = inspect("localhost", port, &pem("own")).await;
    assert_eq!(plain.code, 2, "{plain:?}");
    assert!(plain.stderr.contains("http:// instead of https://"), "{plain:?}");
}

#[tokio::test]
async fn unusable_certificate_file_is_named_with_the_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    openssl(folder.path(), "own", &FOR_LOCALHOST);
    openssl(folder.path(), "nameless", &["-subj", "/CN=localhost"]);
    let path = |name: &str| folder.path().join(name);
    let pem = std::fs::read(path("own.pem")).expect("it reads");
    let der = CertificateDer::from_pem_slice(&pem).expect("it is PEM");
    std::fs::write(path("own.der"), &der).expect("it is written");
    std::fs::write(path("empty"), "").expect("it is written");
    std::fs::write(path("text"), "no certificate").expect("it is written");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(path("broken"), broken).expect("it is written");
    std::fs::write(path("marked.pem"), [b"\xef\xbb\xbf", &pem[..]].concat()).expect("it is written");
    let served = sample("query_storage_data");
    let server = ChromaServer::start(served.path());
    let port = front(folder.path(), "own", port_of(&server.url())).await;

    let cases = [
        ("absent", "No such file"),
        ("", "is a folder"),
        ("own.der", "is DER"),
        ("own.key", "has a key and no certificate"),
        ("empty", "is empty"),
        ("text", "has no certificate"),
        ("broken", "cannot be read"),
    ];
    for (name, reason) in cases {
        let ended = inspect("localhost", port, &path(name)).await;
        assert_eq!(ended.code, 2, "{name}: {ended:?}");
        let named = path(name).display().to_string();
        for part in ["SSL_CERT_FILE cannot be used", &named, reason] {
            assert!(ended.stderr.contains(part), "{name}: {part}: {ended:?}");
        }
        assert!(!ended.stderr.contains("SSL_CERT_FILE=cert.pem"), "it is set: {ended:?}");
    }
    // Without TLS, the file is not read.
    let plain = [("SSL_CERT_FILE", "/absent.pem")];
    assert_eq!(run_with(&["inspect", &server.url()], &plain).await.code, 0);
    let marked = inspect("localhost", port, &path("marked.pem")).await;
    assert_eq!(marked.code, 0, "{marked:?}");

    let port = front(folder.path(), "nameless", port_of(&server.url())).await;
    let ended = inspect("localhost", port, &path("nameless.pem")).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("has no subjectAltName") && ended.stderr.contains("-addext"), "{ended:?}");
}

/// `serve` with a model and a trace collector behind TLS at these ports. With `apart`, only the judge is served, and
/// queries and metrics are at that port.
fn serve(url: &str, [model, collector]: [u16; 2], trusted: &Path, apart: Option<u16>) -> Serving {
    let model = format!("https://localhost:{model}/v1");
    let collector = format!("https://127.0.0.1:{collector}");
    let apart = apart.map(|port| format!("https://localhost:{port}"));
    let trusted = trusted.display().to_string();
    let mut environment = vec![
        ("DATABASE_URL", url),
        ("OPENAI_BASE_URL", &model),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector),
        ("SSL_CERT_FILE", &trusted),
    ];
    let mut arguments = Vec::new();
    if let Some(apart) = &apart {
        arguments.push("judge");
        environment.extend([("QUERY_STORAGE_URL", apart.as_str()), ("EVALUATION_STORAGE_URL", apart)]);
    }
    Serving::start(&arguments, &environment)
}

#[tokio::test]
async fn trusted_self_signed_certificate_is_accepted_from_models_services_and_collectors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["own", "other"] {
        openssl(folder.path(), name, &FOR_LOCALHOST);
    }
    let model = HttpStub::start(|_| {
        let answer = json!({"id": null, "model": "m", "choices": [{
            "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Score: 7"},
        }]});
        Some(HttpAnswer::json(200, &answer.to_string()))
    });
    // Counted by the stub's threads.
    let traces = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&traces);
    let collector = HttpStub::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Some(HttpAnswer { status: 200, headers: Vec::new(), body: Vec::new() })
    });
    let ports = [
        front(folder.path(), "own", port_of(&model.url())).await,
        front(folder.path(), "own", port_of(&collector.url())).await,
    ];
    let database = TestDatabase::serving().await;
    let (url, own) = (database.url(), folder.path().join("own.pem"));
    let (serving, url) = blocking(move || (serve(&url, ports, &own, None), url)).await;
    let services = front(folder.path(), "own", serving.port("evaluation")).await;
    let (own, other) = (folder.path().join("own.pem"), folder.path().join("other.pem"));
    blocking(move || {
        let metric = json!({"id": "helpful", "prompt": "Is it?", "metric_type": "quality"});
        serving.data("evaluation", "POST", "/api/v1/evaluation-metrics", &metric);
        let judge = json!({"id": "j", "provider": "openai"});
        serving.data("judge", "POST", "/api/v1/models", &judge);
        let request = json!({
            "query": "Why?", "theme": "t", "model_id": "m", "model_provider": "openai", "judge_model": "j",
            "evaluation_prompt_ids": ["helpful"],
        });
        // The separate judge first: it needs the services of the other process.
        for serving in [serve(&url, ports, &own, Some(services)), serving] {
            let evaluated = serving.data("judge", "POST", "/api/v1/evaluate/query", &request);
            assert_eq!(evaluated["evaluations"][0]["score"], 7.0, "{evaluated}");
            let ended = serving.end(Signal::TERM);
            assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
            assert!(traces.swap(0, Ordering::Relaxed) > 0, "the collector was reached");
        }
        // Another certificate is trusted, but not this one.
        let stranger = serve(&url, ports, &other, None);
        assert_eq!(stranger.status("judge", "/api/v1/evaluate/query", &request), 503);
        let ended = stranger.end(Signal::TERM);
        assert!(ended.stderr.contains("model `m` gave no output (connection)"), "{ended:?}");
        assert_eq!(traces.load(Ordering::Relaxed), 0);
    })
    .await;
}
