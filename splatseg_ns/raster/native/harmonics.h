// Colours by spherical harmonics, and their chain rule.
#pragma once

namespace splatseg {

constexpr int kMostHarmonics = 16;

// The basis at a unit direction, in the order and signs of Gaussian-splat files.
inline void harmonics(int degree, float x, float y, float z, float* basis) {
    basis[0] = 0.28209479177387814f;
    if (degree < 1) return;
    basis[1] = -0.4886025119029199f * y;
    basis[2] = 0.4886025119029199f * z;
    basis[3] = -0.4886025119029199f * x;
    if (degree < 2) return;
    const float xx = x * x, yy = y * y, zz = z * z;
    basis[4] = 1.0925484305920792f * x * y;
    basis[5] = -1.0925484305920792f * y * z;
    basis[6] = 0.31539156525252005f * (2 * zz - xx - yy);
    basis[7] = -1.0925484305920792f * x * z;
    basis[8] = 0.5462742152960396f * (xx - yy);
    if (degree < 3) return;
    basis[9] = -0.5900435899266435f * y * (3 * xx - yy);
    basis[10] = 2.890611442640554f * x * y * z;
    basis[11] = -0.4570457994644658f * y * (4 * zz - xx - yy);
    basis[12] = 0.3731763325901154f * z * (2 * zz - 3 * xx - 3 * yy);
    basis[13] = -0.4570457994644658f * x * (4 * zz - xx - yy);
    basis[14] = 1.445305721320277f * z * (xx - yy);
    basis[15] = -0.5900435899266435f * x * (xx - 3 * yy);
}

// gradient[3] = sum over k of weight[k] * d basis[k] / d (x, y, z), taking x, y, z as independent.
inline void harmonics_gradient(int degree, float x, float y, float z, const float* weight, float* gradient) {
    float gx = 0, gy = 0, gz = 0;
    if (degree >= 1) {
        gy += -0.4886025119029199f * weight[1];
        gz += 0.4886025119029199f * weight[2];
        gx += -0.4886025119029199f * weight[3];
    }
    if (degree >= 2) {
        const float w4 = 1.0925484305920792f * weight[4], w5 = -1.0925484305920792f * weight[5],
                    w6 = 0.31539156525252005f * weight[6], w7 = -1.0925484305920792f * weight[7],
                    w8 = 0.5462742152960396f * weight[8];
        gx += w4 * y - 2 * w6 * x + w7 * z + 2 * w8 * x;
        gy += w4 * x + w5 * z - 2 * w6 * y - 2 * w8 * y;
        gz += w5 * y + 4 * w6 * z + w7 * x;
    }
    if (degree >= 3) {
        const float xx = x * x, yy = y * y, zz = z * z;
        const float w9 = -0.5900435899266435f * weight[9], w10 = 2.890611442640554f * weight[10],
                    w11 = -0.4570457994644658f * weight[11], w12 = 0.3731763325901154f * weight[12],
                    w13 = -0.4570457994644658f * weight[13], w14 = 1.445305721320277f * weight[14],
                    w15 = -0.5900435899266435f * weight[15];
        gx += 6 * w9 * x * y + w10 * y * z - 2 * w11 * x * y - 6 * w12 * x * z + w13 * (4 * zz - 3 * xx - yy) +
              2 * w14 * x * z + w15 * (3 * xx - 3 * yy);
        gy += w9 * (3 * xx - 3 * yy) + w10 * x * z + w11 * (4 * zz - xx - 3 * yy) - 6 * w12 * y * z - 2 * w13 * x * y -
              2 * w14 * y * z - 6 * w15 * x * y;
        gz += w10 * x * y + 8 * w11 * y * z + w12 * (6 * zz - 3 * xx - 3 * yy) + 8 * w13 * x * z + w14 * (xx - yy);
    }
    gradient[0] = gx;
    gradient[1] = gy;
    gradient[2] = gz;
}

}  // namespace splatseg
