//! Conversion of the f64 components that Chroma 0.3 stored to the original f32.

/// A converted list of f64.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Narrowed {
    /// All components are unchanged.
    Exact(Vec<f32>),
    /// At least one component exceeded single precision and was rounded to the nearest.
    Rounded(Vec<f32>),
    /// At least one finite component is out of the range of single precision and would become infinite.
    TooLarge,
}

/// Converts each component. Chroma's own index did the same without a warning.
pub(super) fn narrow(values: &[f64]) -> Narrowed {
    let components: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let is_exact = |(wide, narrow): (&f64, &f32)| f64::from(*narrow) == *wide || wide.is_nan();
    let pairs = || values.iter().zip(&components);
    // Counted instead of searched: without an early exit, the compiler can vectorize the loop.
    if pairs().filter(|pair| is_exact(*pair)).count() == values.len() {
        Narrowed::Exact(components)
    } else if pairs().any(|(wide, narrow)| wide.is_finite() && narrow.is_infinite()) {
        Narrowed::TooLarge
    } else {
        Narrowed::Rounded(components)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_precision_is_exact() {
        let exact = [0.5, -0.0, f64::from(0.1_f32), f64::from(f32::MIN_POSITIVE / 2.0), f64::NEG_INFINITY];
        let Narrowed::Exact(components) = narrow(&exact) else { panic!() };
        assert_eq!(components, [0.5, -0.0, 0.1, f32::MIN_POSITIVE / 2.0, f32::NEG_INFINITY]);
        assert!(components[1].is_sign_negative());
        assert!(matches!(narrow(&[f64::NAN]), Narrowed::Exact(components) if components[0].is_nan()));
        assert_eq!(narrow(&[0.1]), Narrowed::Rounded(vec![0.1]));
        assert_eq!(narrow(&[1e-300]), Narrowed::Rounded(vec![0.0]));
        assert_eq!(narrow(&[f64::INFINITY, 0.1]), Narrowed::Rounded(vec![f32::INFINITY, 0.1]));
        assert_eq!(narrow(&[1.0, 1e300]), Narrowed::TooLarge);
        assert_eq!(narrow(&[]), Narrowed::Exact(vec![]));
    }
}
