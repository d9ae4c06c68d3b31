//! Traces for OpenTelemetry, and the TLS that connections of ours have.

use std::thread;

use anyhow::{Context as _, anyhow};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use rustls::{ClientConfig, pki_types::CertificateDer};
use tracing_subscriber::{Layer, Registry, filter::LevelFilter};
use url::Url;

use crate::settings::table::OTEL_EXPORTER_OTLP_ENDPOINT;

/// Sends spans to a collector, in batches, on a thread of its own.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends to `endpoint`, the value of `OTEL_EXPORTER_OTLP_ENDPOINT`: OTLP over HTTP, protobuf.
    pub(crate) fn start(endpoint: &str) -> anyhow::Result<Self> {
        // The text may hold a password: no error repeats it.
        let wrong = || {
            anyhow!("{OTEL_EXPORTER_OTLP_ENDPOINT} is wrong: expected a URL such as http://localhost:4318")
        };
        let url = Url::parse(endpoint.trim()).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
            return Err(wrong());
        }
        let endpoint = format!("{}/v1/traces", url.as_str().trim_end_matches('/'));
        let tls = tls()?;
        // A blocking client has a runtime of its own, which an async thread may neither make nor drop.
        let client =
            thread::spawn(|| reqwest::blocking::Client::builder().tls_backend_preconfigured(tls).build())
                .join()
                .map_err(|_| anyhow!("failed to make the client of the trace collector"))?
                .context("failed to make the client of the trace collector")?;
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

    /// What turns spans into traces.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let tracer = self.0.tracer("panopticon");
        // What is finer is for logs.
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(LevelFilter::INFO).boxed()
    }

    /// Sends what is left.
    pub(crate) async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// TLS that trusts the system's certificates, or those of `SSL_CERT_FILE`, as roots and as servers' own. Where there are
/// none, as in small containers, no server behind TLS is trusted, and those without TLS are reached.
pub(crate) fn tls() -> anyhow::Result<ClientConfig> {
    client_config(store::tls::certificates()?)
}

/// The same; `None` where there are no certificates.
pub(crate) fn tls_of_certificates() -> anyhow::Result<Option<ClientConfig>> {
    let certificates = store::tls::certificates()?;
    if certificates.is_empty() { Ok(None) } else { client_config(certificates).map(Some) }
}

fn client_config(certificates: Vec<CertificateDer<'static>>) -> anyhow::Result<ClientConfig> {
    store::tls::client_config(certificates).map_err(|error| anyhow!(error)).context("failed to set TLS up")
}
