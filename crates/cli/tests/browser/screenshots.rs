//! The pictures of the documentation, which `docs/screenshots` takes of the demo's data.

use std::{env, fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use test_support::PageScripts;

use super::on_site;

/// Name, page, height.
const PICTURES: [(&str, &str, u32); 5] = [
    ("home", "/", 640),
    ("records", "/console/queries?q=how+do+vaccines+work", 640),
    ("runs", "/console/runs", 480),
    ("compare", "/console/compare?model_a=gpt-4o&model_b=gpt-4o-mini", 640),
    ("quality", "/console/quality", 640),
];
const WIDTH: u32 = 1280;
const MOST_BYTES: usize = 150_000;

#[tokio::test]
async fn pictures_of_the_console_are_there_and_small() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images");
    if env::var_os("UPDATE_SCREENSHOTS").is_some_and(|value| value == "1") {
        let folder = folder.clone();
        on_site(move |site| {
            fs::create_dir_all(&folder).expect("the folder can be made");
            let tab = site.chromium.open(PageScripts::Run);
            for (name, path, height) in PICTURES {
                let size = json!({"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": false});
                tab.devtools("Emulation.setDeviceMetricsOverride", &size);
                tab.open(&site.at(path));
                let taken = tab
                    .devtools("Page.captureScreenshot", &json!({"format": "png", "optimizeForSpeed": false}));
                let picture =
                    BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("it is Base64");
                fs::write(folder.join(format!("console-{name}.png")), picture).expect("it can be written");
            }
        })
        .await;
    }
    for (name, ..) in PICTURES {
        let picture = fs::read(folder.join(format!("console-{name}.png"))).expect("the picture is there");
        assert!(
            picture.starts_with(b"\x89PNG\r\n") && picture.len() <= MOST_BYTES,
            "{name}: {} bytes",
            picture.len()
        );
        assert_eq!(picture[16..20], WIDTH.to_be_bytes(), "the width of {name}");
    }
}
