//! Metrics of the primary and its replicas.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use store::postgres::{Database, Lag, ServerState};

/// Reads the state of a database's servers.
#[derive(Debug)]
pub(super) struct Servers(pub(super) Database);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: String,
    role: &'static str,
}

type Count = fn(&ServerState) -> u64;
type Measure = fn(&Lag) -> f64;

fn labels(server: &ServerState) -> ServerLabels {
    ServerLabels { server: server.address.clone(), role: server.role() }
}

impl Collector for Servers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let servers = self.0.read_servers();
        let counters: [(_, _, Count); 2] = [
            ("database_reads", "Reads that the server has answered", |server| server.reads),
            (
                "database_reads_passed_on",
                "Reads that the replica should have answered, and that the primary answered instead",
                |server| server.passed_on,
            ),
        ];
        for (name, help, value) in counters {
            let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for server in &servers {
                let counter = ConstCounter::new(value(server));
                counter.encode(descriptor.encode_family(&labels(server))?)?;
            }
        }
        let mut up = encoder.encode_descriptor(
            "database_server_answers_reads",
            "Whether the server answers reads",
            None,
            MetricType::Gauge,
        )?;
        for server in &servers {
            let gauge = ConstGauge::new(i64::from(server.problem.is_none()));
            gauge.encode(up.encode_family(&labels(server))?)?;
        }
        let lags: [(_, _, _, Measure); 2] = [
            ("database_replica_lag", "How far the replica is behind in time", Unit::Seconds, |lag| {
                lag.time.as_secs_f64()
            }),
            (
                "database_replica_lag",
                "Bytes of the log that the replica has not replayed",
                Unit::Bytes,
                |lag| lag.bytes as f64,
            ),
        ];
        for (name, help, unit, value) in lags {
            let mut descriptor = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
            for server in &servers {
                let Some(lag) = &server.lag else { continue };
                let gauge = ConstGauge::new(value(lag));
                gauge.encode(descriptor.encode_family(&labels(server))?)?;
            }
        }
        Ok(())
    }
}
