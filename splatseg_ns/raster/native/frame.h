// One view of the splats: projected, sorted, binned into tiles; and the sums over its pixels.
// The buffers of a frame are kept from call to call.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "scene.h"
#include "thread_pool.h"

namespace splatseg {

struct SlopeLimits;

// Memory to be given back with std::free; a long piece on large pages, which random access is grateful for.
void* allocate(size_t bytes);

// An array that grows and never shrinks, and whose numbers are not initialised.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    T* resize(size_t size) {
        if (size > capacity_ || data_ == nullptr) {
            std::free(data_);
            capacity_ = 0;
            const size_t roomy = size + size / 8;
            data_ = static_cast<T*>(allocate(roomy * sizeof(T)));
            capacity_ = roomy;
        }
        return data_;
    }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }

  private:
    T* data_ = nullptr;
    size_t capacity_ = 0;
};

// Votes of one view in rows ordered as the Gaussians.
struct SparseVotes {
    std::vector<int64_t> columns;
    std::vector<float> mass;
};

struct StageSeconds {
    double project = 0, sort = 0, bin = 0, shade = 0, forward = 0, votes = 0, lift = 0, reduce = 0, backward = 0,
           backward_project = 0;
};

// Gradients of the loss with respect to the Gaussians, zero when handed in; null where not wanted.
struct GaussianGradients {
    float* means;      // [N, 3]
    float* quats;      // [N, 4]
    float* scales;     // [N, 3]
    float* opacities;  // [N]
    float* sh;         // [N, K, 3], if the picture was made of harmonics
    float* features;   // [N, C], if of features
    float* means2d;    // [N, 2]
    float* absgrad;    // [N, 2] sums over pixels of absolute gradients of means2d
};

// What the last render call gave, and the gradients of the loss with respect to it.
struct RenderedPicture {
    const float* colors;       // [height, width, C]
    const float* alpha;        // [height, width]
    const float* depth;        // [height, width]
    const float* grad_colors;  // [height, width, C]
    const float* grad_alpha;   // [height, width]
    const float* grad_depth;   // [height, width] or null
};

class Frame {
  public:
    Frame(const Kernels& kernels, int threads);
    ~Frame();

    // Projects the Gaussians, leaves out what cannot be seen in the window, sorts by depth, and lists them per tile.
    void prepare(const Gaussians&, const Camera&, const Profile&, const Window&);

    // Renders harmonics of `degree` out of `stored` coefficients per channel, [N, stored, 3].
    void render_sh(const float* sh, int stored, int degree, const float* background, float* colors, float* alpha,
                   float* depth);
    // Renders features [N, count].
    void render_features(const float* features, int count, const float* background, float* colors, float* alpha,
                         float* depth);

    // Sums per label. `columns` [H, W] with kNoColumn for labels without a column; offsets [N + 1]; seen [N].
    SparseVotes votes(const uint16_t* columns, int column_count, const float* weight, int64_t* offsets, float* seen);
    // Sums per channel of values [H, W, C] into out [N, C].
    void lift(const float* values, int channels, const float* weight, float* out);

    // The chain rule for the last call of render_*, whose results are handed in again.
    void backward(const Gaussians&, const float* sh, int stored, int degree, const RenderedPicture&,
                  const GaussianGradients&);

    // Screen positions [N, 2] and radii [N, 2] in pixels, both 0 where a Gaussian is not drawn.
    void screen(float* means2d, int32_t* radii) const;

    int64_t visible() const { return visible_; }
    int64_t intersections() const { return intersections_; }
    int64_t undrawable() const { return undrawable_; }
    const StageSeconds& seconds() const { return seconds_; }

  private:
    struct Candidate;
    void project(const Gaussians&);
    void place(const Gaussians&, const SlopeLimits&, const Candidate&, int64_t to);
    void sort_by_depth();
    void bin();
    TileScene tile_scene() const;
    int tiles() const { return tiles_across_ * tiles_down_; }
    void shade_sh(const float* sh, int stored, int degree);
    template <int kDegree>
    void shade_degree(const float* sh, int stored);
    void gather_features(const float* features, int count);
    void render(const float* background, float* colors, float* alpha, float* depth);
    // call(tile, worker) for every tile of the window
    template <class Call>
    void for_tiles(const Call& call);
    // out[source row, :channels] = sums of alpha T value; args names the picture, the rest is filled in
    void lift_picture(LiftArgs args, int channels, float* out, int out_stride);
    // out[source row, :count] = sums over a Gaussian's tiles of per_slot[slot, :count]
    void sum_over_tiles(const float* per_slot, int count, float* out, int out_stride);
    // From pixel_sums_ to the parameters of the Gaussians. The gradient of the depth is among them if with_channels,
    // else in depth_gradients_ if with_depth.
    void chain_rule(const Gaussians&, const float* sh, int stored, int degree, bool with_channels, bool with_depth,
                    const GaussianGradients&);

    const Kernels& kernels_;
    const int threads_;
    StageSeconds seconds_;
    Camera camera_{};
    Profile profile_{};
    float log2_alpha_min_ = 0;
    Window window_{};
    int64_t gaussians_ = 0, visible_ = 0, intersections_ = 0, undrawable_ = 0;
    int tiles_across_ = 0, tiles_down_ = 0, first_tile_x_ = 0, first_tile_y_ = 0;
    int channel_count_ = 0;

    // per visible Gaussian, in the order of the splats
    Buffer<Ellipse> ellipses_;
    Buffer<Bounds> bounds_;
    Buffer<float> depths_;
    Buffer<int32_t> sources_;     // row in the splats
    Buffer<int32_t> radii_;       // [visible, 2]
    Buffer<float> channels_;      // [visible, channel_count], depth last
    Buffer<int64_t> slot_begin_;  // [visible + 1] a Gaussian's slots, its tiles in row order
    // per intersection
    Buffer<Listed> list_;
    Buffer<VoteSlot> vote_slots_;
    Buffer<float> lift_slots_;
    Buffer<PixelSums> pixel_sums_;
    // per pixel of the window, for the backward pass
    Buffer<float> depth_sum_, grad_depth_sum_, grad_alpha_;
    Buffer<float> depth_gradients_;  // [N]
    Buffer<int64_t> tile_begin_;
    // scratch
    struct Span;
    struct BinChunk;
    Buffer<Candidate> candidates_;
    Buffer<uint32_t> keys_, order_, keys_swap_, order_swap_;
    std::vector<int64_t> block_counts_;
    std::vector<std::unique_ptr<BinChunk>> bin_chunks_;
    std::vector<VoteSpill> spills_;
    std::vector<std::vector<int16_t>> column_maps_;
    std::vector<std::vector<double>> column_sums_;
    std::vector<std::vector<float>> tile_scratch_;
};

template <class Call>
void Frame::for_tiles(const Call& call) {
    constexpr int kTilesPerTask = 8;
    const int count = tiles();
    ThreadPool::instance().run(threads_, (count + kTilesPerTask - 1) / kTilesPerTask, [&](int64_t task, int worker) {
        const int begin = static_cast<int>(task) * kTilesPerTask;
        const int end = begin + kTilesPerTask < count ? begin + kTilesPerTask : count;
        for (int tile = begin; tile < end; tile++) call(tile, worker);
    });
}

}  // namespace splatseg
