//! What all plots share.

use anyhow::anyhow;
use plotters::drawing::DrawingAreaErrorKind;

pub(crate) const FONT: &str = "sans-serif";

/// Plotters' errors borrow what they speak of.
pub(crate) fn drawing<E: std::error::Error + Send + Sync>(
    error: DrawingAreaErrorKind<E>,
) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
