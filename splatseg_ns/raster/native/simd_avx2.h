// Included by simd.h: 16 lanes as two registers of eight.
#pragma once

#include <immintrin.h>

namespace splatseg {
namespace SPLATSEG_ISA {

struct Vec {
    __m256 a, b;
};
struct Mask {
    __m256 a, b;
};

SPLATSEG_INLINE Vec set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
SPLATSEG_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
SPLATSEG_INLINE void store(float* p, Vec x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
SPLATSEG_INLINE Vec operator+(Vec x, Vec y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
SPLATSEG_INLINE Vec operator-(Vec x, Vec y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
SPLATSEG_INLINE Vec operator*(Vec x, Vec y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
SPLATSEG_INLINE Vec operator/(Vec x, Vec y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
SPLATSEG_INLINE Vec fma(Vec x, Vec y, Vec z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
SPLATSEG_INLINE Vec min(Vec x, Vec y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
SPLATSEG_INLINE Vec max(Vec x, Vec y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
SPLATSEG_INLINE Vec sqrt(Vec x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
SPLATSEG_INLINE Vec floor(Vec x) { return {_mm256_floor_ps(x.a), _mm256_floor_ps(x.b)}; }
SPLATSEG_INLINE Vec ceil(Vec x) { return {_mm256_ceil_ps(x.a), _mm256_ceil_ps(x.b)}; }
SPLATSEG_INLINE Vec abs(Vec x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
SPLATSEG_INLINE Vec negate(Vec x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign)};
}
SPLATSEG_INLINE Mask operator>=(Vec x, Vec y) {
    return {_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)};
}
SPLATSEG_INLINE Mask operator>(Vec x, Vec y) {
    return {_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)};
}
SPLATSEG_INLINE Mask both(Mask x, Mask y) { return {_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)}; }
SPLATSEG_INLINE bool any(Mask m) { return _mm256_movemask_ps(_mm256_or_ps(m.a, m.b)) != 0; }
SPLATSEG_INLINE Mask mask_of(uint32_t bits) {
    const __m256i place = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i low = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), place);
    const __m256i high = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits >> 8)), place);
    return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(low, place)), _mm256_castsi256_ps(_mm256_cmpeq_epi32(high, place))};
}
SPLATSEG_INLINE Vec select(Mask m, Vec x, Vec y) {
    return {_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}
SPLATSEG_INLINE Vec keep(Mask m, Vec x) { return {_mm256_and_ps(m.a, x.a), _mm256_and_ps(m.b, x.b)}; }
SPLATSEG_INLINE Vec add_where(Vec x, Mask m, Vec y) { return x + keep(m, y); }
SPLATSEG_INLINE void store_ints(int32_t* p, Vec x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvttps_epi32(x.a));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), _mm256_cvttps_epi32(x.b));
}

SPLATSEG_INLINE float sum(Vec x) {
    const __m256 halves = _mm256_add_ps(x.a, x.b);
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
}

SPLATSEG_INLINE __m256 exp2_half(__m256 p) {
    const __m256 bounded = _mm256_max_ps(p, _mm256_set1_ps(-100.0f));
    const __m256i whole = _mm256_cvtps_epi32(bounded);
    const __m256 part = _mm256_sub_ps(bounded, _mm256_cvtepi32_ps(whole));
    __m256 c = _mm256_set1_ps(kExp2[5]);
    for (int k = 4; k >= 0; k--) c = _mm256_fmadd_ps(c, part, _mm256_set1_ps(kExp2[k]));
    // adding to the exponent bits multiplies by a power of two
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(c), _mm256_slli_epi32(whole, 23)));
}
SPLATSEG_INLINE Vec exp2(Vec p) { return {exp2_half(p.a), exp2_half(p.b)}; }

}  // namespace SPLATSEG_ISA
}  // namespace splatseg
