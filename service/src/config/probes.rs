use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use stream_inference::settings::{Whole, WholeOrNull};

/// What [`ProbesConfig::write_timeout_ms`] may be.
pub type WriteTimeoutMs = Whole<1, 600_000>;

/// Where a program without a page answers an orchestrator and Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ProbesConfig {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port of `/livez`, `/readyz` and `/metrics`, which ask for no token and publish nothing; 0
    /// takes a free one, and without one nothing listens.
    #[serde(with = "WholeOrNull::<0, 65_535>")]
    pub health_port: Option<u16>,
    /// How long a client may take nothing of its answer, in milliseconds, before it is cut off.
    #[serde(with = "WriteTimeoutMs")]
    pub write_timeout_ms: u64,
}

impl Default for ProbesConfig {
    fn default() -> Self {
        Self { bind: IpAddr::from([127, 0, 0, 1]), health_port: None, write_timeout_ms: 20_000 }
    }
}

impl ProbesConfig {
    pub(crate) const fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }
}
