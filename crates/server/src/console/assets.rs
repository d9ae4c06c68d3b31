//! The style sheet and the script. Their names have a digest of their content, so browsers keep them.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

use super::ASSETS;
use crate::answer::ApiError;

struct Asset {
    stem: &'static str,
    extension: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

const STYLE: Asset = Asset {
    stem: "console",
    extension: "css",
    media_type: "text/css; charset=utf-8",
    content: include_bytes!("assets/console.css"),
};
const SCRIPT: Asset = Asset {
    stem: "console",
    extension: "js",
    media_type: "text/javascript; charset=utf-8",
    content: include_bytes!("assets/console.js"),
};
const ICON: Asset = Asset {
    stem: "icon",
    extension: "svg",
    media_type: "image/svg+xml",
    content: include_bytes!("assets/icon.svg"),
};

static STYLE_PATH: LazyLock<String> = LazyLock::new(|| STYLE.path());
static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| SCRIPT.path());
static ICON_PATH: LazyLock<String> = LazyLock::new(|| ICON.path());

impl Asset {
    fn name(&self) -> String {
        let digest: String =
            Sha256::digest(self.content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}.{digest}.{}", self.stem, self.extension)
    }

    fn path(&self) -> String {
        format!("{ASSETS}{}", self.name())
    }

    /// Whether `name` is this asset's, with any digest.
    fn is_named(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('.').collect();
        matches!(parts[..], [stem, _, extension] if stem == self.stem && extension == self.extension)
    }
}

/// The path of the style sheet.
pub(super) fn style() -> &'static str {
    &STYLE_PATH
}

/// The path of the script.
pub(super) fn script() -> &'static str {
    &SCRIPT_PATH
}

/// The path of the icon.
pub(super) fn icon() -> &'static str {
    &ICON_PATH
}

/// Returns an asset. Behind the gateway, a page may come from a service of another version: its asset is answered with
/// ours, and not kept.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, ApiError> {
    let asset = [STYLE, SCRIPT, ICON].into_iter().find(|asset| asset.is_named(&name));
    let Some(asset) = asset else {
        return Err(ApiError::NoRoute { path: format!("{ASSETS}{name}") });
    };
    let caching = if asset.name() == name { "public, max-age=31536000, immutable" } else { "no-store" };
    let headers = [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, caching)];
    Ok((StatusCode::OK, headers, asset.content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_is_small() {
        assert!(SCRIPT.content.len() <= 25_000, "{}", SCRIPT.content.len());
        assert!(STYLE.content.len() <= 25_000, "{}", STYLE.content.len());
    }
}
