// The projection of one Gaussian, step by step, shared by the forward pass and the chain rule.
#pragma once

#include <cmath>

#include "scene.h"

namespace splatseg {

// Kept in double: the determinant of a long thin ellipse is a difference of nearly equal numbers.
template <class Real>
struct Projection {
    Real x, y, z;                   // centre in the camera
    Real screen_x, screen_y;        // where the centre is seen, in pixels
    Real slope_x, slope_y;          // x/z and y/z, clamped to a little more than the picture
    bool free_x, free_y;            // whether they were left unclamped
    Real rotation[9];               // of the Gaussian
    Real ax[3], ay[3];              // rows of J W: how camera x and y of the picture move with the world
    Real px[3], py[3];              // those rows times rotation times scales: cov2d = p p^T
    double cov_xx, cov_xy, cov_yy;  // with eps2d on the diagonal
    double determinant;             // of that
    double sharp_determinant;       // without eps2d
};

template <class Real>
inline void rotation_of(const Real* q, Real* r) {  // unit quaternion wxyz
    const Real w = q[0], x = q[1], y = q[2], z = q[3];
    r[0] = 1 - 2 * (y * y + z * z);
    r[1] = 2 * (x * y - w * z);
    r[2] = 2 * (x * z + w * y);
    r[3] = 2 * (x * y + w * z);
    r[4] = 1 - 2 * (x * x + z * z);
    r[5] = 2 * (y * z - w * x);
    r[6] = 2 * (x * z - w * y);
    r[7] = 2 * (y * z + w * x);
    r[8] = 1 - 2 * (x * x + y * y);
}

// The picture is looked at up to 30 % of its half width beyond its edges when the perspective is made linear.
struct SlopeLimits {
    float x_low, x_high, y_low, y_high;

    explicit SlopeLimits(const Camera& camera) {
        const float margin_x = 0.3f * 0.5f * camera.width / camera.fx,
                    margin_y = 0.3f * 0.5f * camera.height / camera.fy;
        x_low = -(camera.cx / camera.fx + margin_x);
        x_high = (camera.width - camera.cx) / camera.fx + margin_x;
        y_low = -(camera.cy / camera.fy + margin_y);
        y_high = (camera.height - camera.cy) / camera.fy + margin_y;
    }
};

template <class Real>
inline Projection<Real> project_gaussian(Real x, Real y, Real z, const Real* unit_quat, const float* scales,
                                         const Camera& camera, const SlopeLimits& limits, float eps2d) {
    Projection<Real> p;
    p.x = x;
    p.y = y;
    p.z = z;
    rotation_of(unit_quat, p.rotation);
    const Real inverse_z = Real(1) / z;
    const Real slope_x = x * inverse_z, slope_y = y * inverse_z;
    p.screen_x = camera.fx * slope_x + camera.cx;
    p.screen_y = camera.fy * slope_y + camera.cy;
    p.slope_x = slope_x < limits.x_low ? limits.x_low : slope_x > limits.x_high ? limits.x_high : slope_x;
    p.slope_y = slope_y < limits.y_low ? limits.y_low : slope_y > limits.y_high ? limits.y_high : slope_y;
    p.free_x = p.slope_x == slope_x;
    p.free_y = p.slope_y == slope_y;
    const Real jx = camera.fx * inverse_z, jy = camera.fy * inverse_z;
    const float* w = camera.rotation;
    for (int i = 0; i < 3; i++) {
        p.ax[i] = jx * (w[i] - p.slope_x * w[6 + i]);
        p.ay[i] = jy * (w[3 + i] - p.slope_y * w[6 + i]);
    }
    for (int i = 0; i < 3; i++) {
        p.px[i] = (p.ax[0] * p.rotation[i] + p.ax[1] * p.rotation[3 + i] + p.ax[2] * p.rotation[6 + i]) * scales[i];
        p.py[i] = (p.ay[0] * p.rotation[i] + p.ay[1] * p.rotation[3 + i] + p.ay[2] * p.rotation[6 + i]) * scales[i];
    }
    const double xx = static_cast<double>(p.px[0]) * p.px[0] + static_cast<double>(p.px[1]) * p.px[1] +
                      static_cast<double>(p.px[2]) * p.px[2];
    const double yy = static_cast<double>(p.py[0]) * p.py[0] + static_cast<double>(p.py[1]) * p.py[1] +
                      static_cast<double>(p.py[2]) * p.py[2];
    const double xy = static_cast<double>(p.px[0]) * p.py[0] + static_cast<double>(p.px[1]) * p.py[1] +
                      static_cast<double>(p.px[2]) * p.py[2];
    p.cov_xx = xx + eps2d;
    p.cov_yy = yy + eps2d;
    p.cov_xy = xy;
    p.sharp_determinant = xx * yy - xy * xy;
    p.determinant = p.cov_xx * p.cov_yy - xy * xy;
    return p;
}

}  // namespace splatseg
