// A thin layer of 16 float lanes: one row of a tile. The kernels are written once against it and compiled for AVX-512,
// AVX2 and plain 128-bit vectors. AVX-512 and AVX2 do the same operations in the same order, so that their results
// are equal bit for bit; the portable one has no fused multiply-add and may differ in the last bits.
#pragma once

#include <cstdint>

#define SPLATSEG_INLINE inline __attribute__((always_inline))

namespace splatseg {
namespace SPLATSEG_ISA {

constexpr int kLanes = 16;

// 2^f on [-0.5, 0.5], relative error below 2.5e-7.
constexpr float kExp2[6] = {1.00000007f, 0.693146967f, 0.240221197f, 0.0555071327f, 0.00967554133f, 0.00132764718f};

}  // namespace SPLATSEG_ISA
}  // namespace splatseg

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include "simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "simd_avx2.h"
#else
#include "simd_portable.h"
#endif
