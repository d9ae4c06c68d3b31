//! Shares of counts with their uncertainty.

use super::Interval;

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval of the share `part / whole`; none of nothing. It counts each as independent.
pub fn share_interval(part: u64, whole: u64) -> Option<Interval> {
    if whole == 0 {
        return None;
    }
    let n = whole as f64;
    let share = part.min(whole) as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let centre = share + Z * Z / (2.0 * n);
    let width = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Rounding may leave the range of shares by a last bit.
    Some(Interval { low: ((centre - width) / scale).max(0.0), high: ((centre + width) / scale).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_wilsons() {
        let shown = |part, whole| {
            share_interval(part, whole).map(|Interval { low, high }| format!("{low:.4} {high:.4}"))
        };
        // R: binom::binom.wilson
        assert_eq!(shown(7, 10).as_deref(), Some("0.3968 0.8922"));
        assert_eq!(shown(0, 10).as_deref(), Some("0.0000 0.2775"));
        assert_eq!(shown(10, 10).as_deref(), Some("0.7225 1.0000"));
        assert_eq!(shown(0, 0), None);
    }
}
