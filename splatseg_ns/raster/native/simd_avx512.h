// Included by simd.h.
#pragma once

#include <immintrin.h>

namespace splatseg {
namespace SPLATSEG_ISA {

struct Vec {
    __m512 v;
};
using Mask = __mmask16;

SPLATSEG_INLINE Vec set1(float x) { return {_mm512_set1_ps(x)}; }
SPLATSEG_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
SPLATSEG_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
SPLATSEG_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
SPLATSEG_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
SPLATSEG_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
SPLATSEG_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
SPLATSEG_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
SPLATSEG_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
SPLATSEG_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
SPLATSEG_INLINE Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
SPLATSEG_INLINE Vec floor(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
SPLATSEG_INLINE Vec ceil(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)}; }
SPLATSEG_INLINE Vec abs(Vec a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
SPLATSEG_INLINE Vec negate(Vec a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
SPLATSEG_INLINE Mask operator>=(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ); }
SPLATSEG_INLINE Mask operator>(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
SPLATSEG_INLINE Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
SPLATSEG_INLINE bool any(Mask m) { return m != 0; }
SPLATSEG_INLINE Mask mask_of(uint32_t bits) { return static_cast<Mask>(bits); }
SPLATSEG_INLINE Vec select(Mask m, Vec a, Vec b) { return {_mm512_mask_blend_ps(m, b.v, a.v)}; }
SPLATSEG_INLINE Vec keep(Mask m, Vec a) { return {_mm512_maskz_mov_ps(m, a.v)}; }
SPLATSEG_INLINE Vec add_where(Vec a, Mask m, Vec b) { return {_mm512_mask_add_ps(a.v, m, a.v, b.v)}; }
SPLATSEG_INLINE void store_ints(int32_t* p, Vec a) { _mm512_storeu_si512(p, _mm512_cvttps_epi32(a.v)); }

SPLATSEG_INLINE float sum(Vec a) {
    const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
}

SPLATSEG_INLINE Vec exp2(Vec p) {
    p = max(p, set1(-100.0f));
    const __m512 whole = _mm512_roundscale_ps(p.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec part{_mm512_sub_ps(p.v, whole)};
    Vec c = set1(kExp2[5]);
    for (int k = 4; k >= 0; k--) c = fma(c, part, set1(kExp2[k]));
    return {_mm512_scalef_ps(c.v, whole)};
}

}  // namespace SPLATSEG_ISA
}  // namespace splatseg
