// Pictures, votes and lifted values of a prepared frame: tiles first, then each Gaussian adds up its tiles in a fixed
// order, so that nothing depends on the number of threads.

#include <algorithm>
#include <cmath>

#include "clock.h"
#include "frame.h"
#include "harmonics.h"
#include "thread_pool.h"

namespace splatseg {

namespace {
constexpr int64_t kGaussiansPerTask = 4096;
}

void make_room(VoteSpill& spill, uint32_t more) {
    if (spill.size > 0xffffffffu - more) throw std::bad_alloc();
    const uint64_t wanted = std::max<uint64_t>(uint64_t{spill.size} + more, 2 * uint64_t{spill.capacity});
    const uint32_t capacity = static_cast<uint32_t>(std::min<uint64_t>(wanted, 0xffffffffu));
    void* mass = std::realloc(spill.mass, capacity * sizeof(float));
    if (mass == nullptr) throw std::bad_alloc();
    spill.mass = static_cast<float*>(mass);
    void* column = std::realloc(spill.column, capacity * sizeof(uint16_t));
    if (column == nullptr) throw std::bad_alloc();
    spill.column = static_cast<uint16_t*>(column);
    spill.capacity = capacity;
}

template <int kDegree>
void Frame::shade_degree(const float* sh, int stored) {
    const Ellipse* ellipses = ellipses_.data();
    float* channels = channels_.data();
    const int row = stored * 3;
    ThreadPool::instance().run(
        threads_, (visible_ + kGaussiansPerTask - 1) / kGaussiansPerTask, [&](int64_t task, int) {
            const int64_t end = std::min(visible_, (task + 1) * kGaussiansPerTask);
            for (int64_t g = task * kGaussiansPerTask; g < end; g++) {
                if (g + 6 < end) {
                    const char* soon = reinterpret_cast<const char*>(sh + static_cast<int64_t>(sources_[g + 6]) * row);
                    for (size_t byte = 0; byte < row * sizeof(float); byte += 64) __builtin_prefetch(soon + byte);
                }
                // The direction from the camera to the Gaussian, turned back into the world.
                const float depth = depths_[g];
                const float camera_x = (ellipses[g].x - camera_.cx) / camera_.fx;
                const float camera_y = (ellipses[g].y - camera_.cy) / camera_.fy;
                const float* w = camera_.rotation;
                const float inverse = 1.0f / std::sqrt(camera_x * camera_x + camera_y * camera_y + 1.0f);
                const float x = (w[0] * camera_x + w[3] * camera_y + w[6]) * inverse;
                const float y = (w[1] * camera_x + w[4] * camera_y + w[7]) * inverse;
                const float z = (w[2] * camera_x + w[5] * camera_y + w[8]) * inverse;
                float basis[kMostHarmonics];
                harmonics(kDegree, x, y, z, basis);
                const float* of_gaussian = sh + static_cast<int64_t>(sources_[g]) * row;
                float color[3] = {0.5f, 0.5f, 0.5f};
                for (int k = 0; k < (kDegree + 1) * (kDegree + 1); k++)
                    for (int c = 0; c < 3; c++) color[c] += basis[k] * of_gaussian[3 * k + c];
                for (int c = 0; c < 3; c++) channels[4 * g + c] = std::max(color[c], 0.0f);
                channels[4 * g + 3] = depth;
            }
        });
}

void Frame::shade_sh(const float* sh, int stored, int degree) {
    const StopWatch watch(seconds_.shade);
    channel_count_ = 4;
    channels_.resize(visible_ * 4);
    switch (degree) {
        case 0:
            return shade_degree<0>(sh, stored);
        case 1:
            return shade_degree<1>(sh, stored);
        case 2:
            return shade_degree<2>(sh, stored);
        default:
            return shade_degree<3>(sh, stored);
    }
}

void Frame::gather_features(const float* features, int count) {
    const StopWatch watch(seconds_.shade);
    channel_count_ = count + 1;
    float* channels = channels_.resize(visible_ * channel_count_);
    ThreadPool::instance().run(
        threads_, (visible_ + kGaussiansPerTask - 1) / kGaussiansPerTask, [&](int64_t task, int) {
            const int64_t end = std::min(visible_, (task + 1) * kGaussiansPerTask);
            for (int64_t g = task * kGaussiansPerTask; g < end; g++) {
                float* row = channels + g * channel_count_;
                std::memcpy(row, features + static_cast<int64_t>(sources_[g]) * count, count * sizeof(float));
                row[count] = depths_[g];
            }
        });
}

void Frame::render(const float* background, float* colors, float* alpha, float* depth) {
    const StopWatch watch(seconds_.forward);
    const ForwardArgs args{channels_.data(), channel_count_, background, colors, alpha, depth};
    const TileScene scene = tile_scene();
    tile_scratch_.resize(threads_);
    for (auto& scratch : tile_scratch_) scratch.resize(static_cast<size_t>(channel_count_ + 1) * kTilePixels);
    const auto call = [&](int tile, int worker) { kernels_.forward(scene, args, tile, tile_scratch_[worker].data()); };
    for_tiles(call);
}

void Frame::render_sh(const float* sh, int stored, int degree, const float* background, float* colors, float* alpha,
                      float* depth) {
    shade_sh(sh, stored, degree);
    render(background, colors, alpha, depth);
}

void Frame::render_features(const float* features, int count, const float* background, float* colors, float* alpha,
                            float* depth) {
    gather_features(features, count);
    render(background, colors, alpha, depth);
}

SparseVotes Frame::votes(const uint16_t* columns, int column_count, const float* weight, int64_t* offsets,
                         float* seen) {
    {
        const StopWatch watch(seconds_.votes);
        VoteSlot* slots = vote_slots_.resize(intersections_);
        spills_.resize(threads_);
        column_maps_.resize(threads_);
        for (auto& map : column_maps_) map.resize(1 << 16, -1);
        for (VoteSpill& spill : spills_) spill.size = 0;
        const TileScene scene = tile_scene();
        const auto call = [&](int tile, int worker) {
            kernels_.votes(
                scene, {columns, weight, camera_.width, slots, &spills_[worker], column_maps_[worker].data(), worker},
                tile);
        };
        for_tiles(call);
    }
    const StopWatch watch(seconds_.reduce);
    std::memset(seen, 0, gaussians_ * sizeof(float));
    const int64_t tasks = (visible_ + kGaussiansPerTask - 1) / kGaussiansPerTask;
    std::vector<SparseVotes> parts(tasks);
    column_sums_.resize(threads_);
    // Counts of each row first; they become offsets below.
    std::memset(offsets, 0, (gaussians_ + 1) * sizeof(int64_t));
    ThreadPool::instance().run(threads_, tasks, [&](int64_t task, int worker) {
        std::vector<double>& sums = column_sums_[worker];
        if (static_cast<int>(sums.size()) < column_count) sums.resize(column_count, 0.0);
        std::vector<uint16_t> touched;
        SparseVotes& part = parts[task];
        const int64_t end = std::min(visible_, (task + 1) * kGaussiansPerTask);
        for (int64_t g = task * kGaussiansPerTask; g < end; g++) {
            double total = 0.0;
            const auto add = [&](uint16_t column, float mass) {
                total += mass;
                if (column == kNoColumn) return;
                if (sums[column] == 0.0) touched.push_back(column);
                sums[column] += mass;
            };
            for (int64_t i = slot_begin_[g]; i < slot_begin_[g + 1]; i++) {
                const VoteSlot& slot = vote_slots_[i];
                if (slot.kind == VoteSlot::one) {
                    add(slot.column, slot.mass);
                } else if (slot.kind == VoteSlot::several) {
                    const VoteSpill& spill = spills_[slot.worker];
                    for (uint32_t j = slot.offset; j < slot.offset + slot.column; j++)
                        add(spill.column[j], spill.mass[j]);
                }
            }
            if (total == 0.0) continue;
            seen[sources_[g]] = static_cast<float>(total);
            offsets[sources_[g] + 1] = static_cast<int64_t>(touched.size());
            if (touched.size() > 1) std::sort(touched.begin(), touched.end());
            for (const uint16_t column : touched) {
                part.columns.push_back(column);
                part.mass.push_back(static_cast<float>(sums[column]));
                sums[column] = 0.0;
            }
            touched.clear();
        }
    });
    for (int64_t n = 0; n < gaussians_; n++) offsets[n + 1] += offsets[n];
    SparseVotes all;
    all.columns.reserve(offsets[gaussians_]);
    all.mass.reserve(offsets[gaussians_]);
    for (const SparseVotes& part : parts) {
        all.columns.insert(all.columns.end(), part.columns.begin(), part.columns.end());
        all.mass.insert(all.mass.end(), part.mass.begin(), part.mass.end());
    }
    return all;
}

void Frame::lift(const float* values, int channels, const float* weight, float* out) {
    std::memset(out, 0, gaussians_ * channels * sizeof(float));
    lift_picture({values, 0, 0, camera_.width, channels, 0, weight, camera_.width, nullptr}, channels, out, channels);
}

void Frame::lift_picture(LiftArgs args, int channels, float* out, int out_stride) {
    const TileScene scene = tile_scene();
    const float* picture = args.values;
    for (int first = 0; first < channels; first += kLiftChannels) {
        args.channels = std::min(kLiftChannels, channels - first);
        args.values = picture + first;
        {
            const StopWatch watch(seconds_.lift);
            args.sums = lift_slots_.resize(intersections_ * args.channels);
            const auto call = [&](int tile, int) { kernels_.lift(scene, args, tile); };
            for_tiles(call);
        }
        sum_over_tiles(lift_slots_.data(), args.channels, out + first, out_stride);
    }
}

void Frame::sum_over_tiles(const float* per_slot, int count, float* out, int out_stride) {
    const StopWatch watch(seconds_.reduce);
    ThreadPool::instance().run(threads_, (visible_ + kGaussiansPerTask - 1) / kGaussiansPerTask,
                               [&](int64_t task, int) {
                                   const int64_t end = std::min(visible_, (task + 1) * kGaussiansPerTask);
                                   for (int64_t g = task * kGaussiansPerTask; g < end; g++) {
                                       double sums[kLiftChannels] = {};
                                       for (int64_t i = slot_begin_[g]; i < slot_begin_[g + 1]; i++) {
                                           const float* part = per_slot + i * count;
                                           for (int c = 0; c < count; c++) sums[c] += part[c];
                                       }
                                       float* row = out + static_cast<int64_t>(sources_[g]) * out_stride;
                                       for (int c = 0; c < count; c++) row[c] = static_cast<float>(sums[c]);
                                   }
                               });
}

}  // namespace splatseg
