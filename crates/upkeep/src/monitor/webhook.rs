//! Tells somebody's server of alerts.

use std::time::Duration;

use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::sleep;

use super::alert::AlertChange;

/// Nobody is told later than after a quarter of a minute, so that the next pass is not late.
const TIMEOUT: Duration = Duration::from_secs(4);
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// A server that wants to know of alerts.
#[derive(Clone, Debug)]
pub struct Webhook {
    client: Client,
    /// Whoever knows it may write there.
    url: SecretString,
}

/// A webhook was not told. The texts never name its URL.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It does not answer.
    #[error("failed to reach the webhook of alerts")]
    Unreachable {
        /// Why not.
        source: reqwest::Error,
    },
    /// It answers otherwise than by success.
    #[error("the webhook of alerts answers {status}: expected a success")]
    Refused {
        /// Its status.
        status: StatusCode,
    },
}

impl Webhook {
    /// Posts to `url` by `client`.
    pub fn new(client: Client, url: SecretString) -> Self {
        Self { client, url }
    }

    /// Posts `change` as JSON; again after half a second and two, where that may help.
    ///
    /// # Errors
    /// When the last attempt fails.
    pub async fn tell(&self, change: &AlertChange) -> Result<(), WebhookError> {
        let body = change.to_json().to_string();
        let mut waits = RETRY_AFTER.into_iter();
        loop {
            let error = match self.post(body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match waits.next().filter(|_| error.may_pass()) {
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
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
        }
    }
}
