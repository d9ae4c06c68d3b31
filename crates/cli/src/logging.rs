//! The log of a command: what the libraries report, on standard error.

use anyhow::anyhow;
use tracing_subscriber::filter::LevelFilter;

/// Sends log lines of `level` and above to standard error.
pub(crate) fn start(level: LevelFilter) {
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false).init();
}

/// The level that the contract's `LOG_LEVEL` names; the old services' Python names count too.
pub(crate) fn level(name: &str) -> anyhow::Result<LevelFilter> {
    match name.to_ascii_uppercase().as_str() {
        "CRITICAL" | "ERROR" => Ok(LevelFilter::ERROR),
        "WARNING" | "WARN" => Ok(LevelFilter::WARN),
        "INFO" => Ok(LevelFilter::INFO),
        "DEBUG" => Ok(LevelFilter::DEBUG),
        "TRACE" => Ok(LevelFilter::TRACE),
        _ => Err(anyhow!("LOG_LEVEL is `{name}`: expected ERROR, WARNING, INFO, DEBUG or TRACE")),
    }
}
