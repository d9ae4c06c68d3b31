//! Verification of server certificates: trusted are those signed by a trusted root, and those that are themselves
//! trusted.
//!
//! The second kind is created by `openssl req -x509`: a self-signed certificate that is marked as a CA. Its owner
//! trusts this certificate (`SSL_CERT_FILE`); other TLS libraries then accept it, but webpki does not.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use memchr::memmem;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

/// TLS cannot be set up.
pub type SetupError = Box<dyn std::error::Error + Send + Sync>;

/// The file of `SSL_CERT_FILE` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFileError {
    /// It cannot be read.
    #[error("SSL_CERT_FILE cannot be used: failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is a folder.
    #[error("SSL_CERT_FILE cannot be used: `{}` is a folder: name a file, or set SSL_CERT_DIR instead", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// It is in binary form.
    #[error("SSL_CERT_FILE cannot be used: `{path}` is DER, and PEM is expected: `openssl x509 -inform der -in {path} -out cert.pem`", path = path.display())]
    Der {
        /// The file.
        path: PathBuf,
    },
    /// It contains no readable certificate.
    #[error("SSL_CERT_FILE cannot be used: `{}` {reason}: expected PEM, which begins with `-----BEGIN CERTIFICATE-----`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: &'static str,
    },
}

/// The file of `SSL_CERT_FILE`, for the whole process.
static TRUSTED_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Maximum size, larger than any bundle.
const FILE_BYTES: u64 = 64 << 20;

/// Sets the file that [`certificates`] reads, the value of `SSL_CERT_FILE`. Only the first call has an effect.
pub fn trust_file(path: PathBuf) {
    TRUSTED_FILE.get_or_init(|| path);
}

/// The certificates that this process trusts: the system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
///
/// # Errors
/// When `SSL_CERT_FILE` is set and has no certificate.
pub fn certificates() -> Result<Vec<CertificateDer<'static>>, CertificateFileError> {
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    if let Some(path) = TRUSTED_FILE.get() {
        certificates.extend(certificates_of(path)?);
        certificates.sort_unstable_by(|one, other| one.cmp(other));
        certificates.dedup();
    }
    Ok(certificates)
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFileError> {
    let (of, none) =
        (|| path.to_owned(), |reason| CertificateFileError::NoCertificate { path: path.to_owned(), reason });
    if path.is_dir() {
        return Err(CertificateFileError::Folder { path: of() });
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| CertificateFileError::Read { path: of(), source })?;
    // Some editors write a byte order mark, which PEM parsers reject.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let found: Vec<_> = CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.iter().cloned());
    let has = |word: &[u8]| memmem::find(text, word).is_some();
    match (added, bytes.first()) {
        (1.., _) => Ok(found),
        // The outermost DER sequence.
        (0, Some(0x30)) if !has(b"-----BEGIN") => Err(CertificateFileError::Der { path: of() }),
        (0, None) => Err(none("is empty")),
        (0, _) if has(b"BEGIN CERTIFICATE-----") => Err(none("has a certificate that cannot be read")),
        (0, _) if has(b"PRIVATE KEY-----") => Err(none("has a key and no certificate")),
        (0, _) => Err(none("has no certificate")),
    }
}

/// A client that trusts `certificates`, both as roots and as server certificates; without any, it trusts no server.
/// Uses ring, like sqlx.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client_config(certificates: Vec<CertificateDer<'static>>) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        // TLS will not be used.
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let verifier = Arc::new(Verifier::new(roots, certificates, provider)?);
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Verifies by webpki, and accepts a certificate that webpki rejects if it is itself trusted.
#[derive(Debug)]
struct Verifier {
    web_pki: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, SetupError> {
        let web_pki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { web_pki, trusted })
    }
}

/// A certificate without usable names. The message ends the chain of a connection error.
#[derive(thiserror::Error)]
#[error("{WITHOUT_NAME}")]
struct CertificateWithoutName;

/// rustls displays errors of other libraries with this prefix.
impl fmt::Debug for CertificateWithoutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WITHOUT_NAME)
    }
}

const WITHOUT_NAME: &str = "the certificate has no subjectAltName, and its common name (CN) is ignored: create \
    it again with `-addext subjectAltName=DNS:HOST` (`IP:…` for an address)";

/// Whether the certificate was rejected because it has no usable name.
pub(crate) fn is_nameless(rejected: &CertificateError) -> bool {
    matches!(rejected, CertificateError::Other(OtherError(error)) if error.is::<CertificateWithoutName>())
}

fn is_for_no_name(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) = error else {
        return false;
    };
    presented.is_empty()
}

/// `error` with a message that contains the fix.
fn nameless(error: Error) -> Error {
    match is_for_no_name(&error) {
        true => CertificateError::Other(OtherError(Arc::new(CertificateWithoutName))).into(),
        false => error,
    }
}

/// The fix if PostgreSQL's driver, which has its own verifier, rejects a certificate with `error`.
pub fn remedy(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inner = inner.and_then(|error| error.downcast_ref::<Error>());
    error.downcast_ref::<Error>().or(inner).filter(|error| is_for_no_name(error)).map(|_| WITHOUT_NAME)
}

/// Whether the certificate is self-signed. webpki checks its dates before this.
fn is_about_issuer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
            matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.web_pki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The handshake's signature proves that the server has its key.
            Err(error) if is_about_issuer(&error) && self.trusted.iter().any(|own| own == end_entity) => {
                let named = verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name);
                named.map(|()| ServerCertVerified::assertion()).map_err(nameless)
            }
            verified => verified.map_err(nameless),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web_pki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web_pki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web_pki.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For `CN=localhost`, without a subjectAltName, until 2126.
    const NAMELESS_PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUBzyvTkQZ9adpRkelgm7GEtoIpK0wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTIzMTkwMVoYDzIxMjYxMTA1
MjMxOTAxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATftA6xyDv6KxgYsBBWBlRrU5kKVciPZw7+xzzYy5Rc490xD7ccAe/U
7rJ3gqwk3wXvvb86d+7goTJ9IEoTi4Wko1MwUTAdBgNVHQ4EFgQUWCTCX0p3Aw7C
2gg4RfMuRW/R1WAwHwYDVR0jBBgwFoAUWCTCX0p3Aw7C2gg4RfMuRW/R1WAwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAxSec5UmSnZu+VnD9J8Gz
X5t/IUMobZInUJsqZ3ul6FICIQCN87Fvd4HWBhdIklFBEgFnxZ5SrGVHtwnoNn2S
DN/QLQ==
-----END CERTIFICATE-----";

    #[test]
    fn certificate_with_only_a_common_name_is_rejected_with_the_fix() {
        let own = CertificateDer::from_pem_slice(NAMELESS_PEM.as_bytes()).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).expect("a certificate");
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(roots, vec![own.clone()], provider).expect("it verifies");
        let name = ServerName::try_from("localhost").expect("a name");
        let error = verifier.verify_server_cert(&own, &[], &name, &[], UnixTime::now()).expect_err("no name");
        let words = error.to_string();
        assert!(words.contains("has no subjectAltName") && words.contains("-addext"), "{words}");
        assert!(matches!(&error, Error::InvalidCertificate(rejected) if is_nameless(rejected)));
        // Like the driver's verifier.
        let error = verify_server_name(&ParsedCertificate::try_from(&own).expect("it parses"), &name);
        let error = io::Error::other(error.expect_err("no name"));
        assert_eq!(remedy(&error), Some(WITHOUT_NAME));
        assert_eq!(remedy(&io::Error::other("another")), None);
    }
}
