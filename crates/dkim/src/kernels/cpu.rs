//! Instructions that this CPU has, as values: who holds one has asked the CPU.
//!
//! A kernel takes such a value, so that calling it is safe: there is no other way to make one than `detect`.

/// SHA-NI and the SSE instructions around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShaNi(());

/// AVX2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

/// AVX-512 F and BW.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

/// AVX-512 F and IFMA.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ifma(());

#[cfg(target_arch = "x86_64")]
impl ShaNi {
    pub(crate) fn detect() -> Option<ShaNi> {
        let has =
            is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1");
        has.then_some(ShaNi(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    pub(crate) fn detect() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    pub(crate) fn detect() -> Option<Avx512> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        has.then_some(Avx512(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Ifma {
    pub(crate) fn detect() -> Option<Ifma> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma");
        has.then_some(Ifma(()))
    }
}
