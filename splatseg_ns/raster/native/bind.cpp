// The Python side of the engine: plain arrays in and out.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "frame.h"

namespace nb = nanobind;

namespace splatseg {

#if defined(SPLATSEG_X86)
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
#endif
namespace portable {
extern const Kernels kKernels;
}

namespace {

template <class T, int kDimensions>
using Array = nb::ndarray<T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;
template <int kDimensions>
using Floats = Array<const float, kDimensions>;
template <int kDimensions>
using Results = Array<float, kDimensions>;
template <class T>
using Maybe = std::optional<T>;

template <class T>
auto pointer(const Maybe<T>& array) -> decltype(array->data()) {
    return array ? array->data() : nullptr;
}

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

// The kernels that this processor can run, fastest first.
std::vector<const Kernels*> available_kernels() {
    std::vector<const Kernels*> kernels;
#if defined(SPLATSEG_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        kernels.push_back(&avx512::kKernels);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.push_back(&avx2::kKernels);
#endif
    kernels.push_back(&portable::kKernels);
    return kernels;
}

const Kernels& kernels_named(const std::string& name) {
    for (const Kernels* kernels : available_kernels())
        if (name == kernels->name) return *kernels;
    throw std::invalid_argument("this processor has no instruction set " + name);
}

template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> hand_over(std::vector<T>&& values) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(kept->data(), {kept->size()}, owner);
}

// Zeros in memory that is quick to touch for the first time, which is what fresh gradients spend their time on.
nb::ndarray<nb::numpy, float, nb::ndim<1>> zeros(size_t count) {
    float* values = static_cast<float*>(allocate(count * sizeof(float)));
    nb::capsule owner(values, [](void* p) noexcept { std::free(p); });
    std::memset(values, 0, count * sizeof(float));
    return nb::ndarray<nb::numpy, float, nb::ndim<1>>(values, {count}, owner);
}

Gaussians gaussians_of(const Floats<2>& means, const Floats<2>& quats, const Floats<2>& scales,
                       const Floats<1>& opacities) {
    const size_t count = means.shape(0);
    require(means.shape(1) == 3 && quats.shape(0) == count && quats.shape(1) == 4 && scales.shape(0) == count &&
                scales.shape(1) == 3 && opacities.shape(0) == count,
            "Gaussians need means [N, 3], quats [N, 4], scales [N, 3], opacities [N]");
    return {static_cast<int64_t>(count), means.data(), quats.data(), scales.data(), opacities.data()};
}

// A frame, and the sizes it was prepared with, against which every array is checked.
class BoundFrame {
  public:
    BoundFrame(const std::string& isa, int threads) : frame_(kernels_named(isa), threads) {
        require(threads >= 1 && threads <= 255, "threads must be 1 to 255");
    }

    void prepare(Floats<2> means, Floats<2> quats, Floats<2> scales, Floats<1> opacities, Floats<2> viewmat,
                 Floats<1> intrinsics, int width, int height, std::vector<int> window, Floats<1> constants,
                 bool antialiased, int extent) {
        require(viewmat.shape(0) == 4 && viewmat.shape(1) == 4, "viewmat must be [4, 4]");
        require(intrinsics.shape(0) == 4, "intrinsics are fx, fy, cx, cy");
        require(window.size() == 4 && 0 <= window[0] && window[0] < window[2] && window[2] <= width && 0 <= window[1] &&
                    window[1] < window[3] && window[3] <= height,
                "the window must lie inside the picture");
        require(constants.shape(0) == 6 && extent >= 0 && extent <= 3, "not a render profile");
        const Gaussians gaussians = gaussians_of(means, quats, scales, opacities);
        Camera camera{};
        const float* m = viewmat.data();
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < 3; k++) camera.rotation[3 * i + k] = m[4 * i + k];
            camera.translation[i] = m[4 * i + 3];
        }
        for (int i = 0; i < 3; i++) camera.position[i] = -(m[i] * m[3] + m[4 + i] * m[7] + m[8 + i] * m[11]);
        camera.fx = intrinsics.data()[0];
        camera.fy = intrinsics.data()[1];
        camera.cx = intrinsics.data()[2];
        camera.cy = intrinsics.data()[3];
        camera.width = width;
        camera.height = height;
        const float* c = constants.data();
        const Profile profile{c[0], c[1], c[2], c[3], c[4], c[5], antialiased, static_cast<Extent>(extent)};
        count_ = gaussians.count;
        width_ = width;
        height_ = height;
        window_ = {window[0], window[1], window[2], window[3]};
        channels_ = -1;
        const nb::gil_scoped_release release;
        frame_.prepare(gaussians, camera, profile, window_);
    }

    void render_sh(Floats<3> sh, int degree, Maybe<Floats<1>> background, Results<3> colors, Results<2> alpha,
                   Results<2> depth) {
        check_sh(sh, degree);
        check_picture(3, colors, alpha, depth);
        require(!background || background->shape(0) == 3, "background must be [3]");
        channels_ = 3;
        const nb::gil_scoped_release release;
        frame_.render_sh(sh.data(), static_cast<int>(sh.shape(1)), degree, pointer(background), colors.data(),
                         alpha.data(), depth.data());
    }

    void render_features(Floats<2> features, Maybe<Floats<1>> background, Results<3> colors, Results<2> alpha,
                         Results<2> depth) {
        require(static_cast<int64_t>(features.shape(0)) == count_, "features must be [N, C]");
        const int count = static_cast<int>(features.shape(1));
        check_picture(count, colors, alpha, depth);
        require(!background || static_cast<int>(background->shape(0)) == count, "background must be [C]");
        channels_ = count;
        const nb::gil_scoped_release release;
        frame_.render_features(features.data(), count, pointer(background), colors.data(), alpha.data(), depth.data());
    }

    nb::tuple votes(Array<const uint16_t, 2> columns, int column_count, Maybe<Floats<2>> weight,
                    Array<int64_t, 1> offsets, Results<1> seen) {
        check_map(columns.shape(0), columns.shape(1));
        require(column_count >= 0 && column_count <= kNoColumn, "too many labels");
        require(static_cast<int64_t>(offsets.shape(0)) == count_ + 1 && static_cast<int64_t>(seen.shape(0)) == count_,
                "offsets must be [N + 1] and seen [N]");
        if (weight) check_map(weight->shape(0), weight->shape(1));
        SparseVotes votes;
        {
            const nb::gil_scoped_release release;
            votes = frame_.votes(columns.data(), column_count, pointer(weight), offsets.data(), seen.data());
        }
        return nb::make_tuple(hand_over(std::move(votes.columns)), hand_over(std::move(votes.mass)));
    }

    void lift(Floats<3> values, Maybe<Floats<2>> weight, Results<2> out) {
        check_map(values.shape(0), values.shape(1));
        if (weight) check_map(weight->shape(0), weight->shape(1));
        require(static_cast<int64_t>(out.shape(0)) == count_ && out.shape(1) == values.shape(2), "out must be [N, C]");
        const nb::gil_scoped_release release;
        frame_.lift(values.data(), static_cast<int>(values.shape(2)), pointer(weight), out.data());
    }

    void backward(Floats<2> means, Floats<2> quats, Floats<2> scales, Floats<1> opacities, Maybe<Floats<3>> sh,
                  int degree, Floats<3> colors, Floats<2> alpha, Floats<2> depth, Floats<3> grad_colors,
                  Floats<2> grad_alpha, Maybe<Floats<2>> grad_depth, Results<2> to_means, Results<2> to_quats,
                  Results<2> to_scales, Results<1> to_opacities, Maybe<Results<3>> to_sh, Maybe<Results<2>> to_features,
                  Results<2> to_means2d, Maybe<Results<2>> to_absgrad) {
        const Gaussians gaussians = gaussians_of(means, quats, scales, opacities);
        require(gaussians.count == count_ && channels_ > 0, "backward belongs to the picture rendered last");
        if (sh) check_sh(*sh, degree);
        check_picture(channels_, colors, alpha, depth);
        check_picture(channels_, grad_colors, grad_alpha, grad_depth ? *grad_depth : alpha);
        check_rows(to_means, 3);
        check_rows(to_quats, 4);
        check_rows(to_scales, 3);
        check_rows(to_means2d, 2);
        require(static_cast<int64_t>(to_opacities.shape(0)) == count_, "to_opacities must be [N]");
        if (to_sh) require(sh && to_sh->size() == sh->size(), "to_sh must have the shape of sh");
        if (to_features) check_rows(*to_features, channels_);
        if (to_absgrad) check_rows(*to_absgrad, 2);
        const nb::gil_scoped_release release;
        frame_.backward(
            gaussians, pointer(sh), sh ? static_cast<int>(sh->shape(1)) : 0, degree,
            {colors.data(), alpha.data(), depth.data(), grad_colors.data(), grad_alpha.data(), pointer(grad_depth)},
            {to_means.data(), to_quats.data(), to_scales.data(), to_opacities.data(), pointer(to_sh),
             pointer(to_features), to_means2d.data(), pointer(to_absgrad)});
    }

    void screen(Results<2> means2d, Array<int32_t, 2> radii) const {
        check_rows(means2d, 2);
        require(static_cast<int64_t>(radii.shape(0)) == count_ && radii.shape(1) == 2, "radii must be [N, 2]");
        frame_.screen(means2d.data(), radii.data());
    }

    nb::dict seconds() const {
        const StageSeconds& s = frame_.seconds();
        nb::dict stages;
        stages["project"] = s.project;
        stages["sort"] = s.sort;
        stages["bin"] = s.bin;
        stages["shade"] = s.shade;
        stages["forward"] = s.forward;
        stages["votes"] = s.votes;
        stages["lift"] = s.lift;
        stages["reduce"] = s.reduce;
        stages["backward"] = s.backward;
        stages["backward_project"] = s.backward_project;
        return stages;
    }

    int64_t visible() const { return frame_.visible(); }
    int64_t intersections() const { return frame_.intersections(); }
    int64_t undrawable() const { return frame_.undrawable(); }

  private:
    template <class Rows>
    void check_rows(const Rows& rows, int count) const {
        require(static_cast<int64_t>(rows.shape(0)) == count_ && static_cast<int>(rows.shape(1)) == count,
                "a result has the wrong number of rows or columns");
    }
    void check_sh(const Floats<3>& sh, int degree) const {
        require(static_cast<int64_t>(sh.shape(0)) == count_ && sh.shape(2) == 3, "sh must be [N, K, 3]");
        require(0 <= degree && degree <= 3 && (degree + 1) * (degree + 1) <= static_cast<int>(sh.shape(1)),
                "sh has too few coefficients for the degree");
    }
    void check_map(size_t rows, size_t columns) const {
        require(static_cast<int>(rows) == height_ && static_cast<int>(columns) == width_,
                "a map must be [H, W] of the whole picture");
    }
    template <class Colors, class Plane>
    void check_picture(int channels, const Colors& colors, const Plane& alpha, const Plane& depth) const {
        const size_t height = window_.height(), width = window_.width();
        require(colors.shape(0) == height && colors.shape(1) == width &&
                    static_cast<int>(colors.shape(2)) == channels && alpha.shape(0) == height &&
                    alpha.shape(1) == width && depth.shape(0) == height && depth.shape(1) == width,
                "pictures must be as large as the window");
    }

    Frame frame_;
    int64_t count_ = 0;
    int width_ = 0, height_ = 0, channels_ = -1;
    Window window_{};
};

}  // namespace
}  // namespace splatseg

NB_MODULE(_native, module) {
    using splatseg::BoundFrame;
    // Engines are kept until the process ends, and their frames with them: that is no leak.
    nanobind::set_leak_warnings(false);
    module.def(
        "available_isas",
        [] {
            std::vector<std::string> names;
            for (const auto* kernels : splatseg::available_kernels()) names.emplace_back(kernels->name);
            return names;
        },
        "Instruction sets this processor can run, fastest first.");
    module.def("zeros", &splatseg::zeros, nb::arg("count"), "That many float32 zeros, quick to touch.");
    nb::class_<BoundFrame>(module, "Frame", "One view of the splats: projected, sorted, binned, and its sums.")
        .def(nb::init<const std::string&, int>(), nb::arg("isa"), nb::arg("threads"))
        .def("prepare", &BoundFrame::prepare)
        .def("render_sh", &BoundFrame::render_sh, nb::arg("sh"), nb::arg("degree"), nb::arg("background").none(),
             nb::arg("colors"), nb::arg("alpha"), nb::arg("depth"))
        .def("render_features", &BoundFrame::render_features, nb::arg("features"), nb::arg("background").none(),
             nb::arg("colors"), nb::arg("alpha"), nb::arg("depth"))
        .def("votes", &BoundFrame::votes, nb::arg("columns"), nb::arg("column_count"), nb::arg("weight").none(),
             nb::arg("offsets"), nb::arg("seen"))
        .def("lift", &BoundFrame::lift, nb::arg("values"), nb::arg("weight").none(), nb::arg("out"))
        .def("backward", &BoundFrame::backward, nb::arg("means"), nb::arg("quats"), nb::arg("scales"),
             nb::arg("opacities"), nb::arg("sh").none(), nb::arg("degree"), nb::arg("colors"), nb::arg("alpha"),
             nb::arg("depth"), nb::arg("grad_colors"), nb::arg("grad_alpha"), nb::arg("grad_depth").none(),
             nb::arg("to_means"), nb::arg("to_quats"), nb::arg("to_scales"), nb::arg("to_opacities"),
             nb::arg("to_sh").none(), nb::arg("to_features").none(), nb::arg("to_means2d"),
             nb::arg("to_absgrad").none())
        .def("screen", &BoundFrame::screen)
        .def_prop_ro("seconds", &BoundFrame::seconds, "Time spent in each stage since the frame was made.")
        .def_prop_ro("visible", &BoundFrame::visible)
        .def_prop_ro("intersections", &BoundFrame::intersections)
        .def_prop_ro("undrawable", &BoundFrame::undrawable, "Gaussians skipped for bad parameters.");
}
