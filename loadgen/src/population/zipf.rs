//! Zipf's law: the k-th most popular of `count` things is drawn in proportion to `k^-exponent`.
//!
//! Rejection inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
//! distributions", 1996): no table, so a million things cost no more than ten.

use fastrand::Rng;

/// The distribution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Zipf {
    count: f64,
    exponent: f64,
    /// Integral of the density up to 1.5, less the weight of the first: where the drawing interval begins.
    low: f64,
    /// Integral up to `count` + 0.5: where it ends.
    high: f64,
    /// Within this distance above the point inverted, no test is needed.
    squeeze: f64,
}

impl Zipf {
    /// Over 1 to `count`; an exponent of 0 is uniform. Neither may be negative.
    pub(crate) fn new(count: u64, exponent: f64) -> Zipf {
        let mut zipf = Zipf { count: count.max(1) as f64, exponent, low: 0.0, high: 0.0, squeeze: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.count + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// A number from 1 to `count`.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.high + rng.f64() * (self.low - self.high);
            let x = self.inverse(u);
            let k = x.round().clamp(1.0, self.count);
            if k - x <= self.squeeze || u >= self.integral(k + 0.5) - self.density(k) {
                return k as u64;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// Of the density, from 1 to `x`; stable where the exponent is near 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        ratio_exp_m1((1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, y: f64) -> f64 {
        let t = (y * (1.0 - self.exponent)).max(-1.0);
        (ratio_ln_1p(t) * y).exp()
    }
}

/// `(e^x - 1) / x`.
fn ratio_exp_m1(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`.
fn ratio_ln_1p(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of the first things comes as often as it should, within five standard deviations.
    #[test]
    fn draws_follow_the_law() {
        const DRAWS: usize = 200_000;
        for (count, exponent) in [(1, 1.0), (2, 1.0), (10, 0.0), (100, 0.5), (1_000, 1.0), (1_000, 1.5), (50_000, 1.0)]
        {
            let zipf = Zipf::new(count, exponent);
            let mut rng = Rng::with_seed(7);
            let mut seen = vec![0usize; count as usize];
            for _ in 0..DRAWS {
                seen[zipf.draw(&mut rng) as usize - 1] += 1;
            }
            let whole: f64 = (1..=count).map(|k| (k as f64).powf(-exponent)).sum();
            for k in 1..=count.min(20) {
                let share = (k as f64).powf(-exponent) / whole;
                let mean = share * DRAWS as f64;
                let bound = 5.0 * (mean * (1.0 - share)).sqrt() + 1.0;
                let got = seen[k as usize - 1] as f64;
                assert!((got - mean).abs() <= bound, "{count} {exponent}: {k} came {got} times, expected {mean:.0}");
            }
        }
    }

    #[test]
    fn a_million_is_reached_and_never_passed() {
        let zipf = Zipf::new(1_000_000, 0.3);
        let mut rng = Rng::with_seed(1);
        let most = (0..100_000).map(|_| zipf.draw(&mut rng)).max().unwrap();
        assert!((990_000..=1_000_000).contains(&most), "{most}");
    }
}
