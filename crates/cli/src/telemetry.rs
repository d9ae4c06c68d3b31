//! OpenTelemetry traces, and the TLS configuration of outgoing connections.

use std::thread;

use anyhow::{Context as _, anyhow};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use rustls::{ClientConfig, pki_types::CertificateDer};
use tracing_subscriber::{Layer, Registry, filter::LevelFilter};
use url::Url;

use crate::settings::table::OTEL_EXPORTER_OTLP_ENDPOINT;

/// Sends spans to a collector in batches, on a separate thread.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends to `endpoint`, the value of `OTEL_EXPORTER_OTLP_ENDPOINT`: OTLP over HTTP, protobuf.
    pub(crate) fn start(endpoint: &str) -> anyhow::Result<Self> {
        // The text may hold a password: no error repeats it.
        let wrong = || {
            anyhow!("{OTEL_EXPORTER_OTLP_ENDPOINT} is invalid: expected a URL such as http://localhost:4318")
        };
        let url = Url::parse(endpoint.trim()).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
            return Err(wrong());
        }
        let endpoint = format!("{}/v1/traces", url.as_str().trim_end_matches('/'));
        let tls = tls()?;
        // A blocking client has its own runtime, which an async thread may neither create nor drop.
        let client =
            thread::spawn(|| reqwest::blocking::Client::builder().tls_backend_preconfigured(tls).build())
                .join()
                .map_err(|_| anyhow!("failed to create the client of the trace collector"))?
                .context("failed to create the client of the trace collector")?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(endpoint)
            .build()
            .map_err(|_| wrong())?;
        let resource = Resource::builder().with_service_name("panopticon").build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self(provider))
    }

    /// The layer that turns spans into traces.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let tracer = self.0.tracer("panopticon");
        // Finer spans are for logs.
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(LevelFilter::INFO).boxed()
    }

    /// Sends the remaining spans.
    pub(crate) async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// TLS that trusts the system's certificates, or those of `SSL_CERT_FILE`, as roots and as server certificates. Without
/// any, as in small containers, no TLS server is trusted; servers without TLS remain reachable.
pub(crate) fn tls() -> anyhow::Result<ClientConfig> {
    client_config(store::tls::certificates()?)
}

/// As [`tls`]; `None` if there are no certificates.
pub(crate) fn tls_of_certificates() -> anyhow::Result<Option<ClientConfig>> {
    let certificates = store::tls::certificates()?;
    if certificates.is_empty() { Ok(None) } else { client_config(certificates).map(Some) }
}

fn client_config(certificates: Vec<CertificateDer<'static>>) -> anyhow::Result<ClientConfig> {
    store::tls::client_config(certificates).map_err(|error| anyhow!(error)).context("failed to set up TLS")
}
