//! Sends alerts to a webhook.

use std::time::Duration;

use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::sleep;

use super::alert::AlertChange;

/// Limits all attempts to a quarter of a minute, so that the next pass is not delayed.
const TIMEOUT: Duration = Duration::from_secs(4);
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// A webhook for alerts.
#[derive(Clone, Debug)]
pub struct Webhook {
    client: Client,
    /// Secret, since knowing it allows posting.
    url: SecretString,
}

/// A webhook request failed. The messages never include its URL.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The server is unreachable.
    #[error("failed to reach the alert webhook")]
    Unreachable {
        /// The cause.
        source: reqwest::Error,
    },
    /// The server returned an error status.
    #[error("the alert webhook returned status {status}: expected a success")]
    Refused {
        /// The status.
        status: StatusCode,
    },
}

impl Webhook {
    /// Posts to `url` by `client`.
    pub fn new(client: Client, url: SecretString) -> Self {
        Self { client, url }
    }

    /// Posts `change` as JSON, with retries after 0.5 and 2 seconds if they may help.
    ///
    /// # Errors
    /// When the last attempt fails.
    pub async fn send(&self, change: &AlertChange) -> Result<(), WebhookError> {
        let body = change.to_json().to_string();
        let mut waits = RETRY_AFTER.into_iter();
        loop {
            let error = match self.post(body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match waits.next().filter(|_| error.is_transient()) {
                Some(wait) => sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn post(&self, body: String) -> Result<(), WebhookError> {
        let request = self
            .client
            .post(self.url.expose_secret())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = request.send().await;
        let answer = answer.map_err(|error| WebhookError::Unreachable { source: error.without_url() })?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(WebhookError::Refused { status: answer.status() })
        }
    }
}

impl WebhookError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
        }
    }
}
