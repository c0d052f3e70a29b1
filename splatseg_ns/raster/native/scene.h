// Plain structures that the stages of the engine share. No code: these are also included by the per-processor kernels.
#pragma once

#include <cstdint>

namespace splatseg {

constexpr int kTile = 16;  // tiles are 16x16 pixels, as in every 3DGS rasterizer
constexpr int kTilePixels = kTile * kTile;
constexpr uint16_t kNoColumn = 0xffff;  // a label that has no column of its own
constexpr float kLog2E = 1.44269504088896340736f;

enum class Extent : int { three_sigma = 0, opacity_aware = 1, inria = 2, ellipse = 3 };

// The constants of a render profile; see splatseg_ns/scene/profile.py for what they mean.
struct Profile {
    float near, far, alpha_min, alpha_max, transmittance_min, eps2d;
    bool antialiased;
    Extent extent;
};

struct Camera {
    float rotation[9];  // world to camera, row by row
    float translation[3];
    float position[3];  // centre of projection in the world
    float fx, fy, cx, cy;
    int width, height;
};

// A window of the picture, in pixels; right and bottom are exclusive.
struct Window {
    int left, top, right, bottom;
    int width() const { return right - left; }
    int height() const { return bottom - top; }
};

struct Gaussians {
    int64_t count;
    const float* means;      // [N, 3]
    const float* quats;      // [N, 4] wxyz, of any length
    const float* scales;     // [N, 3]
    const float* opacities;  // [N]
};

// A projected Gaussian. At the offset (dx, dy) from its centre, alpha = 2^(log2_opacity - (a dx^2 + b dx dy + c dy^2)).
struct Ellipse {
    float x, y;
    float a, b, c;
    float log2_opacity;
    float discriminant;  // 4 a c - b^2, computed without cancellation
    float half_height;   // how far above and below the centre alpha reaches alpha_min
};

// The tiles a Gaussian may reach by its profile's extent rule; right and bottom are exclusive.
struct TileRect {
    uint16_t left, top, right, bottom;
};

struct Bounds {
    TileRect tiles;
    float half_width;  // how far left and right of the centre alpha reaches alpha_min
};

// A Gaussian in the list of a tile, and where the sums of the two go: slots are numbered Gaussian after Gaussian, so
// that adding up reads memory in order.
struct Listed {
    uint32_t gaussian, slot;
};

// What the tile kernels read: one view, projected and binned.
struct TileScene {
    const Ellipse* ellipses;       // [visible]
    const Listed* list;            // [intersections] tile after tile, front to back
    const int64_t* tile_begin;     // [tiles + 1] into list
    int tiles_across, tiles_down;  // those that the window touches
    int first_tile_x, first_tile_y;
    Window window;
    float log2_alpha_min, alpha_max, transmittance_min;
};

// What the pixels of one tile gave to one Gaussian.
struct VoteSlot {
    union {
        float mass;       // if kind == one
        uint32_t offset;  // into the worker's spill, if kind == several
    };
    uint16_t column;  // if kind == one; the number of entries if kind == several
    uint8_t worker;
    enum Kind : uint8_t { none, one, several } kind;
};

// Where a worker puts the votes of Gaussians that meet several labels in one tile.
struct VoteSpill {
    float* mass;
    uint16_t* column;
    uint32_t size, capacity;
};

// Makes room for `more` entries. Compiled apart from the kernels, like all that allocates.
void make_room(VoteSpill& spill, uint32_t more);

struct ForwardArgs {
    const float* channels;  // [visible, channel_count] colour or features, and the depth last
    int channel_count;
    const float* background;  // [channel_count - 1] or null
    float* colors;            // [height, width, channel_count - 1] of the window
    float* alpha;             // [height, width]
    float* depth;             // [height, width]
};

struct VoteArgs {
    const uint16_t* columns;  // [H, W] of the whole picture
    const float* weight;      // [H, W] or null
    int picture_width;
    VoteSlot* slots;           // [intersections]
    VoteSpill* spill;          // the worker's own
    int16_t* local_of_column;  // [65536] the worker's own, all -1
    int worker;
};

constexpr int kLiftChannels = 16;

struct LiftArgs {
    const float* values;  // a picture whose first pixel is (left, top)
    int left, top, row_pixels;
    int pixel_stride;     // floats from one pixel to the next
    int channels;         // those to sum, at most kLiftChannels
    const float* weight;  // [H, W] of the whole picture, or null
    int picture_width;
    float* sums;  // [intersections, channels]
};

// What the chain rule needs of a tile's pixels for one Gaussian: one cache line. With g = alpha * dL/dalpha and (dx,
// dy) from the centre to the pixel, `moments` are the sums of g, g dx, g dy, g dx^2, g dx dy, g dy^2.
struct alignas(64) PixelSums {
    float moments[6];
    float absolute[2];  // sums of |g dsigma/dx|, |g dsigma/dy|, where alpha = opacity * exp(-sigma)
    float channels[4];  // gradients of three colours and the depth
    float unused[4];
};

struct BackwardArgs {
    const float* channels;   // [visible, channel_count], as in the forward pass
    int channel_count;       // colours or features, and the depth last
    const float* colors;     // [height, width, channel_count - 1], the results of the forward pass
    const float* alpha;      // [height, width]
    const float* depth_sum;  // [height, width], before the division by alpha
    const float* grad_colors;
    const float* grad_alpha;
    const float* grad_depth_sum;  // or null
    bool absolute;                // fill PixelSums::absolute
    bool with_channels;           // fill PixelSums::channels; there are three colours then
    PixelSums* sums;              // [intersections]
};

// A stretch of the Gaussians, and what decides which of them can possibly be seen in the window.
struct GaussianBlock {
    const float *means, *scales, *opacities;
    int size;
};
struct Culling {
    Camera camera;
    Window window;
    float near, far, alpha_min;
    float reach_x, reach_y;  // pixels per size over depth that a Gaussian may reach from its centre
    float margin;            // pixels that it may reach besides
};

// The kernels of one instruction set.
struct Kernels {
    const char* name;
    // Positions in the camera; whether a sphere around each Gaussian touches the window; whether its numbers are
    // finite.
    void (*cull)(const GaussianBlock&, const Culling&, float* x, float* y, float* z, uint8_t* possible,
                 uint8_t* finite);
    // Each call of the others works on one tile.
    void (*forward)(const TileScene&, const ForwardArgs&, int tile, float* scratch);
    void (*votes)(const TileScene&, const VoteArgs&, int tile);
    void (*lift)(const TileScene&, const LiftArgs&, int tile);
    void (*backward)(const TileScene&, const BackwardArgs&, int tile, float* scratch);
};

}  // namespace splatseg
