//! Passes what Cargo knows about this build to `src/commands/version.rs`.

fn main() {
    for name in ["TARGET", "PROFILE"] {
        let value = std::env::var(name).expect("Cargo sets it for build scripts");
        println!("cargo::rustc-env=PANOPTICON_BUILD_{name}={value}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
