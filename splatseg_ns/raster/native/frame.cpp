// Projection, depth sort and tile lists. Compiled once for all processors: its floating-point results are the same
// on every one of them.

#include "frame.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "clock.h"
#include "projection.h"
#include "thread_pool.h"

namespace splatseg {

namespace {

constexpr int kProjectBlock = 4096;
constexpr int kRadixBits = 11;
constexpr int kRadixBins = 1 << kRadixBits;
constexpr int kMostPixels = 65535 * kTile;  // tile numbers have 16 bits
// As in the tile kernels: bounds are widened so that rounding cuts no pixel off.
constexpr float kRoundingPixels = 1e-3f;
constexpr float kRoundingLevel = 1.0f + 1e-4f;

int floor_to_int(float x) {
    const int whole = static_cast<int>(x);
    return whole - (whole > x);
}
int ceil_to_int(float x) {
    const int whole = static_cast<int>(x);
    return whole + (whole < x);
}
float clamp(float x, float low, float high) { return std::min(std::max(x, low), high); }

// By the profile's extent rule: the tiles that a Gaussian may reach, and its radii in pixels.
struct Reach {
    bool drawn;
    TileRect tiles;
    int32_t radius_x, radius_y;
};

Reach reach_of(const Profile& profile, const Camera& camera, float x, float y, float xx, float yy, float determinant,
               float opacity) {
    const float middle = 0.5f * (xx + yy);
    const float spread = middle * middle - determinant;
    const auto multiple = [&] { return std::sqrt(2.0f * std::log(opacity / profile.alpha_min)); };
    const int tiles_x = (camera.width + kTile - 1) / kTile, tiles_y = (camera.height + kTile - 1) / kTile;
    float rx, ry;
    switch (profile.extent) {
        case Extent::three_sigma:
        case Extent::inria: {
            const float floor_of_spread = profile.extent == Extent::inria ? 0.1f : 0.01f;
            rx = ry = std::ceil(3.0f * std::sqrt(middle + std::sqrt(std::max(floor_of_spread, spread))));
            break;
        }
        case Extent::opacity_aware: {
            const float reached = std::min(3.33f, multiple());
            rx = std::ceil(reached * std::sqrt(xx));
            ry = std::ceil(reached * std::sqrt(yy));
            break;
        }
        default:
            rx = ry = std::ceil(multiple() * std::sqrt(middle + std::sqrt(std::max(0.0f, spread))));
    }
    Reach reach{true, {0, 0, static_cast<uint16_t>(tiles_x), static_cast<uint16_t>(tiles_y)}, 0, 0};
    const float most = static_cast<float>(std::numeric_limits<int32_t>::max() / 2);
    reach.radius_x = static_cast<int32_t>(std::min(rx, most));
    reach.radius_y = static_cast<int32_t>(std::min(ry, most));
    if (profile.extent == Extent::ellipse) return reach;

    float first_x, last_x, first_y, last_y;  // tile coordinates, last exclusive
    if (profile.extent == Extent::inria) {
        first_x = std::trunc((x - 0.5f - rx) / kTile);
        first_y = std::trunc((y - 0.5f - ry) / kTile);
        last_x = std::trunc((x - 0.5f + rx + (kTile - 1)) / kTile);
        last_y = std::trunc((y - 0.5f + ry + (kTile - 1)) / kTile);
    } else {
        if (x + rx <= 0 || x - rx >= camera.width || y + ry <= 0 || y - ry >= camera.height) {
            reach.drawn = false;
            return reach;
        }
        first_x = std::floor((x - rx) / kTile);
        first_y = std::floor((y - ry) / kTile);
        last_x = std::ceil((x + rx) / kTile);
        last_y = std::ceil((y + ry) / kTile);
    }
    reach.tiles = {static_cast<uint16_t>(clamp(first_x, 0, tiles_x)), static_cast<uint16_t>(clamp(first_y, 0, tiles_y)),
                   static_cast<uint16_t>(clamp(last_x, 0, tiles_x)), static_cast<uint16_t>(clamp(last_y, 0, tiles_y))};
    reach.drawn = reach.tiles.left < reach.tiles.right && reach.tiles.top < reach.tiles.bottom;
    return reach;
}

}  // namespace

void* allocate(size_t bytes) {
    constexpr size_t kLine = 64, kLargePage = size_t{2} << 20;
    const bool is_long = bytes >= 2 * kLargePage;
    const size_t alignment = is_long ? kLargePage : kLine;
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, std::max(rounded, alignment));
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (is_long) madvise(memory, rounded, MADV_HUGEPAGE);  // advice: all goes well without it
#endif
    return memory;
}

// A Gaussian that can possibly be seen in the window: where it is in the camera, and its row in the splats.
struct Frame::Candidate {
    float x, y, z;
    int32_t source;
};

// A run of tiles in one row that a Gaussian touches.
struct Frame::Span {
    uint32_t gaussian;
    uint16_t tile_y, first_x, last_x;  // within the window's tiles, last inclusive
};

// What one thread lists: a stretch of the Gaussians in depth order.
struct Frame::BinChunk {
    std::vector<Span> spans;
    std::vector<uint32_t> next_in_tile;
};

Frame::Frame(const Kernels& kernels, int threads) : kernels_(kernels), threads_(threads) {}

Frame::~Frame() {
    for (VoteSpill& spill : spills_) {
        std::free(spill.mass);
        std::free(spill.column);
    }
}

void Frame::prepare(const Gaussians& gaussians, const Camera& camera, const Profile& profile, const Window& window) {
    if (gaussians.count > std::numeric_limits<int32_t>::max()) throw std::length_error("more than 2^31 Gaussians");
    if (camera.width > kMostPixels || camera.height > kMostPixels) throw std::length_error("picture too large");
    camera_ = camera;
    profile_ = profile;
    log2_alpha_min_ = std::log2(profile.alpha_min);
    window_ = window;
    gaussians_ = gaussians.count;
    first_tile_x_ = window.left / kTile;
    first_tile_y_ = window.top / kTile;
    tiles_across_ = (window.right + kTile - 1) / kTile - first_tile_x_;
    tiles_down_ = (window.bottom + kTile - 1) / kTile - first_tile_y_;
    {
        const StopWatch watch(seconds_.project);
        project(gaussians);
    }
    {
        const StopWatch watch(seconds_.sort);
        sort_by_depth();
    }
    const StopWatch watch(seconds_.bin);
    bin();
}

void Frame::project(const Gaussians& gaussians) {
    const int64_t count = gaussians.count;
    const int64_t blocks = (count + kProjectBlock - 1) / kProjectBlock;
    Candidate* candidates = candidates_.resize(count);
    block_counts_.assign(2 * blocks, 0);
    const SlopeLimits limits(camera_);
    // Nothing of a Gaussian lies farther from its centre than this many standard deviations.
    const float farthest = std::sqrt(2.0f * std::log(1.0f / profile_.alpha_min)) * 1.01f;
    const float stretch_x = std::sqrt(1.0f + std::max(limits.x_low * limits.x_low, limits.x_high * limits.x_high));
    const float stretch_y = std::sqrt(1.0f + std::max(limits.y_low * limits.y_low, limits.y_high * limits.y_high));
    const Culling culling{camera_,
                          window_,
                          profile_.near,
                          profile_.far,
                          profile_.alpha_min,
                          camera_.fx * farthest * stretch_x,
                          camera_.fy * farthest * stretch_y,
                          farthest * std::sqrt(profile_.eps2d) + 1.0f};

    auto& pool = ThreadPool::instance();
    pool.run(threads_, blocks, [&](int64_t block, int) {
        const int64_t begin = block * kProjectBlock;
        const int size = static_cast<int>(std::min<int64_t>(kProjectBlock, count - begin));
        float x[kProjectBlock], y[kProjectBlock], z[kProjectBlock];
        uint8_t possible[kProjectBlock], finite[kProjectBlock];
        kernels_.cull({gaussians.means + 3 * begin, gaussians.scales + 3 * begin, gaussians.opacities + begin, size},
                      culling, x, y, z, possible, finite);
        int64_t kept = 0, bad = size;
        for (int i = 0; i < size; i++) {
            candidates[begin + kept] = {x[i], y[i], z[i], static_cast<int32_t>(begin + i)};
            kept += possible[i] & finite[i];
            bad -= finite[i];
        }
        block_counts_[2 * block] = kept;
        block_counts_[2 * block + 1] = bad;
    });
    visible_ = undrawable_ = 0;
    for (int64_t block = 0; block < blocks; block++) {
        visible_ += std::exchange(block_counts_[2 * block], visible_);
        undrawable_ += block_counts_[2 * block + 1];
    }

    ellipses_.resize(visible_);
    bounds_.resize(visible_);
    depths_.resize(visible_);
    sources_.resize(visible_);
    radii_.resize(2 * visible_);
    pool.run(threads_, blocks, [&](int64_t block, int) {
        const int64_t end = block + 1 < blocks ? block_counts_[2 * (block + 1)] : visible_;
        const Candidate* candidate = candidates + block * kProjectBlock;
        for (int64_t to = block_counts_[2 * block]; to < end; to++) place(gaussians, limits, *candidate++, to);
    });
}

// A candidate that turns out not to be drawn keeps its row, but reaches no tile.
void Frame::place(const Gaussians& gaussians, const SlopeLimits& limits, const Candidate& candidate, int64_t to) {
    depths_[to] = candidate.z;
    sources_[to] = candidate.source;
    ellipses_[to] = Ellipse{};
    bounds_[to] = Bounds{};
    radii_[2 * to] = radii_[2 * to + 1] = 0;
    const float* quat = gaussians.quats + 4 * int64_t{candidate.source};
    const float* scales = gaussians.scales + 3 * int64_t{candidate.source};
    const float inverse_norm =
        1.0f / std::sqrt(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3]);
    const float unit[4] = {quat[0] * inverse_norm, quat[1] * inverse_norm, quat[2] * inverse_norm,
                           quat[3] * inverse_norm};
    const Projection<float> p =
        project_gaussian(candidate.x, candidate.y, candidate.z, unit, scales, camera_, limits, profile_.eps2d);
    if (!(p.determinant > 0.0) || !std::isfinite(p.determinant)) return;
    float shown = gaussians.opacities[candidate.source];
    if (profile_.antialiased)
        shown *= static_cast<float>(std::sqrt(std::max(0.0, p.sharp_determinant) / p.determinant));
    if (!(shown >= profile_.alpha_min)) return;
    const float xx = static_cast<float>(p.cov_xx), yy = static_cast<float>(p.cov_yy);
    const Reach reach =
        reach_of(profile_, camera_, p.screen_x, p.screen_y, xx, yy, static_cast<float>(p.determinant), shown);
    // A Gaussian whose tiles touch the window counts as seen, even where alpha reaches no pixel: its radius is what
    // densification asks for.
    const TileRect& tiles = reach.tiles;
    if (!reach.drawn || tiles.left * kTile >= window_.right || tiles.right * kTile <= window_.left ||
        tiles.top * kTile >= window_.bottom || tiles.bottom * kTile <= window_.top)
        return;
    const float log2_opacity = std::log2(shown);
    const float twice = 2.0f * ((log2_opacity - log2_alpha_min_) * kRoundingLevel + 1e-6f) / kLog2E;
    const float half_width = std::sqrt(twice * xx), half_height = std::sqrt(twice * yy);
    if (profile_.extent == Extent::ellipse && (p.screen_x + half_width + kRoundingPixels < window_.left + 0.5f ||
                                               p.screen_x - half_width - kRoundingPixels > window_.right - 0.5f ||
                                               p.screen_y + half_height + kRoundingPixels < window_.top + 0.5f ||
                                               p.screen_y - half_height - kRoundingPixels > window_.bottom - 0.5f))
        return;
    const double inverse = 1.0 / p.determinant;
    ellipses_[to] = {p.screen_x,
                     p.screen_y,
                     static_cast<float>(0.5 * kLog2E * p.cov_yy * inverse),
                     static_cast<float>(-kLog2E * p.cov_xy * inverse),
                     static_cast<float>(0.5 * kLog2E * p.cov_xx * inverse),
                     log2_opacity,
                     static_cast<float>(static_cast<double>(kLog2E) * kLog2E * inverse),
                     half_height};
    bounds_[to] = {tiles, half_width};
    radii_[2 * to] = reach.radius_x;
    radii_[2 * to + 1] = reach.radius_y;
}

void Frame::sort_by_depth() {
    const int64_t count = visible_;
    uint32_t *keys = keys_.resize(count), *order = order_.resize(count);
    uint32_t *keys_to = keys_swap_.resize(count), *order_to = order_swap_.resize(count);
    const int chunks = count < 1 << 14 ? 1 : threads_;
    std::vector<uint32_t> places(static_cast<size_t>(chunks) * kRadixBins);
    auto& pool = ThreadPool::instance();
    // The bits of positive floats sort like the numbers.
    std::memcpy(keys, depths_.data(), count * sizeof(float));
    for (int64_t i = 0; i < count; i++) order[i] = static_cast<uint32_t>(i);
    for (int shift = 0; shift < 32; shift += kRadixBits) {
        std::fill(places.begin(), places.end(), 0);
        pool.run(chunks, chunks, [&](int64_t chunk, int) {
            uint32_t* histogram = &places[chunk * kRadixBins];
            for (int64_t i = count * chunk / chunks; i < count * (chunk + 1) / chunks; i++)
                histogram[(keys[i] >> shift) & (kRadixBins - 1)]++;
        });
        uint32_t before = 0;
        for (int bin = 0; bin < kRadixBins; bin++)
            for (int chunk = 0; chunk < chunks; chunk++) {
                uint32_t& place = places[static_cast<size_t>(chunk) * kRadixBins + bin];
                before += std::exchange(place, before);
            }
        pool.run(chunks, chunks, [&](int64_t chunk, int) {
            uint32_t* next = &places[chunk * kRadixBins];
            for (int64_t i = count * chunk / chunks; i < count * (chunk + 1) / chunks; i++) {
                const uint32_t to = next[(keys[i] >> shift) & (kRadixBins - 1)]++;
                keys_to[to] = keys[i];
                order_to[to] = order[i];
            }
        });
        std::swap(keys, keys_to);
        std::swap(order, order_to);
    }
    // Three passes leave the result in the second pair of buffers.
    static_assert((32 + kRadixBits - 1) / kRadixBits == 3, "the result lies in order_swap_");
}

void Frame::bin() {
    const int64_t count = visible_;
    const uint32_t* order = order_swap_.data();
    const int chunks = count < 1 << 13 ? 1 : threads_;
    while (static_cast<int>(bin_chunks_.size()) < chunks) bin_chunks_.push_back(std::make_unique<BinChunk>());
    int64_t* slot_begin = slot_begin_.resize(count + 1);
    auto& pool = ThreadPool::instance();

    pool.run(chunks, chunks, [&](int64_t index, int) {
        BinChunk& chunk = *bin_chunks_[index];
        chunk.spans.clear();
        chunk.next_in_tile.assign(tiles(), 0);
        const int64_t end = count * (index + 1) / chunks;
        for (int64_t i = count * index / chunks; i < end; i++) {
            if (i + 16 < end) {
                __builtin_prefetch(&ellipses_[order[i + 16]]);
                __builtin_prefetch(&bounds_[order[i + 16]]);
                __builtin_prefetch(&slot_begin[order[i + 16]], 1);
            }
            const uint32_t gaussian = order[i];
            const Ellipse& e = ellipses_[gaussian];
            const float half_width = bounds_[gaussian].half_width;
            // First and last pixel whose centre the bounds contain, and the tiles they lie in.
            const auto first_tile = [](float from, int least) {
                return ceil_to_int(clamp(from - 0.5f - kRoundingPixels, least, kMostPixels)) / kTile;
            };
            const auto last_tile = [](float to, int most) {
                const float bounded = std::min(to - 0.5f + kRoundingPixels, static_cast<float>(most));
                return bounded < 0.0f ? -1 : floor_to_int(bounded) / kTile;
            };
            const TileRect& rect = bounds_[gaussian].tiles;
            if (rect.left == rect.right) {
                slot_begin[gaussian] = 0;
                continue;
            }
            const int left = std::max<int>(rect.left, first_tile(e.x - half_width, window_.left));
            const int right = std::min<int>(rect.right - 1, last_tile(e.x + half_width, window_.right - 1));
            const int top = std::max<int>(rect.top, first_tile(e.y - e.half_height, window_.top));
            const int bottom = std::min<int>(rect.bottom - 1, last_tile(e.y + e.half_height, window_.bottom - 1));
            int64_t listed = 0;
            const bool slender = left < right && top < bottom;
            const float level = (e.log2_opacity - log2_alpha_min_) * kRoundingLevel;
            const float inverse2a = 0.5f / e.a;
            const float at_right = slender ? -e.b / (2.0f * e.c) * half_width : 0.0f;  // dy of the rightmost point
            for (int tile_y = top; tile_y <= bottom; tile_y++) {
                int first = left, last = right;
                if (slender) {
                    // Where the ellipse's left and right ends lie within this row of tiles.
                    const float above = tile_y * kTile + 0.5f - e.y - kRoundingPixels;
                    const float below = tile_y * kTile + kTile - 0.5f - e.y + kRoundingPixels;
                    const float dy_right = clamp(at_right, above, below), dy_left = clamp(-at_right, above, below);
                    const float right2 = 4.0f * e.a * level - e.discriminant * dy_right * dy_right;
                    const float left2 = 4.0f * e.a * level - e.discriminant * dy_left * dy_left;
                    if (right2 < 0.0f && left2 < 0.0f) continue;
                    const float to = (-e.b * dy_right + std::sqrt(std::max(right2, 0.0f))) * inverse2a;
                    const float from = (-e.b * dy_left - std::sqrt(std::max(left2, 0.0f))) * inverse2a;
                    first = std::max(first, first_tile(e.x + from, window_.left));
                    last = std::min(last, last_tile(e.x + to, window_.right - 1));
                }
                if (first > last) continue;
                chunk.spans.push_back({gaussian, static_cast<uint16_t>(tile_y - first_tile_y_),
                                       static_cast<uint16_t>(first - first_tile_x_),
                                       static_cast<uint16_t>(last - first_tile_x_)});
                uint32_t* in_tile = &chunk.next_in_tile[(tile_y - first_tile_y_) * tiles_across_ - first_tile_x_];
                for (int tile_x = first; tile_x <= last; tile_x++) in_tile[tile_x]++;
                listed += last - first + 1;
            }
            slot_begin[gaussian] = listed;
        }
    });

    int64_t total = 0;
    for (int64_t g = 0; g < count; g++) total += std::exchange(slot_begin[g], total);
    slot_begin[count] = total;
    if (total > std::numeric_limits<uint32_t>::max())
        throw std::length_error("more than 2^32 tiles are touched by Gaussians; render a smaller picture");
    intersections_ = total;
    int64_t* tile_begin = tile_begin_.resize(tiles() + 1);
    total = 0;
    for (int tile = 0; tile < tiles(); tile++) {
        tile_begin[tile] = total;
        for (int chunk = 0; chunk < chunks; chunk++)
            total += std::exchange(bin_chunks_[chunk]->next_in_tile[tile], static_cast<uint32_t>(total));
    }
    tile_begin[tiles()] = total;

    Listed* list = list_.resize(total);
    pool.run(chunks, chunks, [&](int64_t index, int) {
        BinChunk& chunk = *bin_chunks_[index];
        uint32_t current = 0xffffffffu, slot = 0;
        for (const Span& span : chunk.spans) {
            if (span.gaussian != current) {
                current = span.gaussian;
                slot = static_cast<uint32_t>(slot_begin[current]);
            }
            uint32_t* next = &chunk.next_in_tile[span.tile_y * tiles_across_];
            for (int tile_x = span.first_x; tile_x <= span.last_x; tile_x++) {
                list[next[tile_x]++] = {current, slot++};
            }
        }
    });
}

TileScene Frame::tile_scene() const {
    return {ellipses_.data(),
            list_.data(),
            tile_begin_.data(),
            tiles_across_,
            tiles_down_,
            first_tile_x_,
            first_tile_y_,
            window_,
            log2_alpha_min_,
            profile_.alpha_max,
            profile_.transmittance_min};
}

void Frame::screen(float* means2d, int32_t* radii) const {
    std::memset(means2d, 0, 2 * gaussians_ * sizeof(float));
    std::memset(radii, 0, 2 * gaussians_ * sizeof(int32_t));
    for (int64_t g = 0; g < visible_; g++) {
        if (radii_[2 * g] == 0) continue;
        const int64_t source = sources_[g];
        means2d[2 * source] = ellipses_[g].x;
        means2d[2 * source + 1] = ellipses_[g].y;
        radii[2 * source] = radii_[2 * g];
        radii[2 * source + 1] = radii_[2 * g + 1];
    }
}

}  // namespace splatseg
