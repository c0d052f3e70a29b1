// The chain rule from the pixels of the last picture back to the parameters of the Gaussians.

#include <algorithm>
#include <cmath>

#include "clock.h"
#include "frame.h"
#include "harmonics.h"
#include "projection.h"
#include "thread_pool.h"

namespace splatseg {

namespace {

constexpr int64_t kGaussiansPerTask = 1024;

void add_row(float* gradients, int64_t row, int count, const double* values) {
    if (gradients == nullptr) return;
    for (int i = 0; i < count; i++) gradients[row * count + i] += static_cast<float>(values[i]);
}

// From the gradient of a rotation matrix to that of the quaternion it was made of, of any length.
void quaternion_gradient(const double* unit, double norm, const double* v, double* gradient) {
    const double w = unit[0], x = unit[1], y = unit[2], z = unit[3];
    const double of_unit[4] = {
        2 * (-z * v[1] + y * v[2] + z * v[3] - x * v[5] - y * v[6] + x * v[7]),
        2 * (y * v[1] + z * v[2] + y * v[3] - 2 * x * v[4] - w * v[5] + z * v[6] + w * v[7] - 2 * x * v[8]),
        2 * (-2 * y * v[0] + x * v[1] + w * v[2] + x * v[3] + z * v[5] - w * v[6] + z * v[7] - 2 * y * v[8]),
        2 * (-2 * z * v[0] - w * v[1] + x * v[2] + w * v[3] - 2 * z * v[4] + y * v[5] + x * v[6] + y * v[7])};
    const double along = of_unit[0] * w + of_unit[1] * x + of_unit[2] * y + of_unit[3] * z;
    for (int i = 0; i < 4; i++) gradient[i] = (of_unit[i] - unit[i] * along) / norm;
}

// Gradients of the coefficients of one Gaussian and, through its direction, of its centre.
void sh_gradient(const float* sh, int degree, const double* centre, const Camera& camera, const double* color_gradient,
                 float* sh_gradients, double* centre_gradient) {
    double direction[3], length2 = 0;
    for (int i = 0; i < 3; i++) {
        direction[i] = centre[i] - camera.position[i];
        length2 += direction[i] * direction[i];
    }
    const double inverse = 1.0 / std::sqrt(length2);
    float unit[3];
    for (int i = 0; i < 3; i++) unit[i] = static_cast<float>(direction[i] * inverse);
    const int used = (degree + 1) * (degree + 1);
    float basis[kMostHarmonics];
    harmonics(degree, unit[0], unit[1], unit[2], basis);
    float color[3] = {0.5f, 0.5f, 0.5f};
    for (int k = 0; k < used; k++)
        for (int c = 0; c < 3; c++) color[c] += basis[k] * sh[3 * k + c];
    float wanted[3];
    for (int c = 0; c < 3; c++) wanted[c] = color[c] > 0.0f ? static_cast<float>(color_gradient[c]) : 0.0f;
    float weight[kMostHarmonics];
    for (int k = 0; k < used; k++) {
        weight[k] = 0.0f;
        for (int c = 0; c < 3; c++) {
            weight[k] += wanted[c] * sh[3 * k + c];
            if (sh_gradients) sh_gradients[3 * k + c] = wanted[c] * basis[k];
        }
    }
    float by_direction[3];
    harmonics_gradient(degree, unit[0], unit[1], unit[2], weight, by_direction);
    const double along = by_direction[0] * unit[0] + by_direction[1] * unit[1] + by_direction[2] * unit[2];
    for (int i = 0; i < 3; i++) centre_gradient[i] += (by_direction[i] - unit[i] * along) * inverse;
}

}  // namespace

void Frame::backward(const Gaussians& gaussians, const float* sh, int stored, int degree,
                     const RenderedPicture& picture, const GaussianGradients& gradients) {
    const int colors = channel_count_ - 1;
    const bool with_depth = picture.grad_depth != nullptr;
    const bool with_channels = colors == 3;
    {
        const StopWatch watch(seconds_.backward);
        // The division of the depth by alpha comes last in the forward pass, so it is first here.
        const int64_t pixels = static_cast<int64_t>(window_.width()) * window_.height();
        float* depth_sum = depth_sum_.resize(pixels);
        float* grad_depth_sum = grad_depth_sum_.resize(pixels);
        float* grad_alpha = grad_alpha_.resize(pixels);
        if (with_depth) {
            for (int64_t i = 0; i < pixels; i++) {
                const float alpha = picture.alpha[i];
                depth_sum[i] = picture.depth[i] * alpha;
                grad_depth_sum[i] = alpha > 0.0f ? picture.grad_depth[i] / alpha : 0.0f;
                grad_alpha[i] = picture.grad_alpha[i] - grad_depth_sum[i] * picture.depth[i];
            }
        }
        const BackwardArgs args{channels_.data(),
                                channel_count_,
                                picture.colors,
                                picture.alpha,
                                depth_sum,
                                picture.grad_colors,
                                with_depth ? grad_alpha : picture.grad_alpha,
                                with_depth ? grad_depth_sum : nullptr,
                                gradients.absgrad != nullptr,
                                with_channels,
                                pixel_sums_.resize(intersections_)};
        const TileScene scene = tile_scene();
        tile_scratch_.resize(threads_);
        for (auto& scratch : tile_scratch_) scratch.resize(static_cast<size_t>(channel_count_ + 1) * kTilePixels);
        const auto call = [&](int tile, int worker) {
            kernels_.backward(scene, args, tile, tile_scratch_[worker].data());
        };
        for_tiles(call);
    }
    if (!with_channels) {
        LiftArgs window_picture{};
        window_picture.left = window_.left;
        window_picture.top = window_.top;
        window_picture.row_pixels = window_.width();
        if (gradients.features) {
            window_picture.values = picture.grad_colors;
            window_picture.pixel_stride = colors;
            lift_picture(window_picture, colors, gradients.features, colors);
        }
        if (with_depth) {
            window_picture.values = grad_depth_sum_.data();
            window_picture.pixel_stride = 1;
            lift_picture(window_picture, 1, depth_gradients_.resize(gaussians_), 1);
        }
    }
    const StopWatch watch(seconds_.backward_project);
    chain_rule(gaussians, sh, stored, degree, with_channels, with_depth, gradients);
}

void Frame::chain_rule(const Gaussians& gaussians, const float* sh, int stored, int degree, bool with_channels,
                       bool with_depth, const GaussianGradients& gradients) {
    const SlopeLimits limits(camera_);
    const float* w = camera_.rotation;
    const auto prefetch_harmonics = [&](int64_t g) {
        const char* soon = reinterpret_cast<const char*>(sh + static_cast<int64_t>(sources_[g]) * stored * 3);
        for (int byte = 0; byte < stored * 12; byte += 64) __builtin_prefetch(soon + byte);
    };
    ThreadPool::instance().run(
        threads_, (visible_ + kGaussiansPerTask - 1) / kGaussiansPerTask, [&](int64_t task, int) {
            const int64_t end = std::min(visible_, (task + 1) * kGaussiansPerTask);
            for (int64_t g = task * kGaussiansPerTask; g < end; g++) {
                if (sh && g + 4 < end) prefetch_harmonics(g + 4);
                const int64_t row = sources_[g];
                double sums[12] = {};
                for (int64_t i = slot_begin_[g]; i < slot_begin_[g + 1]; i++) {
                    const float* part = reinterpret_cast<const float*>(&pixel_sums_[i]);
                    for (int m = 0; m < 12; m++) sums[m] += part[m];
                }
                const double *moments = sums, *absolute = sums + 6, *channels = sums + 8;
                const double by_depth = with_channels ? channels[3] : with_depth ? depth_gradients_[row] : 0.0;
                bool reached = by_depth != 0.0;
                for (int m = 0; m < 12; m++) reached |= sums[m] != 0.0;
                if (!reached) continue;

                const float* mean = gaussians.means + 3 * row;
                const float* quat = gaussians.quats + 4 * row;
                const float* scales = gaussians.scales + 3 * row;
                double norm = 0.0;
                for (int i = 0; i < 4; i++) norm += static_cast<double>(quat[i]) * quat[i];
                norm = std::sqrt(norm);
                const double unit[4] = {quat[0] / norm, quat[1] / norm, quat[2] / norm, quat[3] / norm};
                double at[3];
                for (int i = 0; i < 3; i++)
                    at[i] = static_cast<double>(w[3 * i]) * mean[0] + static_cast<double>(w[3 * i + 1]) * mean[1] +
                            static_cast<double>(w[3 * i + 2]) * mean[2] + camera_.translation[i];
                const Projection<double> p =
                    project_gaussian<double>(at[0], at[1], at[2], unit, scales, camera_, limits, profile_.eps2d);

                // The picture position, and the inverse of cov2d.
                const double ixx = p.cov_yy / p.determinant, ixy = -p.cov_xy / p.determinant,
                             iyy = p.cov_xx / p.determinant;
                const double g0 = moments[0], gx = moments[1], gy = moments[2];
                const double by_position[2] = {ixx * gx + ixy * gy, ixy * gx + iyy * gy};
                add_row(gradients.means2d, row, 2, by_position);
                add_row(gradients.absgrad, row, 2, absolute);
                const double by_opacity = g0 / gaussians.opacities[row];
                add_row(gradients.opacities, row, 1, &by_opacity);

                // By cov2d: inverse * (second moments / 2) * inverse.
                const double hxx = 0.5 * moments[3], hxy = 0.5 * moments[4], hyy = 0.5 * moments[5];
                const double lxx = ixx * hxx + ixy * hxy, lxy = ixx * hxy + ixy * hyy;
                const double lyx = ixy * hxx + iyy * hxy, lyy = ixy * hxy + iyy * hyy;
                double by_xx = lxx * ixx + lxy * ixy, by_xy = lxx * ixy + lxy * iyy, by_yy = lyx * ixy + lyy * iyy;
                if (profile_.antialiased && p.sharp_determinant > 0.0) {
                    // alpha carries sqrt(det without eps2d / det with it); its logarithm moves by half of each inverse.
                    const double sharp = 1.0 / p.sharp_determinant, eps2d = profile_.eps2d;
                    by_xx += 0.5 * g0 * ((p.cov_yy - eps2d) * sharp - ixx);
                    by_xy += 0.5 * g0 * (-p.cov_xy * sharp - ixy);
                    by_yy += 0.5 * g0 * ((p.cov_xx - eps2d) * sharp - iyy);
                }

                // cov2d = p p^T with p = J W R S.
                double by_rotation[9] = {}, by_scales[3], by_ax[3] = {}, by_ay[3] = {};
                for (int i = 0; i < 3; i++) {
                    const double by_px = 2.0 * (by_xx * p.px[i] + by_xy * p.py[i]);
                    const double by_py = 2.0 * (by_xy * p.px[i] + by_yy * p.py[i]);
                    double ux = 0.0, uy = 0.0;
                    for (int k = 0; k < 3; k++) {
                        ux += p.ax[k] * p.rotation[3 * k + i];
                        uy += p.ay[k] * p.rotation[3 * k + i];
                        by_rotation[3 * k + i] = (by_px * p.ax[k] + by_py * p.ay[k]) * scales[i];
                        by_ax[k] += by_px * scales[i] * p.rotation[3 * k + i];
                        by_ay[k] += by_py * scales[i] * p.rotation[3 * k + i];
                    }
                    by_scales[i] = by_px * ux + by_py * uy;
                }
                add_row(gradients.scales, row, 3, by_scales);
                double by_quat[4];
                quaternion_gradient(unit, norm, by_rotation, by_quat);
                add_row(gradients.quats, row, 4, by_quat);

                // Position in the camera: through the picture position, the size by distance, and the slopes.
                const double jx = camera_.fx / p.z, jy = camera_.fy / p.z;
                double by_slope_x = 0.0, by_slope_y = 0.0, by_size = 0.0;
                for (int k = 0; k < 3; k++) {
                    by_slope_x -= jx * by_ax[k] * w[6 + k];
                    by_slope_y -= jy * by_ay[k] * w[6 + k];
                    by_size += by_ax[k] * p.ax[k] + by_ay[k] * p.ay[k];
                }
                double by_x = by_position[0] * jx, by_y = by_position[1] * jy;
                double by_z = -(by_position[0] * jx * p.x + by_position[1] * jy * p.y) / p.z - by_size / p.z + by_depth;
                if (p.free_x) {
                    by_x += by_slope_x / p.z;
                    by_z -= by_slope_x * p.slope_x / p.z;
                }
                if (p.free_y) {
                    by_y += by_slope_y / p.z;
                    by_z -= by_slope_y * p.slope_y / p.z;
                }
                double by_mean[3];
                for (int i = 0; i < 3; i++) by_mean[i] = w[i] * by_x + w[3 + i] * by_y + w[6 + i] * by_z;
                if (sh) {
                    const double centre[3] = {mean[0], mean[1], mean[2]};
                    sh_gradient(sh + row * stored * 3, degree, centre, camera_, channels,
                                gradients.sh ? gradients.sh + row * stored * 3 : nullptr, by_mean);
                } else if (with_channels) {
                    add_row(gradients.features, row, 3, channels);
                }
                add_row(gradients.means, row, 3, by_mean);
            }
        });
}

}  // namespace splatseg
