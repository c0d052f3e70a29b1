// Included by simd.h: 16 lanes as four compiler vectors of four, which every 64-bit processor has (SSE2, NEON).
#pragma once

#include <cstring>

namespace splatseg {
namespace SPLATSEG_ISA {

typedef float Quad __attribute__((vector_size(16)));
typedef int32_t QuadBits __attribute__((vector_size(16)));

struct Vec {
    Quad q[4];
};
struct Mask {
    QuadBits q[4];
};

SPLATSEG_INLINE Quad quad_of(float x) { return Quad{x, x, x, x}; }
SPLATSEG_INLINE Quad quad_select(QuadBits m, Quad x, Quad y) {
    return reinterpret_cast<Quad>((m & reinterpret_cast<QuadBits>(x)) | (~m & reinterpret_cast<QuadBits>(y)));
}

template <class Function>
SPLATSEG_INLINE Vec each(Function&& f) {
    return {{f(0), f(1), f(2), f(3)}};
}
template <class Function>
SPLATSEG_INLINE Mask each_bits(Function&& f) {
    return {{f(0), f(1), f(2), f(3)}};
}

SPLATSEG_INLINE Vec set1(float x) { return {{quad_of(x), quad_of(x), quad_of(x), quad_of(x)}}; }
SPLATSEG_INLINE Vec load(const float* p) {
    Vec x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
SPLATSEG_INLINE void store(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }
SPLATSEG_INLINE Vec operator+(Vec x, Vec y) {
    return each([&](int i) { return x.q[i] + y.q[i]; });
}
SPLATSEG_INLINE Vec operator-(Vec x, Vec y) {
    return each([&](int i) { return x.q[i] - y.q[i]; });
}
SPLATSEG_INLINE Vec operator*(Vec x, Vec y) {
    return each([&](int i) { return x.q[i] * y.q[i]; });
}
SPLATSEG_INLINE Vec operator/(Vec x, Vec y) {
    return each([&](int i) { return x.q[i] / y.q[i]; });
}
SPLATSEG_INLINE Vec fma(Vec x, Vec y, Vec z) {
    return each([&](int i) { return x.q[i] * y.q[i] + z.q[i]; });
}
SPLATSEG_INLINE Vec min(Vec x, Vec y) {
    return each([&](int i) { return quad_select(x.q[i] < y.q[i], x.q[i], y.q[i]); });
}
SPLATSEG_INLINE Vec max(Vec x, Vec y) {
    return each([&](int i) { return quad_select(x.q[i] > y.q[i], x.q[i], y.q[i]); });
}
SPLATSEG_INLINE Vec sqrt(Vec x) {
    return each([&](int i) {
        const Quad q = x.q[i];
        return Quad{__builtin_sqrtf(q[0]), __builtin_sqrtf(q[1]), __builtin_sqrtf(q[2]), __builtin_sqrtf(q[3])};
    });
}
// Right for the values of a tile walk, which stay far below 2^31.
SPLATSEG_INLINE Vec truncate(Vec x) {
    return each([&](int i) { return __builtin_convertvector(__builtin_convertvector(x.q[i], QuadBits), Quad); });
}
SPLATSEG_INLINE Vec floor(Vec x) {
    const Vec whole = truncate(x);
    return each([&](int i) { return whole.q[i] - quad_select(whole.q[i] > x.q[i], quad_of(1.0f), quad_of(0.0f)); });
}
SPLATSEG_INLINE Vec ceil(Vec x) {
    const Vec whole = truncate(x);
    return each([&](int i) { return whole.q[i] + quad_select(whole.q[i] < x.q[i], quad_of(1.0f), quad_of(0.0f)); });
}
SPLATSEG_INLINE Vec abs(Vec x) {
    return each([&](int i) { return reinterpret_cast<Quad>(reinterpret_cast<QuadBits>(x.q[i]) & 0x7fffffff); });
}
SPLATSEG_INLINE Vec negate(Vec x) {
    return each([&](int i) { return -x.q[i]; });
}
SPLATSEG_INLINE Mask operator>=(Vec x, Vec y) {
    return each_bits([&](int i) { return x.q[i] >= y.q[i]; });
}
SPLATSEG_INLINE Mask operator>(Vec x, Vec y) {
    return each_bits([&](int i) { return x.q[i] > y.q[i]; });
}
SPLATSEG_INLINE Mask both(Mask x, Mask y) {
    return each_bits([&](int i) { return x.q[i] & y.q[i]; });
}
SPLATSEG_INLINE bool any(Mask m) {
    const QuadBits all = m.q[0] | m.q[1] | m.q[2] | m.q[3];
    int64_t halves[2];
    std::memcpy(halves, &all, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}
SPLATSEG_INLINE Mask mask_of(uint32_t bits) {
    const QuadBits place = {1, 2, 4, 8};
    return each_bits([&](int i) {
        const int32_t nibble = static_cast<int32_t>(bits >> (4 * i));
        return (QuadBits{nibble, nibble, nibble, nibble} & place) == place;
    });
}
SPLATSEG_INLINE Vec select(Mask m, Vec x, Vec y) {
    return each([&](int i) { return quad_select(m.q[i], x.q[i], y.q[i]); });
}
SPLATSEG_INLINE Vec keep(Mask m, Vec x) {
    return each([&](int i) { return reinterpret_cast<Quad>(m.q[i] & reinterpret_cast<QuadBits>(x.q[i])); });
}
SPLATSEG_INLINE Vec add_where(Vec x, Mask m, Vec y) { return x + keep(m, y); }
SPLATSEG_INLINE void store_ints(int32_t* p, Vec x) {
    for (int i = 0; i < 4; i++) {
        const QuadBits whole = __builtin_convertvector(x.q[i], QuadBits);
        std::memcpy(p + 4 * i, &whole, sizeof whole);
    }
}

SPLATSEG_INLINE float sum(Vec x) {
    const Quad quarter = (x.q[0] + x.q[2]) + (x.q[1] + x.q[3]);
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

SPLATSEG_INLINE Vec exp2(Vec p) {
    return each([&](int i) {
        const Quad bounded = quad_select(p.q[i] > -100.0f, p.q[i], quad_of(-100.0f));
        // Truncation of a negative number minus one half rounds it to the nearest integer; p is never above 1.
        const QuadBits whole = __builtin_convertvector(bounded - 0.5f, QuadBits);
        const Quad part = bounded - __builtin_convertvector(whole, Quad);
        Quad c = quad_of(kExp2[5]);
        for (int k = 4; k >= 0; k--) c = c * part + kExp2[k];
        return reinterpret_cast<Quad>(reinterpret_cast<QuadBits>(c) + (whole << 23));
    });
}

}  // namespace SPLATSEG_ISA
}  // namespace splatseg
