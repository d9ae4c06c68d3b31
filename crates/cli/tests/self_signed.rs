//! Chroma servers behind TLS with a certificate that its owner made.

use std::{path::Path, process::Command, sync::Arc};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use test_support::{ChromaServer, sample};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{Run, run_with};

/// Makes `name.pem` and `name.key` with `openssl`, as everybody does.
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

/// Puts TLS with the certificate `name` before `port` until the test ends; the port of it.
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

async fn inspect(host: &str, port: u16, trusted: &Path) -> Run {
    let trusted = trusted.display().to_string();
    run_with(&["inspect", &format!("https://{host}:{port}")], &[("SSL_CERT_FILE", &trusted)]).await
}

#[tokio::test]
async fn certificate_that_is_trusted_itself_is_taken_and_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let for_localhost = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    for name in ["own", "other"] {
        openssl(folder.path(), name, &for_localhost);
    }
    openssl(folder.path(), "elsewhere", &["-subj", "/CN=x", "-addext", "subjectAltName=DNS:elsewhere"]);
    let leaf = [&for_localhost[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat();
    openssl(folder.path(), "leaf", &leaf);
    let pem = |name: &str| folder.path().join(format!("{name}.pem"));
    let served = sample("query_storage_data");
    let server = ChromaServer::start(served.path());
    let port: u16 = server.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");

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
    // Trusted, and of another name.
    let tls = front(folder.path(), "elsewhere", port).await;
    let ended = inspect("localhost", tls, &pem("elsewhere")).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("for another name"), "{ended:?}");
    // Several are trusted, and one of them is meant.
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
