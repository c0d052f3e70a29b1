// The loops over pixels, compiled once per instruction set (SPLATSEG_ISA names it). Nothing here allocates or calls
// templates of the standard library: the linker could otherwise keep a copy that only newer processors run.

#include "scene.h"
#include "simd.h"

namespace splatseg {
namespace SPLATSEG_ISA {
namespace {

// Bounds of an ellipse are widened by this, so that rounding never cuts off a pixel that alpha decides about.
constexpr float kRoundingPixels = 1e-3f;
constexpr float kRoundingLevel = 1.0f + 1e-4f;

struct Tile {
    int left, top;                                       // its first pixel in the picture
    int first_column, last_column, first_row, last_row;  // those inside the window, last exclusive
    int64_t begin, end;                                  // its part of the list
};

SPLATSEG_INLINE int smaller(int a, int b) { return a < b ? a : b; }
SPLATSEG_INLINE int larger(int a, int b) { return a > b ? a : b; }

SPLATSEG_INLINE Tile tile_at(const TileScene& scene, int tile) {
    const int left = (scene.first_tile_x + tile % scene.tiles_across) * kTile;
    const int top = (scene.first_tile_y + tile / scene.tiles_across) * kTile;
    return {left,
            top,
            larger(0, scene.window.left - left),
            smaller(kTile, scene.window.right - left),
            larger(0, scene.window.top - top),
            smaller(kTile, scene.window.bottom - top),
            scene.tile_begin[tile],
            scene.tile_begin[tile + 1]};
}

template <class Function>
SPLATSEG_INLINE void for_pixels(const Tile& tile, const Function& function) {
    for (int row = tile.first_row; row < tile.last_row; row++)
        for (int column = tile.first_column; column < tile.last_column; column++) function(row, column);
}

// The transmittance of the 256 pixels; negative once a pixel is finished or if it does not count.
struct Transmittance {
    alignas(64) float pixels[kTilePixels];

    explicit Transmittance(const Tile& tile) {
        for (int i = 0; i < kTilePixels; i++) pixels[i] = -1.0f;
        for_pixels(tile, [&](int row, int column) { pixels[row * kTile + column] = 1.0f; });
    }

    uint32_t unfinished(uint32_t rows) const {
        for (uint32_t left = rows; left; left &= left - 1) {
            const int row = __builtin_ctz(left);
            if (!any(load(pixels + row * kTile) > set1(0.0f))) rows &= ~(1u << row);
        }
        return rows;
    }
};

// For up to 16 Gaussians of the list: which rows of the tile their ellipse touches, as bits.
SPLATSEG_INLINE void touched_rows(const TileScene& scene, const Tile& tile, const Listed* list, int count,
                                  uint32_t* rows) {
    alignas(64) float x[kLanes], y[kLanes], a[kLanes], b[kLanes], c[kLanes], level[kLanes], discriminant[kLanes],
        half_height[kLanes];
    for (int i = 0; i < kLanes; i++) {
        const Ellipse& e = scene.ellipses[list[i < count ? i : 0].gaussian];
        x[i] = e.x;
        y[i] = e.y;
        a[i] = e.a;
        b[i] = e.b;
        c[i] = e.c;
        level[i] = e.log2_opacity;
        discriminant[i] = e.discriminant;
        half_height[i] = e.half_height;
    }
    const Vec pad = set1(kRoundingPixels), zero = set1(0.0f), half = set1(0.5f);
    const Vec left = set1(tile.left + 0.5f) - load(x) - pad;
    const Vec right = set1(tile.left + kTile - 0.5f) - load(x) + pad;
    const Vec inside = (load(level) - set1(scene.log2_alpha_min)) * set1(kRoundingLevel);
    // The lowest point of the ellipse lies at dx = lowest; the highest at -lowest. Beyond the tile's sides the
    // ellipse is met at the side.
    const Vec lowest = negate(load(b)) * load(half_height) * half / load(a);
    const Vec at_low = min(max(lowest, left), right);
    const Vec at_high = min(max(negate(lowest), left), right);
    const Vec level4c = set1(4.0f) * load(c) * inside, inverse2c = half / load(c);
    const Vec root_low = sqrt(max(level4c - load(discriminant) * at_low * at_low, zero));
    const Vec root_high = sqrt(max(level4c - load(discriminant) * at_high * at_high, zero));
    const Vec dy_low = (root_low - load(b) * at_low) * inverse2c;
    const Vec dy_high = (negate(load(b) * at_high) - root_high) * inverse2c;
    const Vec first_centre = load(y) - set1(tile.top + 0.5f);
    const Vec last = floor(first_centre + dy_low + pad + pad);
    const Vec first = ceil(first_centre + dy_high - pad - pad);
    alignas(64) int32_t last_row[kLanes], first_row[kLanes];
    store_ints(last_row, min(max(last, set1(-1.0f)), set1(kTile - 1.0f)));
    store_ints(first_row, min(max(first, zero), set1(static_cast<float>(kTile))));
    for (int i = 0; i < count; i++)
        rows[i] = last_row[i] >= first_row[i] ? ((2u << last_row[i]) - 1u) & ~((1u << first_row[i]) - 1u) : 0u;
}

// What a Gaussian does to one row of pixels.
struct RowSample {
    int row;
    Vec dx;
    float dy;
    Vec unclamped;  // alpha before the clamp to alpha_max
    Vec alpha;
    Vec transmittance;  // in front of the Gaussian
    Vec weight;         // alpha * transmittance, 0 where it is not drawn
    Mask drawn;
};

// Front to back over the Gaussians of a tile. For each that touches a row: start(gaussian), visit_row(sample) per row
// that it may change, finish(slot); for each that does not: skip(slot).
template <class Start, class Row, class Finish, class Skip>
SPLATSEG_INLINE void walk_tile(const TileScene& scene, const Tile& tile, Transmittance& transmittance,
                               const Start& start, const Row& visit_row, const Finish& finish, const Skip& skip) {
    alignas(64) float centres[kLanes];
    for (int i = 0; i < kLanes; i++) centres[i] = tile.left + i + 0.5f;
    const Vec pixel_x = load(centres), alpha_max = set1(scene.alpha_max), log2_alpha_min = set1(scene.log2_alpha_min),
              transmittance_min = set1(scene.transmittance_min), zero = set1(0.0f);
    uint32_t unfinished = 0xffffu;
    uint32_t rows_of[kLanes];
    int64_t k = tile.begin;
    for (; k < tile.end; k += kLanes) {
        unfinished = transmittance.unfinished(unfinished);
        if (!unfinished) break;
        const int count = tile.end - k < kLanes ? static_cast<int>(tile.end - k) : kLanes;
        const Listed* list = scene.list + k;
        for (int i = kLanes; i < 2 * kLanes && k + i < tile.end; i++)
            __builtin_prefetch(&scene.ellipses[list[i].gaussian]);
        touched_rows(scene, tile, list, count, rows_of);
        for (int i = 0; i < count; i++) {
            uint32_t rows = rows_of[i] & unfinished;
            if (!rows) {
                skip(list[i].slot);
                continue;
            }
            const Ellipse& e = scene.ellipses[list[i].gaussian];
            start(list[i].gaussian);
            RowSample sample;
            sample.dx = pixel_x - set1(e.x);
            const Vec along_x = sample.dx * sample.dx * set1(-e.a);
            do {
                sample.row = __builtin_ctz(rows);
                rows &= rows - 1;
                sample.dy = tile.top + 0.5f + sample.row - e.y;
                float* in_front = transmittance.pixels + sample.row * kTile;
                sample.transmittance = load(in_front);
                const Vec log2_alpha = fma(sample.dx, set1(-e.b * sample.dy),
                                           along_x + set1(e.log2_opacity - e.c * sample.dy * sample.dy));
                const Mask reached = both(log2_alpha >= log2_alpha_min, sample.transmittance > zero);
                if (!any(reached)) continue;
                sample.unclamped = exp2(log2_alpha);
                sample.alpha = min(sample.unclamped, alpha_max);
                const Vec weight = sample.alpha * sample.transmittance;
                const Vec behind = sample.transmittance - weight;
                sample.drawn = both(reached, behind > transmittance_min);
                sample.weight = keep(sample.drawn, weight);
                // A pixel that this Gaussian would finish keeps its transmittance, with the sign of a finished one.
                store(in_front, select(reached, select(sample.drawn, behind, negate(sample.transmittance)),
                                       sample.transmittance));
                visit_row(sample);
            } while (rows);
            finish(list[i].slot);
        }
    }
    for (; k < tile.end; k++) skip(scene.list[k].slot);
}

template <int kChannels>
SPLATSEG_INLINE void forward_channels(const TileScene& scene, const ForwardArgs& args, int index, float* sums) {
    const int channels = kChannels > 0 ? kChannels : args.channel_count;
    const Tile tile = tile_at(scene, index);
    Transmittance transmittance(tile);
    for (int i = 0; i < channels * kTilePixels; i++) sums[i] = 0.0f;
    const float* of_gaussian = nullptr;
    walk_tile(
        scene, tile, transmittance,
        [&](uint32_t g) { of_gaussian = args.channels + static_cast<int64_t>(g) * channels; },
        [&](const RowSample& sample) {
            for (int c = 0; c < channels; c++) {
                float* sum = sums + c * kTilePixels + sample.row * kTile;
                store(sum, fma(sample.weight, set1(of_gaussian[c]), load(sum)));
            }
        },
        [](uint32_t) {}, [](uint32_t) {});
    const int colors = channels - 1;
    for_pixels(tile, [&](int row, int column) {
        const int in_tile = row * kTile + column;
        const int64_t pixel = static_cast<int64_t>(tile.top + row - scene.window.top) * scene.window.width() +
                              (tile.left + column - scene.window.left);
        const float signed_behind = transmittance.pixels[in_tile];
        const float behind = signed_behind < 0.0f ? -signed_behind : signed_behind;
        for (int c = 0; c < colors; c++) {
            const float blended = sums[c * kTilePixels + in_tile];
            args.colors[pixel * colors + c] = args.background ? blended + behind * args.background[c] : blended;
        }
        const float alpha = 1.0f - behind;
        args.alpha[pixel] = alpha;
        args.depth[pixel] = alpha > 0.0f ? sums[colors * kTilePixels + in_tile] / alpha : 0.0f;
    });
}

void forward(const TileScene& scene, const ForwardArgs& args, int tile, float* scratch) {
    if (args.channel_count == 4)
        forward_channels<4>(scene, args, tile, scratch);
    else
        forward_channels<0>(scene, args, tile, scratch);
}

// Brings the weights of a tile's pixels in and takes those of weight 0 out of the walk.
SPLATSEG_INLINE void apply_weights(const Tile& tile, const float* weight, int picture_width,
                                   Transmittance& transmittance, float* tile_weights) {
    for (int i = 0; i < kTilePixels; i++) tile_weights[i] = 0.0f;
    for_pixels(tile, [&](int row, int column) {
        const int i = row * kTile + column;
        tile_weights[i] = weight[static_cast<int64_t>(tile.top + row) * picture_width + tile.left + column];
        if (tile_weights[i] == 0.0f) transmittance.pixels[i] = -1.0f;
    });
}

// The labels of a tile, numbered from 0 in the order they appear, and each row cut into runs of one label.
struct TileLabels {
    int count = 0;
    uint16_t column[kTilePixels];
    uint8_t local[kTilePixels];
    int run_begin[kTile + 1];
    uint32_t run_lanes[kTilePixels];
    uint8_t run_label[kTilePixels];

    TileLabels(const Tile& tile, const VoteArgs& args) {
        const uint16_t* picture = args.columns + static_cast<int64_t>(tile.top) * args.picture_width + tile.left;
        const uint16_t first = picture[static_cast<int64_t>(tile.first_row) * args.picture_width + tile.first_column];
        uint32_t differences = 0;
        for_pixels(tile, [&](int row, int at) {
            differences |= picture[static_cast<int64_t>(row) * args.picture_width + at] ^ first;
        });
        if (!differences) {
            column[0] = first;
            count = 1;
            return;
        }
        int runs = 0;
        for (int row = 0; row < kTile; row++) {
            run_begin[row] = runs;
            if (row < tile.first_row || row >= tile.last_row) continue;
            for (int at = tile.first_column; at < tile.last_column; at++) {
                const uint16_t label = picture[static_cast<int64_t>(row) * args.picture_width + at];
                int16_t& known = args.local_of_column[label];
                if (known < 0) {
                    known = static_cast<int16_t>(count);
                    column[count++] = label;
                }
                local[row * kTile + at] = static_cast<uint8_t>(known);
                int run = run_begin[row];
                while (run < runs && run_label[run] != known) run++;
                if (run == runs) {
                    run_label[runs] = static_cast<uint8_t>(known);
                    run_lanes[runs++] = 0;
                }
                run_lanes[run] |= 1u << at;
            }
        }
        run_begin[kTile] = runs;
        for (int i = 0; i < count; i++) args.local_of_column[column[i]] = -1;
    }

    // Lanes of a row that carry label 0, in a tile of two labels.
    uint32_t lanes_of_first(int row) const {
        uint32_t lanes = 0;
        for (int run = run_begin[row]; run < run_begin[row + 1]; run++)
            if (run_label[run] == 0) lanes |= run_lanes[run];
        return lanes;
    }
};

// Collects what one Gaussian gets in one tile, and files it in the slot of their intersection.
class SlotWriter {
  public:
    SPLATSEG_INLINE explicit SlotWriter(const VoteArgs& args) : args_(args) {}

    SPLATSEG_INLINE void add(uint16_t column, float mass) {
        if (!(mass > 0.0f)) return;
        if (entries_ == 0) {
            first_column_ = column;
            first_mass_ = mass;
        } else {
            if (entries_ == 1) {
                if (args_.spill->capacity - args_.spill->size < kTilePixels) make_room(*args_.spill, kTilePixels);
                offset_ = args_.spill->size;
                put(first_column_, first_mass_);
            }
            put(column, mass);
        }
        entries_++;
    }

    SPLATSEG_INLINE void file(uint32_t at) {
        VoteSlot& slot = args_.slots[at];
        slot.worker = static_cast<uint8_t>(args_.worker);
        if (entries_ == 0) {
            slot.kind = VoteSlot::none;
        } else if (entries_ == 1) {
            slot.kind = VoteSlot::one;
            slot.mass = first_mass_;
            slot.column = first_column_;
        } else {
            slot.kind = VoteSlot::several;
            slot.offset = offset_;
            slot.column = static_cast<uint16_t>(entries_);
        }
        entries_ = 0;
    }

  private:
    SPLATSEG_INLINE void put(uint16_t column, float mass) {
        VoteSpill& spill = *args_.spill;
        spill.column[spill.size] = column;
        spill.mass[spill.size++] = mass;
    }

    const VoteArgs& args_;
    int entries_ = 0;
    uint16_t first_column_ = 0;
    float first_mass_ = 0.0f;
    uint32_t offset_ = 0;
};

template <bool kWeighted>
SPLATSEG_INLINE void votes_of_tile(const TileScene& scene, const VoteArgs& args, int index) {
    const Tile tile = tile_at(scene, index);
    if (tile.begin == tile.end) return;
    Transmittance transmittance(tile);
    alignas(64) float tile_weights[kTilePixels];
    if (kWeighted) apply_weights(tile, args.weight, args.picture_width, transmittance, tile_weights);
    const auto share = [&](const RowSample& sample) {
        return kWeighted ? sample.weight * load(tile_weights + sample.row * kTile) : sample.weight;
    };
    const TileLabels labels(tile, args);
    SlotWriter writer(args);
    const auto skip = [&](uint32_t slot) { args.slots[slot].kind = VoteSlot::none; };
    constexpr int kFew = 8;
    if (labels.count == 1) {
        Vec total = set1(0.0f);
        walk_tile(
            scene, tile, transmittance, [&](uint32_t) { total = set1(0.0f); },
            [&](const RowSample& sample) { total = total + share(sample); },
            [&](uint32_t slot) {
                writer.add(labels.column[0], sum(total));
                writer.file(slot);
            },
            skip);
    } else if (labels.count == 2) {
        uint32_t first_lanes[kTile];
        for (int row = 0; row < kTile; row++) first_lanes[row] = labels.lanes_of_first(row);
        Vec first = set1(0.0f), second = set1(0.0f);
        walk_tile(
            scene, tile, transmittance, [&](uint32_t) { first = second = set1(0.0f); },
            [&](const RowSample& sample) {
                const Vec part = share(sample);
                first = add_where(first, mask_of(first_lanes[sample.row]), part);
                second = add_where(second, mask_of(~first_lanes[sample.row] & 0xffffu), part);
            },
            [&](uint32_t slot) {
                writer.add(labels.column[0], sum(first));
                writer.add(labels.column[1], sum(second));
                writer.file(slot);
            },
            skip);
    } else if (labels.count <= kFew) {
        Vec totals[kFew];
        walk_tile(
            scene, tile, transmittance,
            [&](uint32_t) {
                for (int i = 0; i < labels.count; i++) totals[i] = set1(0.0f);
            },
            [&](const RowSample& sample) {
                const Vec part = share(sample);
                for (int run = labels.run_begin[sample.row]; run < labels.run_begin[sample.row + 1]; run++) {
                    Vec& total = totals[labels.run_label[run]];
                    total = add_where(total, mask_of(labels.run_lanes[run]), part);
                }
            },
            [&](uint32_t slot) {
                for (int i = 0; i < labels.count; i++) writer.add(labels.column[i], sum(totals[i]));
                writer.file(slot);
            },
            skip);
    } else {
        float totals[kTilePixels];
        for (int i = 0; i < labels.count; i++) totals[i] = 0.0f;
        uint8_t touched[kTilePixels];
        int touched_count = 0;
        walk_tile(
            scene, tile, transmittance, [](uint32_t) {},
            [&](const RowSample& sample) {
                alignas(64) float part[kLanes];
                store(part, share(sample));
                for (int lane = 0; lane < kLanes; lane++) {
                    if (!(part[lane] > 0.0f)) continue;
                    const uint8_t label = labels.local[sample.row * kTile + lane];
                    if (totals[label] == 0.0f) touched[touched_count++] = label;
                    totals[label] += part[lane];
                }
            },
            [&](uint32_t slot) {
                for (int i = 0; i < touched_count; i++) {
                    writer.add(labels.column[touched[i]], totals[touched[i]]);
                    totals[touched[i]] = 0.0f;
                }
                touched_count = 0;
                writer.file(slot);
            },
            skip);
    }
}

void votes(const TileScene& scene, const VoteArgs& args, int tile) {
    if (args.weight)
        votes_of_tile<true>(scene, args, tile);
    else
        votes_of_tile<false>(scene, args, tile);
}

template <int kChannels>
SPLATSEG_INLINE void lift_channels(const TileScene& scene, const LiftArgs& args, int index) {
    const Tile tile = tile_at(scene, index);
    if (tile.begin == tile.end) return;
    Transmittance transmittance(tile);
    alignas(64) float tile_weights[kTilePixels];
    if (args.weight) apply_weights(tile, args.weight, args.picture_width, transmittance, tile_weights);
    alignas(64) float values[kChannels * kTilePixels];
    for (int i = 0; i < kChannels * kTilePixels; i++) values[i] = 0.0f;
    for_pixels(tile, [&](int row, int column) {
        const float* pixel = args.values + (static_cast<int64_t>(tile.top + row - args.top) * args.row_pixels +
                                            (tile.left + column - args.left)) *
                                               args.pixel_stride;
        const int i = row * kTile + column;
        if (args.weight && tile_weights[i] == 0.0f) return;  // its values may be anything, not-a-number too
        for (int c = 0; c < args.channels; c++)
            values[c * kTilePixels + i] = args.weight ? pixel[c] * tile_weights[i] : pixel[c];
    });
    Vec sums[kChannels];
    walk_tile(
        scene, tile, transmittance,
        [&](uint32_t) {
            for (int c = 0; c < kChannels; c++) sums[c] = set1(0.0f);
        },
        [&](const RowSample& sample) {
            for (int c = 0; c < kChannels; c++)
                sums[c] = fma(sample.weight, load(values + c * kTilePixels + sample.row * kTile), sums[c]);
        },
        [&](uint32_t slot) {
            for (int c = 0; c < args.channels; c++) args.sums[int64_t{slot} * args.channels + c] = sum(sums[c]);
        },
        [&](uint32_t slot) {
            for (int c = 0; c < args.channels; c++) args.sums[int64_t{slot} * args.channels + c] = 0.0f;
        });
}

void lift(const TileScene& scene, const LiftArgs& args, int tile) {
    if (args.channels == 1)
        lift_channels<1>(scene, args, tile);
    else if (args.channels <= 4)
        lift_channels<4>(scene, args, tile);
    else
        lift_channels<kLiftChannels>(scene, args, tile);
}

// Front to back like the forward pass: what lies behind a Gaussian is the known total minus the running sum.
// kChannels > 0: that many channels have a gradient, and their sums are taken along; 0: any number, geometry alone.
template <int kChannels, bool kAbsolute>
SPLATSEG_INLINE void backward_channels(const TileScene& scene, const BackwardArgs& args, int index, float* scratch) {
    const Tile tile = tile_at(scene, index);
    if (tile.begin == tile.end) return;
    const int colors = args.channel_count - 1;
    const int channels = kChannels > 0 ? kChannels : colors + (args.grad_depth_sum ? 1 : 0);
    Transmittance transmittance(tile);
    float* behind = scratch;                   // what is still to come, as it enters the loss
    float* gradients = scratch + kTilePixels;  // [channels][256]
    for (int i = 0; i < (1 + channels) * kTilePixels; i++) scratch[i] = 0.0f;
    for_pixels(tile, [&](int row, int column) {
        const int i = row * kTile + column;
        const int64_t pixel = static_cast<int64_t>(tile.top + row - scene.window.top) * scene.window.width() +
                              (tile.left + column - scene.window.left);
        float total = -args.grad_alpha[pixel] * (1.0f - args.alpha[pixel]);
        for (int c = 0; c < colors; c++) {
            const float gradient = args.grad_colors[pixel * colors + c];
            gradients[c * kTilePixels + i] = gradient;
            total += gradient * args.colors[pixel * colors + c];
        }
        if (args.grad_depth_sum) {
            const float gradient = args.grad_depth_sum[pixel];
            gradients[colors * kTilePixels + i] = gradient;
            total += gradient * args.depth_sum[pixel];
        }
        behind[i] = total;
    });
    const float* of_gaussian = nullptr;
    const Ellipse* ellipse = nullptr;
    const Vec one = set1(1.0f), zero = set1(0.0f), alpha_max = set1(scene.alpha_max);
    constexpr float kLn2 = 0.69314718056f;
    Vec g0, gx, gy, gxx, gxy, gyy, abs_x, abs_y, of_channels[kChannels > 0 ? kChannels : 1];
    walk_tile(
        scene, tile, transmittance,
        [&](uint32_t g) {
            of_gaussian = args.channels + static_cast<int64_t>(g) * args.channel_count;
            ellipse = scene.ellipses + g;
            g0 = gx = gy = gxx = gxy = gyy = abs_x = abs_y = zero;
            for (int c = 0; c < kChannels; c++) of_channels[c] = zero;
        },
        [&](const RowSample& sample) {
            const float* gradient = gradients + sample.row * kTile;
            Vec shown = zero;  // how much the loss wants of this Gaussian's channels
            for (int c = 0; c < channels; c++) {
                const Vec of_channel = load(gradient + c * kTilePixels);
                shown = fma(set1(of_gaussian[c]), of_channel, shown);
                if (kChannels > 0) of_channels[c] = fma(sample.weight, of_channel, of_channels[c]);
            }
            float* row_behind = behind + sample.row * kTile;
            const Vec rest = load(row_behind) - sample.weight * shown;
            store(row_behind, rest);
            const Vec by_alpha = sample.transmittance * shown - rest / (one - sample.alpha);
            const Mask moves = both(sample.drawn, alpha_max > sample.unclamped);
            const Vec g = keep(moves, by_alpha * sample.alpha);
            const Vec dy = set1(sample.dy), by_x = g * sample.dx, by_y = g * dy;
            g0 = g0 + g;
            gx = gx + by_x;
            gy = gy + by_y;
            gxx = fma(by_x, sample.dx, gxx);
            gxy = fma(by_x, dy, gxy);
            gyy = fma(by_y, dy, gyy);
            if (kAbsolute) {
                const Vec sigma_x = fma(sample.dx, set1(2.0f * kLn2 * ellipse->a), dy * set1(kLn2 * ellipse->b));
                const Vec sigma_y = fma(sample.dx, set1(kLn2 * ellipse->b), dy * set1(2.0f * kLn2 * ellipse->c));
                abs_x = abs_x + abs(g * sigma_x);
                abs_y = abs_y + abs(g * sigma_y);
            }
        },
        [&](uint32_t slot) {
            PixelSums& sums = args.sums[slot];
            sums.moments[0] = sum(g0);
            sums.moments[1] = sum(gx);
            sums.moments[2] = sum(gy);
            sums.moments[3] = sum(gxx);
            sums.moments[4] = sum(gxy);
            sums.moments[5] = sum(gyy);
            sums.absolute[0] = kAbsolute ? sum(abs_x) : 0.0f;
            sums.absolute[1] = kAbsolute ? sum(abs_y) : 0.0f;
            for (int c = 0; c < 4; c++) sums.channels[c] = c < kChannels ? sum(of_channels[c]) : 0.0f;
        },
        [&](uint32_t slot) { args.sums[slot] = PixelSums{}; });
}

template <int kChannels>
SPLATSEG_INLINE void backward_either(const TileScene& scene, const BackwardArgs& args, int tile, float* scratch) {
    if (args.absolute)
        backward_channels<kChannels, true>(scene, args, tile, scratch);
    else
        backward_channels<kChannels, false>(scene, args, tile, scratch);
}

void backward(const TileScene& scene, const BackwardArgs& args, int tile, float* scratch) {
    if (args.with_channels && args.grad_depth_sum)
        backward_either<4>(scene, args, tile, scratch);
    else if (args.with_channels)
        backward_either<3>(scene, args, tile, scratch);
    else
        backward_either<0>(scene, args, tile, scratch);
}

// Written so that the compiler makes vectors of it.
void cull(const GaussianBlock& block, const Culling& culling, float* __restrict x, float* __restrict y,
          float* __restrict z, uint8_t* __restrict possible, uint8_t* __restrict finite) {
    const float *w = culling.camera.rotation, *t = culling.camera.translation;
    const float fx = culling.camera.fx, fy = culling.camera.fy, cx = culling.camera.cx, cy = culling.camera.cy;
    const float left = culling.window.left - culling.margin, right = culling.window.right + culling.margin;
    const float top = culling.window.top - culling.margin, bottom = culling.window.bottom + culling.margin;
    const float r0 = w[0], r1 = w[1], r2 = w[2], r3 = w[3], r4 = w[4], r5 = w[5], r6 = w[6], r7 = w[7], r8 = w[8];
    for (int i = 0; i < block.size; i++) {
        const float mx = block.means[3 * i], my = block.means[3 * i + 1], mz = block.means[3 * i + 2];
        x[i] = r0 * mx + r1 * my + r2 * mz + t[0];
        y[i] = r3 * mx + r4 * my + r5 * mz + t[1];
        z[i] = r6 * mx + r7 * my + r8 * mz + t[2];
    }
    for (int i = 0; i < block.size; i++) {
        const float s0 = block.scales[3 * i], s1 = block.scales[3 * i + 1], s2 = block.scales[3 * i + 2];
        const float opacity = block.opacities[i], inverse = 1.0f / z[i];
        const float longest = s0 > s1 ? (s0 > s2 ? s0 : s2) : (s1 > s2 ? s1 : s2);
        const float u = fx * x[i] * inverse + cx, v = fy * y[i] * inverse + cy;
        const float reach_u = culling.reach_x * longest * inverse, reach_v = culling.reach_y * longest * inverse;
        possible[i] = (z[i] > culling.near) & (z[i] < culling.far) & (opacity >= culling.alpha_min) &
                      (u + reach_u >= left) & (u - reach_u <= right) & (v + reach_v >= top) & (v - reach_v <= bottom);
        const float whole = x[i] + y[i] + z[i] + s0 + s1 + s2 + opacity;
        finite[i] = whole - whole == 0.0f;
    }
}

}  // namespace

extern const Kernels kKernels;
#define SPLATSEG_TEXT_OF(name) #name
#define SPLATSEG_TEXT(name) SPLATSEG_TEXT_OF(name)
const Kernels kKernels = {SPLATSEG_TEXT(SPLATSEG_ISA), cull, forward, votes, lift, backward};

}  // namespace SPLATSEG_ISA
}  // namespace splatseg
